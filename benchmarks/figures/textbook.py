"""Both drivers against the same pipeline as a SimPy textbook would write it, one process a request."""

from __future__ import annotations

import numpy as np

from benchmarks import idiomatic
from benchmarks.pipelines import open_workload, pipeline4
from benchmarks.table import Measured, Row, thousands, times
from benchmarks.timing import Contender, race
from configs.model import Config
from policies.fixed import Fixed
from sim.service.base import ServiceModel
from sim.simulate import simulate

REQUESTS = 200_000
ROUNDS = 5
LEAST_TIMES = {"compiled": 130, "simpy": 5}
"""How many times as fast each driver is to be."""


def settings(config: Config) -> list[idiomatic.StageSetting]:
    """The stages for the textbook model, which knows fixed holds only. Raises TypeError for others."""
    found = []
    for stage in config.stages:
        if not isinstance(stage.policy, Fixed):
            raise TypeError(f"the textbook model knows fixed holds only, not {stage.policy}")
        model: ServiceModel = stage.service

        def service_ns(requests: int, model: ServiceModel = model) -> int:
            return round(model.expected_ns(requests, requests))

        found.append(
            idiomatic.StageSetting(
                stage.replicas, stage.max_batch, stage.policy.delay_ns, service_ns
            )
        )
    return found


def measure() -> Measured:
    """Ratios in alternating turns, and whether completions agree."""
    config = pipeline4(REQUESTS)
    workload = open_workload(config)
    theirs = settings(config)
    raced = race(
        [
            Contender(
                "compiled",
                lambda: simulate(config, workload=workload, engine="compiled"),
                REQUESTS,
                calls=5,
            ),
            Contender(
                "simpy", lambda: simulate(config, workload=workload, engine="simpy"), REQUESTS
            ),
            Contender("textbook", lambda: idiomatic.run(workload.arrival_ns, theirs), REQUESTS),
        ],
        ROUNDS,
    )
    ours_ns = simulate(config, workload=workload, engine="compiled").requests.ended_ns
    equal = np.array_equal(ours_ns, idiomatic.run(workload.arrival_ns, theirs))
    ratios = {name: raced.ratio(name, "textbook") for name in LEAST_TIMES}
    rows = [
        Row("idiomatic SimPy, a process per request", thousands(raced.rate_hz("textbook"))),
        *(
            Row(
                f"{label} against idiomatic SimPy, same pipeline",
                times(ratios[name], 0 if name == "compiled" else 1),
                f"at least {LEAST_TIMES[name]} times",
                ratios[name].median >= LEAST_TIMES[name],
            )
            for name, label in (("compiled", "compiled driver"), ("simpy", "SimPy driver"))
        ),
        Row("completion times of both", "equal" if equal else "differ", "equal", bool(equal)),
    ]
    data = {
        "requests": REQUESTS,
        "rounds": ROUNDS,
        "textbook_rps": raced.rate_hz("textbook").as_dict(),
        "ratios": {name: ratio.as_dict() for name, ratio in ratios.items()},
        "equal_completions": bool(equal),
    }
    return Measured(tuple(rows), data)
