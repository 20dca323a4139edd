"""The configured arrivals at other rates: what profiles and scenarios are measured under."""

from __future__ import annotations

from configs.model import Config
from delayline.errors import CommandError
from policies.workload import Workload
from sim.arrivals.base import ArrivalProcess
from sim.workload import draw_workload


def open_arrivals(config: Config) -> ArrivalProcess:
    """The arrival process, which must be one whose rate can be set. Raises CommandError, and TraceError
    for recorded arrivals that cannot be used.
    """
    arrivals = config.workload.arrivals
    if not isinstance(arrivals, ArrivalProcess):
        raise CommandError(
            f"workload.arrivals is {arrivals.kind}: its rate follows the answers and cannot be set; "
            "use another kind, such as poisson"
        )
    arrivals.mean_rate_hz()  # reads what is recorded
    return arrivals


def at_rate(
    config: Config,
    rate_hz: float,
    *,
    requests: int | None = None,
    duration_ns: int | None = None,
    replication: int = 0,
) -> Workload:
    """The configured workload with its arrivals scaled to a mean rate. Raises CommandError."""
    arrivals = open_arrivals(config)
    workload = draw_workload(
        arrivals.scaled(rate_hz / arrivals.mean_rate_hz()),
        config.workload.items,
        config.workload.keys,
        requests=requests,
        duration_ns=duration_ns,
        deadline_after_ns=config.workload.deadline_ns,
        priority_weights=config.workload.priorities,
        seed=config.seed,
        replication=replication,
    )
    if not isinstance(workload, Workload):
        raise TypeError("an arrival process made a closed workload")
    return workload
