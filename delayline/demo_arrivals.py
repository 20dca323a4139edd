"""The arrivals of the demo: a recorded trace, or ones that come in spells."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from delayline.errors import CommandError
from sim.arrivals.base import ArrivalProcess
from sim.arrivals.mmpp import Mmpp
from sim.arrivals.trace import Trace
from sim.columns import column_names

QUIET, BUSY = 0.6, 1.4
"""Rates in a quiet and in a busy spell, as fractions of the mean."""
SPELL_NS = 1_000_000_000
"""Mean length of a spell."""
TIME_COLUMNS = ("timestamp", "time", "arrival", "arrived_at", "datetime", "date")
"""Names, in any case, under which a trace may hold its times."""


def demo_arrivals(trace: Path | None, column: str | None = None) -> ArrivalProcess:
    """The trace, by its column of times, or generated arrivals; to be scaled to a rate.

    The trace is read here: raises TraceError where it cannot be used, CommandError where none of its
    columns is named like a time, or there is a column and no trace.
    """
    if trace is None:
        if column is not None:
            raise CommandError(f"--trace-column {column} needs --trace FILE, which is not given")
        return Mmpp(rates_hz=(QUIET, BUSY), sojourn_ns=(SPELL_NS, SPELL_NS))
    recorded = Trace(path=trace.resolve(), column=column or _time_column(trace), sort=True)
    recorded.mean_rate_hz()  # reads it all, so that what is wrong with it is told now
    return recorded


def at_mean_rate(arrivals: ArrivalProcess, rate_hz: float, requests: int) -> ArrivalProcess:
    """Arrivals at this mean rate; of a trace, its first ``requests`` rows at that rate."""
    if isinstance(arrivals, Trace):
        return replace(arrivals, rate_hz=rate_hz, limit=requests)
    return arrivals.scaled(rate_hz / arrivals.mean_rate_hz())


def _time_column(trace: Path) -> str:
    names = column_names(trace)
    for wanted in TIME_COLUMNS:
        for name in names:
            if name.lower() == wanted:
                return name
    raise CommandError(
        f"{trace}: no column is named like a time; name it with --trace-column, one of"
        f" {', '.join(names)}"
    )
