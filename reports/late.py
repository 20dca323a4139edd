"""Work of branches that was not waited for: a batch that ends after a request has gone on without it."""

from __future__ import annotations

import numpy as np

from policies.giving_up import given_up
from policies.runlog import RunLog, StageLog
from reports.waits import served


def late_s(log: RunLog, warmup_ns: int = 0) -> float:
    """Busy seconds from the cut on that were for requests which had gone on at a join by the batch's end.

    Of a batch, the share of its requests that had. Only stages count from which every way leads through the
    join: what others put out is of use elsewhere.
    """
    names = [stage.name for stage in log.stages]
    parents = [stage.parents for stage in log.stages]
    lost_by: dict[int, list[int]] = {}
    for join, before in given_up(names, parents, [stage.partial for stage in log.stages]):
        for index in before:
            lost_by.setdefault(index, []).append(join)
    return sum(
        _late_s(log, log.stages[index], [log.stages[join] for join in joins], warmup_ns)
        for index, joins in lost_by.items()
    )


def _late_s(log: RunLog, stage: StageLog, joins: list[StageLog], warmup_ns: int) -> float:
    visits, batches = stage.visits.made(), stage.batches
    kept = served(stage, visits)
    request, row = visits.request[kept], visits.row[kept]
    if not len(row):
        return 0.0
    went_ns = np.full(len(log.requests), np.iinfo(np.int64).max)
    for join in joins:
        came = join.visits.made()
        went_ns[came.request] = np.minimum(went_ns[came.request], came.enqueued_ns)
    late = batches.finished_ns[row] > went_ns[request]
    riding = np.bincount(row, minlength=len(batches.batch))
    share = np.bincount(row[late], minlength=len(batches.batch)) / np.maximum(riding, 1)
    busy_ns = batches.finished_ns - np.maximum(batches.dispatched_ns, warmup_ns)
    return float((np.maximum(busy_ns, 0) * share).sum()) / 1e9
