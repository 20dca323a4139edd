"""What a cell of the map says: who wins, and whether holding helps there; neutral where it cannot be told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean

from sim.regimes.score import Score, Scored
from sim.statistics import Interval, paired_interval

LEAST_GAIN = 0.001
"""Differences of less than so much of the requests are of no account, however sure they are."""


class Hold(StrEnum):
    """What holding does to the share of requests within the objective."""

    HELPS = "helps"
    NEUTRAL = "neutral"
    HURTS = "hurts"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A cell, judged. Gains are differences of the share within the objective, paired by replication."""

    winner: Score
    """The simplest candidate that no other is surely better than, in the order in which they came."""
    over_first: Interval
    """The winner against the first candidate, which is the plainest."""
    hold: Hold | None
    """None where the candidates do not have both kinds."""
    by_holding: Interval | None
    """The best candidate that holds against the best that does not, each chosen on the tuning seed."""


def judged(cell: Scored) -> Verdict:
    """The verdict on a cell, which has one candidate at least."""
    best = max(cell.scores, key=lambda score: fmean(score.shares))
    winner = next(score for score in cell.scores if not _surely(gain(best, score)))
    holding = _tuned_best([score for score in cell.scores if score.family.holds])
    eager = _tuned_best([score for score in cell.scores if not score.family.holds])
    by_holding = None if holding is None or eager is None else gain(holding, eager)
    return Verdict(
        winner=winner,
        over_first=gain(winner, cell.scores[0]),
        hold=None if by_holding is None else effect(by_holding),
        by_holding=by_holding,
    )


def gain(one: Score, other: Score) -> Interval:
    """How much larger one's share within the objective is."""
    return paired_interval(one.shares, other.shares)


def effect(by_holding: Interval) -> Hold:
    """Neutral where the interval holds zero, or the difference is of no account."""
    if _surely(by_holding):
        return Hold.HELPS
    flipped = Interval(-by_holding.estimate, -by_holding.high, -by_holding.low, by_holding.level)
    return Hold.HURTS if _surely(flipped) else Hold.NEUTRAL


def _surely(difference: Interval) -> bool:
    """Whether a difference is above zero, and of some account."""
    return difference.low > 0 and difference.estimate >= LEAST_GAIN


def _tuned_best(scores: Sequence[Score]) -> Score | None:
    """The best on the tuning seed; of equals the first."""
    return max(scores, key=lambda score: score.tuned, default=None)
