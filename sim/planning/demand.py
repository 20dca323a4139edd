"""What to plan for: steady arrivals at the rate of the busiest time, and the rate of every hour.

Where the rate is steady (bursts that a run is long enough to meet many of are part of that), it is planned
for as it is. Where it varies, an hour is an hour, or a 24th of a cycle or a record that is shorter than a
day; the busiest time is the quarter of an hour with the highest rate, wherever it begins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from configs.model import Config
from configs.units import format_duration
from policies.runlog import Int64
from sim.arrivals.base import NS_PER_S, ArrivalProcess
from sim.arrivals.closed import Closed
from sim.arrivals.counts import Counts
from sim.arrivals.diurnal import Diurnal
from sim.arrivals.mmpp import Mmpp
from sim.arrivals.poisson import Poisson
from sim.arrivals.trace import Trace
from sim.arrivals.windows import Windows
from sim.items.base import Items
from sim.items.column import Column
from sim.planning.resampled import LEAST_GAPS, Resampled, ResampledSizes
from sim.streams import stream

HOUR_NS = 3_600 * NS_PER_S
DAY_HOURS = 24
_QUARTERS = 4
_CYCLES = 30
"""So many rounds of an mmpp's states a run must last for its bursts to be met often enough."""
_MOST_REQUESTS = 1_000_000
_MOST_DRAWN = 5_000_000
"""A record that holds more is thinned in its rate before it is looked at."""
_SPARSE_HZ = 1.0
"""Rate at which a record is drawn for its length alone."""
_POINTS = 65


@dataclass(frozen=True, slots=True)
class Demand:
    """Arrivals to plan for, and what they stand for."""

    arrivals: ArrivalProcess
    """Steady, at the planned rate."""
    items: Items | None
    mean_hz: float
    hours_hz: tuple[float, ...] = ()
    """The highest rate in each hour of the cycle, a quarter of an hour counting to the hour of its middle;
    none where the rate is steady.
    """
    hour_ns: int = HOUR_NS
    because: str = ""
    """Why the planned rate is not the mean."""
    least_requests: int = 0
    """A run must have so many to meet what the arrivals are like."""

    @property
    def planned_hz(self) -> float:
        """The rate that is planned for."""
        return self.arrivals.mean_rate_hz()


def demand_of(config: Config, rate_hz: float | None = None) -> Demand:
    """The demand of a configuration, its arrivals scaled to a mean rate if one is given.

    Raises ValueError for closed arrivals, whose rate follows the answers, and for a record that is too
    short, TraceError for one that cannot be used.
    """
    arrivals = config.workload.arrivals
    if isinstance(arrivals, Closed) or not isinstance(arrivals, ArrivalProcess):
        raise ValueError(
            f"workload.arrivals is {arrivals.kind}: its rate follows the answers, so there is no rate"
            " to plan for; use another kind, such as poisson"
        )
    if rate_hz is not None:
        arrivals = arrivals.scaled(rate_hz / arrivals.mean_rate_hz())
    items = config.workload.items
    if isinstance(arrivals, Diurnal):
        return _diurnal(arrivals, items)
    if isinstance(arrivals, Mmpp):
        return _mmpp(arrivals, items)
    if isinstance(arrivals, Trace | Counts | Windows):
        return _recorded(config, arrivals)
    return Demand(arrivals, items, arrivals.mean_rate_hz())


def _diurnal(arrivals: Diurnal, items: Items | None) -> Demand:
    """The mean of 1 + a sin over a window w around t is 1 + a sinc(w / T) sin(t), T being the period."""
    hours = DAY_HOURS if arrivals.period_ns <= DAY_HOURS * HOUR_NS else None
    hours = hours or math.ceil(arrivals.period_ns / HOUR_NS)
    hour = 1 / hours
    window = hour / _QUARTERS
    damped = arrivals.amplitude * float(np.sinc(window))
    rates = []
    for number in range(hours):
        middle = number * hour + np.linspace(0, hour, _POINTS)
        swing = np.sin(2 * math.pi * (middle + arrivals.phase))
        rates.append(arrivals.rate_hz * (1 + damped * float(swing.max())))
    return Demand(
        Poisson(max(rates)),
        items,
        arrivals.rate_hz,
        tuple(rates),
        round(arrivals.period_ns / hours),
        _busiest(round(arrivals.period_ns / hours)),
    )


def _busiest(hour_ns: int) -> str:
    return f"the busiest {format_duration(hour_ns // _QUARTERS)}"


