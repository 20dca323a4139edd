"""What a user should know of a run before believing its figures."""

from __future__ import annotations

from collections.abc import Iterator

from configs.model import Config
from policies.runlog import RunLog
from sim.arrivals.closed import Closed
from sim.capacity import capacity_hz

LATE_NS = 1_000_000
"""A request that is sent so much after its time makes a real run's figures doubtful."""


def notes(config: Config, log: RunLog) -> Iterator[str]:
    """One sentence for each thing that makes the figures of ``log``, a run of ``config``, doubtful."""
    free = [stage.name for stage in config.stages if _takes_no_time(config, stage.name)]
    if free:
        yield (
            f"no service time: batches of {', '.join(free)} take no time at all;"
            f" give `service` for figures of more than the holds"
        )
    if isinstance(config.workload.arrivals, Closed):
        return  # clients that wait for their answers cannot outrun the pipeline
    offered_hz = config.workload.arrivals.mean_rate_hz()
    bound_hz = capacity_hz(config, float(log.requests.items.mean()))
    if offered_hz > bound_hz:
        yield (
            f"unstable: {offered_hz:,.1f} requests/s come and at most {bound_hz:,.1f}/s can be"
            " served, so the backlog grows for as long as it lasts and the figures depend on the"
            " length of the run"
        )


def real_notes(config: Config, log: RunLog, *, profiled: bool) -> Iterator[str]:
    """The same of a real run; ``profiled`` says whether the configuration knows its service times."""
    if profiled:
        yield from notes(config, log)
    else:
        yield (
            "there is no profile yet, so that policies were told that batches take no time;"
            " take one with `delayline profile`"
        )
    late = log.info.get("late_sends")
    if isinstance(late, dict) and late["p99_ns"] > LATE_NS:
        yield (
            f"1% of the requests were sent more than {late['p99_ns'] / 1e6:,.1f} ms after their time"
            " (latency counts from their time): the machine is busy with something else, or has too"
            " few cores"
        )
    if lost := log.info.get("workers_lost"):
        yield f"{lost} workers died; their batches were tried again"


def _takes_no_time(config: Config, name: str) -> bool:
    stage = config.stage(name)
    return bool(
        stage.service_here().for_stage(name).expected_ns(stage.max_batch, stage.max_batch) == 0
    )
