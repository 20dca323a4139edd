"""The regimes in which policies meet: a pipeline, an objective, and a pattern of arrivals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import sim.kinds  # noqa: F401  (makes the kinds known)
from benchmarks.policies.sources import Drawn, Recorded, Source, traces
from configs.load import parse_config
from configs.model import Config
from sim.arrivals.gamma import Gamma
from sim.arrivals.mmpp import Mmpp
from sim.arrivals.poisson import Poisson
from sim.capacity import capacity_hz

LARGEST = 64
"""Cap of every stage unless a contender sets another: capacity is what batches of this size bear."""
SOJOURN_NS = 200_000_000
COSTS = (("base", 1.0, 0.02), ("text", 0.8, 0.05), ("rank", 3.0, 0.20), ("last", 0.5, 0.06))
"""Name, milliseconds of a batch, milliseconds of each request in it."""
DLRM = {
    "kind": "table",
    "points": {4: "1.315ms", 8: "1.612ms", 16: "2.049ms", 32: "3.469ms", 64: "7.547ms"},
}
"""A DLRM that scores 64 candidates a request, by requests: see configs/ads_dlrm_a30.yaml."""
RANDOM_FROM, RANDOM_COUNT = 100, 16
"""Seeds of pipelines that no choice was made on."""
PARTS = 5
"""A record is cut into so many: one to choose knobs on, the others to score on."""


@dataclass(frozen=True, slots=True)
class Regime:
    """One row of the table. ``config`` has the objective; its arrivals and policies do not count."""

    name: str
    group: str
    config: Config
    source: Source

    @property
    def objective_ns(self) -> int:
        """What 99% of the requests must stay within."""
        if self.config.objective is None:
            raise ValueError(f"{self.name} has no objective")
        return self.config.objective.latency_ns

    @property
    def capacity_hz(self) -> float:
        """Requests a second if every batch were full."""
        return capacity_hz(self.config)


def chain(
    replicas: Sequence[int], objective_ms: float, slots: int | None = None, cv: float = 0.0
) -> Config:
    """The four stages; ``slots`` puts them all on one device."""
    stages = [
        _stage(name, base_ms, each_ms, count, slots is not None, cv)
        for (name, base_ms, each_ms), count in zip(COSTS, replicas, strict=True)
    ]
    return pipeline(stages, objective_ms, slots)


def pipeline(stages: list[dict[str, Any]], objective_ms: float, slots: int | None) -> Config:
    """A configuration of these stages."""
    devices = {} if slots is None else {"devices": {"shared": {"slots": slots}}}
    return parse_config(
        {
            "name": "regime",
            "workload": {
                "arrivals": "1000/s",
                "requests": 1000,
                "deadline": f"{objective_ms}ms",
            },
            "objective": {"latency": f"{objective_ms}ms"},
            "stages": stages,
            **devices,
        }
    )


def _stage(
    name: str, base_ms: float, each_ms: float, replicas: int, shared: bool, cv: float = 0.0
) -> dict[str, Any]:
    service = {
        "kind": "affine",
        "base": f"{round(base_ms * 1e6)}ns",
        "per_request": f"{round(each_ms * 1e6)}ns",
        "cv": cv,
    }
    place = {"device": "shared"} if shared else {}
    return {"name": name, "replicas": replicas, "max_batch": LARGEST, "service": service, **place}


def dlrm(replicas: int, objective_ms: float, slots: int | None = None) -> Config:
    """Four stages whose ranker is a DLRM: its time hardly grows with small batches."""
    shared = slots is not None
    stages = [
        _stage("recall", 1.0, 0.05, replicas, shared),
        _stage("filter", 0.8, 0.08, replicas, shared),
        _stage("rank", 0.0, 0.0, replicas, shared) | {"service": DLRM},
        _stage("rerank", 0.5, 0.10, replicas, shared),
    ]
    return pipeline(stages, objective_ms, slots)


def forked(replicas: int, objective_ms: float, slots: int | None = None) -> Config:
    """Three ways of recall side by side between two stages."""
    shared = slots is not None
    stages = [
        _stage("parse", 0.3, 0.01, replicas, shared),
        _stage("graph", 1.5, 0.06, 2 * replicas, shared) | {"after": "parse"},
        _stage("text", 1.0, 0.08, 2 * replicas, shared) | {"after": "parse"},
        _stage("popular", 0.4, 0.02, replicas, shared) | {"after": "parse"},
        _stage("rank", 2.5, 0.15, 4 * replicas, shared) | {"after": ["graph", "text", "popular"]},
    ]
    return pipeline(stages, objective_ms, slots)


def random_chain(seed: int) -> tuple[str, Config]:
    """A pipeline that nobody designed: two to five stages, replicas in proportion to their work or a shared
    device, an objective between tight and medium. Returns a name and the configuration.
    """
    rng = np.random.default_rng(seed)
    slots = int(rng.choice([0, 0, 0, 2, 4, 8])) or None
    scale = int(rng.choice([1, 2, 4, 8]))
    stages = []
    least_ms = full_ms = 0.0
    for k in range(int(rng.integers(2, 6))):
        base_ms = float(np.round(rng.uniform(0.3, 3), 2))
        each_ms = float(np.round(base_ms * 10 ** rng.uniform(-2, -0.7), 3))
        work = scale * (base_ms + 32 * each_ms) / 5 * rng.uniform(0.7, 1.4)
        count = slots or max(1, round(work))
        stages.append(_stage(f"s{k}", base_ms, each_ms, count, slots is not None))
        least_ms += base_ms + each_ms
        full_ms += base_ms + 32 * each_ms
    objective_ms = round(least_ms + (full_ms - least_ms) * rng.uniform(0.5, 1.5), 1)
    place = _named([stage["replicas"] for stage in stages], slots)
    config = pipeline(stages, objective_ms, slots)
    return f"random {seed}: {place}, {objective_ms:g} ms", config


def regimes(data: Path, scale: float = 1.0) -> Iterator[Regime]:
    """All of them; ``scale`` of less than 1 makes runs shorter. Real records need their folder."""
    poisson = Drawn(Poisson(1e4), requests=round(30_000 * scale))
    bursts = Drawn(Mmpp((0.5e4, 1.5e4), (SOJOURN_NS, SOJOURN_NS)), duration_ns=round(5e9 * scale))
    gaps = Drawn(Gamma(1e4, 2.0), requests=round(40_000 * scale))
    several, many, single = (2, 2, 8, 2), (8, 8, 32, 8), (1, 1, 1, 1)
    shared = (4, 4, 4, 4)
    plain = (
        ("several", several, None, (14, 22)),
        ("many", many, None, (14, 22)),
        ("shared", shared, 4, (14, 22)),
        ("neutral", single, None, (22,)),
        ("neutral", single, 1, (22,)),
        ("neutral", several, None, (80,)),
        ("neutral", single, None, (80,)),
        ("neutral", shared, 4, (80,)),
    )
    for group, replicas, slots, objectives in plain:
        for objective_ms in objectives:
            name = f"{_named(replicas, slots)}, poisson, {objective_ms} ms"
            yield Regime(name, group, chain(replicas, objective_ms, slots), poisson)
    for arrivals, source in (("mmpp", bursts), ("gamma cv 2", gaps)):
        for replicas, slots, objective_ms in (
            (several, None, 14),
            (several, None, 22),
            (many, None, 14),
            (shared, 4, 14),
            (shared, 4, 22),
        ):
            name = f"{_named(replicas, slots)}, {arrivals}, {objective_ms} ms"
            yield Regime(name, "bursts", chain(replicas, objective_ms, slots), source)
    for trace, process in traces(data).items():
        record = Recorded(process, PARTS, round(30_000 * scale))
        for replicas, slots, objective_ms in ((several, None, 14), (shared, 4, 22)):
            name = f"{_named(replicas, slots)}, {trace}, {objective_ms} ms"
            yield Regime(name, "traces", chain(replicas, objective_ms, slots), record)
    for group, replicas_each, slots, objectives in (
        ("several", 3, None, (9, 14)),
        ("many", 12, None, (9, 14)),
        ("shared", 4, 4, (9, 14)),
        ("neutral", 1, None, (14,)),
    ):
        for objective_ms in objectives:
            name = f"dlrm, {_named((replicas_each,) * 4, slots)}, poisson, {objective_ms} ms"
            yield Regime(name, group, dlrm(replicas_each, objective_ms, slots), poisson)
    noisy = chain(several, 22, cv=0.3)
    yield Regime(
        f"{_named(several, None)}, poisson, 22 ms, service cv 0.3", "noise", noisy, poisson
    )
    for seed in range(RANDOM_FROM, RANDOM_FROM + RANDOM_COUNT):
        random_name, config = random_chain(seed)
        yield Regime(random_name, "random", config, poisson)
    for replicas_each, slots, objective_ms in ((2, None, 9), (2, None, 15), (4, 4, 12), (4, 4, 20)):
        name = f"fork, {'4 slots' if slots else '2 to 8 replicas'}, poisson, {objective_ms} ms"
        yield Regime(name, "forks", forked(replicas_each, objective_ms, slots), poisson)


def _named(replicas: Sequence[int], slots: int | None) -> str:
    if slots is not None:
        return f"one device, {slots} slot{'s' if slots > 1 else ''}"
    return ",".join(map(str, replicas))
