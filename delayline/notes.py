"""What a user should know of a run before believing its figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from configs.model import Config
from delayline.width_notes import width_notes
from policies.runlog import RunLog
from sim.arrivals.closed import Closed
from sim.capacity import capacity_hz
from sim.service.of_stage import model_of_stage

if TYPE_CHECKING:
    from sim.optimum.one_stage import OneStage

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
    yield from width_notes(config)
    if isinstance(config.workload.arrivals, Closed):
        return  # clients that wait for their answers cannot outrun the pipeline
    if any(stage.coalesce for stage in config.stages):
        return  # how much is computed depends on how many are alike
    offered_hz = config.workload.arrivals.mean_rate_hz()
    bound_hz = capacity_hz(config, float(log.requests.items.mean()))
    if offered_hz > bound_hz:
        yield (
            f"unstable: {offered_hz:,.1f} requests/s come and at most {bound_hz:,.1f}/s can be"
            " served, so there is no steady state: the backlog grows for as long as that lasts, and the"
            " figures are of this run and depend on its length"
        )


def optimum_notes(stage: OneStage) -> Iterator[str]:
    """The same of a comparison with the optimum."""
    config = stage.config
    if stage.load >= 1:
        yield (
            f"unstable: {stage.rate_hz:,.1f} requests/s come and at most {stage.rate_hz / stage.load:,.1f}/s"
            " can be served, so there is no steady state and no optimum; the figures are of the runs as"
            " they are, and depend on their length"
        )
    elif not stage.poisson:
        yield (
            f"the optimum is for Poisson arrivals of the same mean rate, and {config.name} has"
            f" {config.workload.arrivals.kind}: a policy may be better here, and the prediction is not of"
            " these runs"
        )
    if stage.model.paced:
        yield (
            f"the optimum takes batches of {stage.stage.name} to take the same however long its replica has"
            " rested, and this profile knows otherwise"
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
    return model_of_stage(config, stage).expected_ns(stage.max_batch, stage.max_batch) == 0
