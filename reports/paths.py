"""Which stages decided a request's latency: its way back from the answer by what came last.

Every way of a completed request through the graph takes as long as its latency, once the time is counted
that a branch which is done waits at the join for the others (the merge wait, one for each edge). On the
critical path that wait is zero: each of its stages was the last parent of the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies.runlog import Int64, Outcome, RunLog
from reports.waits import finished_by_request

ANSWER = ""
"""The end of an edge that leaves the last stage of a branch: the answer waits for all of them."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Of completed requests, by request id; what others have here means nothing."""

    finished_ns: Int64
    """(stages, n): when the request's batch at the stage was over, -1 where it was not served there."""
    critical: NDArray[np.bool_]
    """(stages, n): whether the stage lies on the request's critical path."""


@dataclass(frozen=True, slots=True)
class Join:
    """Where several branches meet: a stage, or the answer."""

    name: str
    """The stage's, or :data:`ANSWER`."""
    parents: tuple[int, ...]


def paths(log: RunLog) -> Paths:
    """The critical path of every completed request; of branches that end together the first counts."""
    finished = np.array([finished_by_request(log, stage) for stage in log.stages], np.int64)
    critical = np.zeros(finished.shape, np.bool_)
    completed = log.requests.outcome == Outcome.COMPLETED
    _mark(critical, finished, sinks(log), completed)
    places = {stage.name: index for index, stage in enumerate(log.stages)}
    for index in reversed(range(len(log.stages))):
        parents = [places[name] for name in log.stages[index].parents]
        if parents:
            _mark(critical, finished, parents, critical[index])
    return Paths(finished, critical)


def joins(log: RunLog) -> Iterator[Join]:
    """Every place where several branches meet, in order."""
    places = {stage.name: index for index, stage in enumerate(log.stages)}
    for stage in log.stages:
        if len(stage.parents) > 1:
            yield Join(stage.name, tuple(sorted(places[name] for name in stage.parents)))
    ends = sinks(log)
    if len(ends) > 1:
        yield Join(ANSWER, tuple(ends))


def sinks(log: RunLog) -> list[int]:
    """The stages that nothing follows."""
    parents = {name for stage in log.stages for name in stage.parents}
    return [index for index, stage in enumerate(log.stages) if stage.name not in parents]


def _mark(
    critical: NDArray[np.bool_],
    finished: Int64,
    among: Sequence[int],
    requests: NDArray[np.bool_],
) -> None:
    """Mark for each of the requests the stage among these that finished last."""
    last = np.asarray(among)[np.argmax(finished[among], axis=0)]
    for index in among:
        critical[index] |= requests & (last == index)
