"""The console script: the command line, with a process of its own to itself."""

from __future__ import annotations

import gc

_OBJECTS = 100_000
"""New objects between two searches for cycles. A start makes hundreds of thousands that stay; at Python's
default of 700, looking through them again and again takes an eighth of it.
"""


def main() -> int:
    """Run one command line; returns the exit code."""
    gc.set_threshold(_OBJECTS)
    from delayline.cli import main as run

    return run()