def _mmpp(arrivals: Mmpp, items: Items | None) -> Demand:
    """As it is, if a run can meet its states often enough; else as if the highest lasted."""
    mean_hz = arrivals.mean_rate_hz()
    needed = math.ceil(_CYCLES * sum(arrivals.sojourn_ns) / NS_PER_S * mean_hz)
    if needed <= _MOST_REQUESTS:
        return Demand(arrivals, items, mean_hz, least_requests=needed)
    because = "the highest state, which outlasts any run"
    return Demand(Poisson(max(arrivals.rates_hz)), items, mean_hz, because=because)


def _recorded(config: Config, arrivals: Trace | Counts | Windows) -> Demand:
    """The busiest part of the record, its gaps resampled; sizes are those of the record."""
    workload = config.workload
    rng = stream(config.seed, 0, "arrivals")
    record = _as_recorded(config, arrivals, rng)
    times_ns = record.times_ns(rng, workload.requests, workload.duration_ns)
    if len(times_ns) <= LEAST_GAPS:
        raise ValueError(
            f"the record has {len(times_ns)} arrivals; planning needs more than {LEAST_GAPS}"
        )
    faster = arrivals.mean_rate_hz() / record.mean_rate_hz()
    hours = _Hours.of(times_ns)
    first, last = hours.busiest
    return Demand(
        Resampled.of(times_ns[first:last], hours.highest_hz * faster),
        _recorded_sizes(workload.items, record, len(times_ns), hours.busiest),
        arrivals.mean_rate_hz(),
        tuple(rate_hz * faster for rate_hz in hours.rates_hz),
        hours.hour_ns,
        hours.because,
    )


def _as_recorded(
    config: Config, arrivals: Trace | Counts | Windows, rng: np.random.Generator
) -> ArrivalProcess:
    """The record at the pace at which its hours are hours: a trace or counts are squeezed to their rate,
    and their hours with them. Windows keep their length at any rate; a rate beyond what is drawn at once
    is lowered, since their shape over time is the same.
    """
    if isinstance(arrivals, Trace):
        return replace(arrivals, rate_hz=None, time_scale=1.0)
    if isinstance(arrivals, Counts):
        counts: Counts = config.workload.arrivals
        return counts
    sparse = arrivals.scaled(_SPARSE_HZ / max(arrivals.mean_rate_hz(), _SPARSE_HZ))
    span_s = float(sparse.times_ns(rng, None, None)[-1]) / NS_PER_S
    expected = arrivals.mean_rate_hz() * span_s
    return arrivals.scaled(min(1.0, _MOST_DRAWN / expected))


def _recorded_sizes(
    items: Items | None, record: ArrivalProcess, count: int, busiest: tuple[int, int]
) -> Items | None:
    """The sizes of the busiest part, where they are recorded; the configured ones otherwise."""
    sizes = record.items(count) if items is None else None
    if isinstance(items, Column):
        sizes = items.draw(np.random.default_rng(0), count)  # draws nothing
    return items if sizes is None else ResampledSizes(sizes[slice(*busiest)])


@dataclass(frozen=True, slots=True)
class _Hours:
    """Where in a record most arrives."""

    busiest: tuple[int, int]
    """First and last but one of the arrivals of the busiest time."""
    highest_hz: float
    rates_hz: tuple[float, ...]
    hour_ns: int
    because: str

    @staticmethod
    def of(times_ns: Int64) -> _Hours:
        """Over all positions of a quarter of an hour. A record of less than an hour counts as a whole."""
        span_ns = int(times_ns[-1])
        whole_hz = (len(times_ns) - 1) * NS_PER_S / float(span_ns - int(times_ns[0]))
        if span_ns < HOUR_NS:
            return _Hours((0, len(times_ns)), whole_hz, (), HOUR_NS, "")
        hour_ns = HOUR_NS
        window_ns = hour_ns // _QUARTERS
        ends = np.searchsorted(times_ns, times_ns + window_ns)
        counts = ends - np.arange(len(times_ns))
        counts[times_ns + window_ns > span_ns] = 0
        peak = int(counts.argmax())
        rates = counts * NS_PER_S / window_ns
        hour = (times_ns + window_ns // 2) // hour_ns % DAY_HOURS
        number = min(DAY_HOURS, -(-span_ns // hour_ns))
        by_hour = [float(rates[hour == each].max(initial=0.0)) for each in range(number)]
        return _Hours(
            (peak, int(ends[peak])),
            float(rates[peak]),
            tuple(by_hour),
            hour_ns,
            _busiest(hour_ns),
        )
