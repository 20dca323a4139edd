"""Quality of a run: predicted from how each request was served, or measured on the lists it got."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.degrade import FULL
from policies.runlog import Int64, Outcome, RunLog, StageLog
from reports.confidence import Estimate
from reports.list_scores import SCORES, means, scores
from reports.paths import missing
from reports.quality_table import (
    QualityError,
    QualityTable,
    Row,
    Way,
    needed,
    row_json,
    row_of_json,
    scores_json,
    scores_of_json,
    way,
)


@dataclass(frozen=True, slots=True)
class Part:
    """Requests that were served in one way."""

    row: Row
    share: float
    """Of the requests that are judged."""


@dataclass(frozen=True, slots=True)
class Quality:
    """What the lists of a run are worth, over the completed requests that arrived after the warm-up."""

    scores: Mapping[str, Estimate]
    """By name, one of ``list_scores.SCORES``. Predicted: means of the table's, and of the ends of their
    intervals, which is as wide as the interval of a mean can be. Measured: with intervals by resampling
    users.
    """
    parts: tuple[Part, ...] = ()
    """Ways in which requests were served, most first; of a prediction."""
    requests: int = 0
    """How many were judged."""
    unjudged: int = 0
    """Of a measurement, how many were not: the table holds nothing of their users."""

    def to_json(self) -> dict[str, Any]:
        """Scores by name, each with its interval; and the ways in which requests were served."""
        return {
            **scores_json(self.scores),
            "requests": self.requests,
            "unjudged": self.unjudged,
            "served": [{"share": each.share, **row_json(each.row)} for each in self.parts],
        }


@dataclass(frozen=True, slots=True)
class RunQuality:
    """Of one run: what its lists ought to be worth, and what they were; None where nothing tells."""

    predicted: Quality | None
    measured: Quality | None = None

    def to_json(self) -> dict[str, Any]:
        """Both, by name."""
        return {
            name: None if each is None else each.to_json()
            for name, each in (("predicted", self.predicted), ("measured", self.measured))
        }


def quality_of_json(value: Mapping[str, Any] | None) -> RunQuality | None:
    """The inverse of ``RunQuality.to_json``. Raises KeyError, TypeError or ValueError."""
    if value is None:
        return None
    return RunQuality(_of_json(value["predicted"]), _of_json(value["measured"]))


def _of_json(value: Mapping[str, Any] | None) -> Quality | None:
    if value is None:
        return None
    return Quality(
        scores_of_json(value),
        tuple(Part(row_of_json(each), float(each["share"])) for each in value["served"]),
        requests=int(value["requests"]),
        unjudged=int(value["unjudged"]),
    )


def over_runs(each: Sequence[Quality]) -> Quality:
    """The mean over replications, and of the ends of their intervals; of parts with the same row, the mean
    share.
    """
    shares: dict[Way, float] = {}
    rows = {part.row.way: part.row for one in each for part in one.parts}
    for one in each:
        for part in one.parts:
            shares[part.row.way] = shares.get(part.row.way, 0.0) + part.share / len(each)
    parts = [Part(rows[key], shares[key]) for key in sorted(shares, key=lambda key: -shares[key])]
    even = [(1 / len(each), one.scores) for one in each]
    return Quality(
        {name: _mixed(name, even) for name in SCORES},
        tuple(parts),
        requests=sum(one.requests for one in each),
        unjudged=sum(one.unjudged for one in each),
    )


def predicted(
    table: QualityTable, keep: Mapping[str, int], log: RunLog, warmup_ns: int = 0
) -> Quality | None:
    """What a table says of a run in which stages pass on ``keep`` candidates; None where nothing was
    completed. Raises QualityError for a way of serving that the table has no row for.
    """
    judged = _judged(log, warmup_ns)
    total = int(np.count_nonzero(judged))
    if not total:
        return None
    counts: dict[Way, int] = {}
    for levels, without, served in _ways(log, judged):
        key = way(keep, levels, without)
        counts[key] = counts.get(key, 0) + int(np.count_nonzero(served))
    parts = [
        Part(row_of(table, each), count / total)
        for each, count in sorted(counts.items(), key=lambda item: (-item[1], item[0].told()))
    ]
    weighed = [(part.share, part.row.scores) for part in parts]
    return Quality({name: _mixed(name, weighed) for name in SCORES}, tuple(parts), requests=total)


def measured(
    table: QualityTable, log: RunLog, users: Int64, lists: NDArray[np.int64], warmup_ns: int = 0
) -> Quality | None:
    """What lists are worth: ``lists`` (requests, k) as they were answered to ``users`` (requests,), the
    rows of requests that were not completed meaning nothing. None where no user is in the table.
    """
    judged = _judged(log, warmup_ns)
    total = int(np.count_nonzero(judged))
    order = np.argsort(table.users, kind="stable")
    asked = users[judged]
    place = order[np.searchsorted(table.users, asked, sorter=order).clip(max=len(order) - 1)]
    known = table.users[place] == asked
    if not known.any():
        return None
    place = place[known]
    found = scores(lists[judged][known], table.held_out[place], table.full_lists[place])
    return Quality(
        means(found, asked[known], table.seed),
        requests=len(place),
        unjudged=total - len(place),
    )


def row_of(table: QualityTable, wanted: Way) -> Row:
    """The row of a way. Raises QualityError that says what to evaluate as well."""
    row = table.row(wanted)
    if row is not None:
        return row
    asked = dict(wanted.keep)
    known = {name for each in table.rows for name, _ in each.way.keep}
    if asked.keys() != known:
        raise QualityError(
            f"the quality table is of stages that keep candidates at {', '.join(sorted(known))}, not at"
            f" {', '.join(sorted(asked)) or 'none'}; evaluate the configuration again"
        )
    if all(each.way.keep != wanted.keep for each in table.rows):
        other = {name: keep for name, keep in asked.items() if not _has(table, name, keep)} or asked
        flags = " ".join(f"--keep {name}={keep}" for name, keep in sorted(other.items()))
        raise QualityError(
            f"the quality table has no row for keep {_told(asked)}; evaluate with {flags} as well"
        )
    raise QualityError(
        f"the quality table has no row for {wanted.told() or 'full service'} at keep {_told(asked)};"
        " evaluate the configuration again as it is now"
    )


def _has(table: QualityTable, name: str, keep: int) -> bool:
    return any((name, keep) in each.way.keep for each in table.rows)


def _told(keep: Mapping[str, int]) -> str:
    return ", ".join(f"{name}={count}" for name, count in sorted(keep.items()))


def _judged(log: RunLog, warmup_ns: int) -> NDArray[np.bool_]:
    judged: NDArray[np.bool_] = log.requests.outcome == Outcome.COMPLETED
    return judged & (log.requests.arrival_ns >= warmup_ns)


def _mixed(name: str, weighed: Sequence[tuple[float, Mapping[str, Estimate]]]) -> Estimate:
    each = [(share, found[name]) for share, found in weighed]
    value = sum(share * found.value for share, found in each)
    low, high = ([(share, getattr(found, end)) for share, found in each] for end in ("low", "high"))
    if any(found is None for _, found in low + high):
        return Estimate(value, None, None)
    return Estimate(value, *(sum(share * found for share, found in ends) for ends in (low, high)))


def ndcg_of_each(quality: Quality, log: RunLog) -> NDArray[np.float64]:
    """(requests,): the NDCG@10 predicted of each completed request, by how it was served; NaN for others, and
    where the prediction has no row for that way.
    """
    judged = _judged(log, 0)
    ndcg = {
        (part.row.way.levels, part.row.way.missing): part.row.scores["ndcg"].value
        for part in quality.parts
    }
    values, places = [], np.zeros(int(np.count_nonzero(judged)), np.int64)
    for number, (levels, without, mask) in enumerate(_ways(log, judged)):
        served = way({}, levels, without)
        values.append(ndcg.get((served.levels, served.missing), np.nan))
        places[mask] = number
    found = np.full(len(log.requests), np.nan)
    found[judged] = np.array([*values, np.nan])[places]
    return found


def _ways(
    log: RunLog, judged: NDArray[np.bool_]
) -> Iterator[tuple[dict[str, int], list[str], NDArray[np.bool_]]]:
    """Levels by stage, missing stages, and which of the judged requests were served so."""
    degrading = [stage for stage in log.stages if stage.batches.level is not None]
    gone = {
        (branch, join): mask
        for join, branches in missing(log).items()
        for branch, mask in branches.items()
    }
    columns = [_levels(log, stage)[judged] for stage in degrading]
    columns += [mask[judged].astype(np.int8) for mask in gone.values()]
    if not columns:
        yield {}, [], np.ones(int(np.count_nonzero(judged)), np.bool_)
        return
    parents = {stage.name: stage.parents for stage in log.stages}
    rows, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    for number, row in enumerate(rows.tolist()):
        levels = dict(zip((stage.name for stage in degrading), row, strict=False))
        without = [edge for edge, at in zip(gone, row[len(degrading) :], strict=True) if at]
        came = needed(parents, without)
        yield (
            {name: level for name, level in levels.items() if name in came},
            [stage for stage, join in without if join in came],
            inverse == number,
        )


def _levels(log: RunLog, stage: StageLog) -> NDArray[np.int8]:
    """(requests,): the level at which each was served, 0 where it was not."""
    level = np.full(len(log.requests), FULL, np.int8)
    visits = stage.visits.made()
    sent = visits.row >= 0
    if stage.batches.level is not None:
        level[visits.request[sent]] = stage.batches.level[visits.row[sent]]
    return level
