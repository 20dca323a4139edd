"""The loop as machine code, kept on disk under a digest of all of its sources."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from sim.compiled.cache import LOOP_NAME, kept, sources
from sim.compiled.layout import LOOP

_TEXT = "def loop(address):\n    return run(board_at(address))\n"


@functools.cache
def loop() -> Callable[..., Any]:
    """The compiled loop: some seconds the first time, a few tenths of one from disk."""
    from sim.compiled import scheduler
    from sim.compiled.pointers import board_at

    return kept(LOOP_NAME, _TEXT, {"run": scheduler.loop, "board_at": board_at}, LOOP, sources())
