"""Which driver runs a simulation: names and refusals, light enough to be imported by every command."""

from __future__ import annotations

from typing import Literal

Engine = Literal["auto", "simpy", "compiled"]
"""``compiled`` where every part of the pipeline compiles, ``simpy`` for all that there is, ``auto`` for the
first that can.
"""


class EngineError(ValueError):
    """The compiled driver was asked for, and cannot run the pipeline."""
