"""The compiled driver beside the hand-written loop and the SimPy driver, on the four-stage pipeline."""

from __future__ import annotations

import numpy as np

from benchmarks import handwritten
from benchmarks.pipelines import open_workload, pipeline4
from benchmarks.table import Measured, Row, millions, times
from benchmarks.timing import Contender, race
from sim.simulate import simulate

REQUESTS = 200_000
ROUNDS = 9
LEAST_HZ = 12e6
MOST_TIMES = 2.3
"""That is how far the compiled driver may lie behind the loop that knows one pipeline only."""


def measure() -> Measured:
    """Rates, the ratios, and whether all three agree."""
    config = pipeline4(REQUESTS)
    workload = open_workload(config)
    setting = handwritten.setting_of(config)
    raced = race(
        [
            Contender(
                "compiled",
                lambda: simulate(config, workload=workload, engine="compiled"),
                REQUESTS,
                calls=5,
            ),
            Contender(
                "handwritten",
                lambda: handwritten.run(workload.arrival_ns, setting),
                REQUESTS,
                calls=20,
            ),
            Contender(
                "simpy", lambda: simulate(config, workload=workload, engine="simpy"), REQUESTS
            ),
        ],
        ROUNDS,
    )
    ended_ns = [
        simulate(config, workload=workload, engine=engine).requests.ended_ns
        for engine in ("compiled", "simpy")
    ] + [handwritten.run(workload.arrival_ns, setting)[0]]
    equal = all(np.array_equal(ended_ns[0], other) for other in ended_ns[1:])
    compiled, loop = raced.rate_hz("compiled"), raced.rate_hz("handwritten")
    behind, ahead = raced.ratio("handwritten", "compiled"), raced.ratio("compiled", "simpy")
    rows = (
        Row(
            f"compiled driver, {REQUESTS:,} requests",
            millions(compiled),
            f"at least {LEAST_HZ / 1e6:g} M requests/s",
            compiled.median >= LEAST_HZ,
        ),
        Row("hand-written loop of this one pipeline", millions(loop)),
        Row(
            "hand-written loop against compiled driver",
            times(behind, 1),
            f"at most {MOST_TIMES} times",
            behind.median <= MOST_TIMES,
        ),
        Row("SimPy driver (the reference)", millions(raced.rate_hz("simpy"))),
        Row("compiled driver against SimPy driver", times(ahead)),
        Row("completion times of the three", "equal" if equal else "differ", "equal", equal),
    )
    data = {
        "requests": REQUESTS,
        "rounds": ROUNDS,
        "rates_hz": {name: raced.rate_hz(name).as_dict() for name in raced.rates_hz},
        "handwritten_by_compiled": behind.as_dict(),
        "compiled_by_simpy": ahead.as_dict(),
        "equal_completions": equal,
    }
    return Measured(rows, data)
