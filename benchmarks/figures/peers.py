"""ciw and salabim, which know no batches: a tandem of four M/M/4 queues. Needs the extra ``bench``."""

from __future__ import annotations

import numpy as np

from benchmarks import ciw_tandem, salabim_tandem
from benchmarks.pipelines import open_workload, pipeline4, tandem, tandem_latency_s
from benchmarks.table import Measured, Row, millions, thousands, times
from benchmarks.timing import Contender, race
from policies.runlog import RunLog
from sim.simulate import simulate

REQUESTS = 200_000
THEIRS = {"ciw": 20_000, "salabim": 10_000}
ROUNDS = 5
LEAST_TIMES = 500
NEAR = 0.06
"""How far a mean latency of so few requests may lie from theory."""


def measure() -> Measured:
    """Rates, and two ratios for each peer: of the four-stage pipeline, and of the same tandem."""
    config, same = pipeline4(REQUESTS), tandem(REQUESTS)
    workload = open_workload(config)
    raced = race(
        [
            Contender(
                "pipeline4",
                lambda: simulate(config, workload=workload, engine="compiled"),
                REQUESTS,
                calls=5,
            ),
            # The peers draw their arrivals as they go, so here ours are drawn in the time measured too.
            Contender("tandem", lambda: simulate(same, engine="compiled"), REQUESTS, calls=3),
            Contender("ciw", lambda: ciw_tandem.run(THEIRS["ciw"]), THEIRS["ciw"]),
            Contender("salabim", lambda: salabim_tandem.run(THEIRS["salabim"]), THEIRS["salabim"]),
        ],
        ROUNDS,
    )
    latencies_s = mean_latencies_s()
    rows = [
        Row("compiled driver, the same tandem of four M/M/4", millions(raced.rate_hz("tandem")))
    ]
    for peer in THEIRS:
        asked = LEAST_TIMES if peer == "ciw" else None
        across, like = raced.ratio("pipeline4", peer), raced.ratio("tandem", peer)
        rows += [
            Row(f"{peer}, tandem of four M/M/4", thousands(raced.rate_hz(peer))),
            Row(
                f"compiled driver on the four-stage pipeline against {peer} on its tandem",
                times(across),
                f"at least {asked} times" if asked else "",
                across.median >= asked if asked else None,
            ),
            Row(f"like for like: both on the tandem, against {peer}", times(like)),
        ]
    off = {name: value / tandem_latency_s() - 1 for name, value in latencies_s.items()}
    rows.append(
        Row(
            "mean latency of the tandems against theory",
            ", ".join(f"{name} {value:+.1%}" for name, value in off.items()),
            f"within {NEAR:.0%}",
            all(abs(value) <= NEAR for value in off.values()),
        )
    )
    data = {
        "requests": {"delayline": REQUESTS, **THEIRS},
        "rounds": ROUNDS,
        "rates_hz": {name: raced.rate_hz(name).as_dict() for name in raced.rates_hz},
        "pipeline4_by_peer": {p: raced.ratio("pipeline4", p).as_dict() for p in THEIRS},
        "tandem_by_peer": {p: raced.ratio("tandem", p).as_dict() for p in THEIRS},
        "mean_latency_s": {"theory": tandem_latency_s(), **latencies_s},
    }
    return Measured(tuple(rows), data)


def mean_latencies_s() -> dict[str, float]:
    """The tandem's mean latency as each simulates it."""
    return {
        "delayline": _mean_latency_s(simulate(tandem(REQUESTS), engine="compiled")),
        "ciw": ciw_tandem.mean_latency_s(ciw_tandem.run(THEIRS["ciw"])),
        "salabim": float(np.mean(salabim_tandem.run(THEIRS["salabim"]))),
    }


def _mean_latency_s(log: RunLog) -> float:
    return float(np.mean(log.requests.ended_ns - log.requests.arrival_ns)) / 1e9
