"""Where the requests of a regime come from: an arrival process, or a record whose time is scaled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from policies.runlog import Int64
from policies.workload import Workload
from sim.arrivals.base import ArrivalProcess
from sim.arrivals.trace import Trace
from sim.arrivals.windows import Windows
from sim.streams import stream

NS_PER_S = 1_000_000_000
CHOOSING_SEED = 0
"""Knobs are chosen on this one and scored on the following ones."""


class Source(Protocol):
    """Requests at any rate; the same seed gives the same pattern, so that contenders share their luck."""

    def arrival_ns(self, rate_hz: float, seed: int) -> Int64:
        """Sorted arrival times at this mean rate."""
        ...


@dataclass(frozen=True, slots=True)
class Drawn:
    """An arrival process; ``requests`` of them, or as many as come in ``duration_ns``."""

    process: ArrivalProcess
    requests: int | None = None
    duration_ns: int | None = None

    def arrival_ns(self, rate_hz: float, seed: int) -> Int64:
        """See :class:`Source`."""
        scaled = self.process.scaled(rate_hz / self.process.mean_rate_hz())
        return scaled.times_ns(stream(seed, 0, "arrivals"), self.requests, self.duration_ns)


@dataclass(frozen=True)
class Recorded:
    """A record in equal parts, one a seed, each stretched or squeezed to the asked rate."""

    process: ArrivalProcess
    parts: int
    requests: int
    """Most requests of a part."""

    def arrival_ns(self, rate_hz: float, seed: int) -> Int64:
        """See :class:`Source`."""
        part = self._parts[seed % self.parts]
        scale = (len(part) - 1) * NS_PER_S / (float(part[-1]) * rate_hz)
        scaled_ns: Int64 = np.rint(part * scale).astype(np.int64)
        return scaled_ns

    @cached_property
    def _parts(self) -> list[Int64]:
        times_ns = self.process.times_ns(stream(CHOOSING_SEED, 0, "arrivals"), None, None)
        cut = [part[: self.requests] for part in np.array_split(times_ns, self.parts)]
        return [part - part[0] for part in cut]


def workload(source: Source, rate_hz: float, seed: int, objective_ns: int) -> Workload:
    """Requests that are due ``objective_ns`` after they arrive."""
    return Workload.of(source.arrival_ns(rate_hz, seed), deadline_after_ns=objective_ns)


def traces(data: Path) -> dict[str, ArrivalProcess]:
    """The real records in a folder, by name; empty where there is no such folder."""
    if not data.is_dir():
        return {}
    return {
        "azure": Trace(data / "azure_llm2023_conv.csv", "TIMESTAMP"),
        "zozotown": Trace(data / "obd_zozotown_random.csv.gz", sort=True),
        "deepseek-r1": Windows(data / "servegen_deepseek-r1_1day_600s_windows.csv.gz"),
        "mm-image": Windows(data / "servegen_mm-image_1day_600s_windows.csv.gz"),
    }
