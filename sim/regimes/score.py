"""One load of a regime map: every candidate tuned for each objective on some replications, scored on
fresh ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sim.planning.problem import Settings
from sim.regimes.evaluate import Evaluator, Reached, Task, hangs_on_objective
from sim.regimes.families import Caps, Family
from sim.tuning.confirm import CONFIRMING_FROM

TUNING = range(3)
"""The replications that settings are chosen on. Near saturation a single one picks by luck: what a hold
seemed to gain there was a better cap's.
"""
_ROUNDS = 4
"""How often one looks about the best setting."""


@dataclass(frozen=True, slots=True)
class Score:
    """A candidate in a cell."""

    family: Family
    settings: Settings
    """Those that were best for the objective on the tuning seed."""
    tuned: float
    """Mean share within the objective there."""
    objective: int
    """Place of the objective among the spot's."""
    reached: tuple[Reached, ...]
    """On fresh replications, the same for all candidates."""

    @property
    def shares(self) -> tuple[float, ...]:
        """Share within the objective, by replication."""
        return tuple(each.shares[self.objective] for each in self.reached)


@dataclass(frozen=True, slots=True)
class Scored:
    """A cell of the map: all candidates for one objective."""

    objective_ns: int
    scores: tuple[Score, ...]


def scored(families: Sequence[Family], evaluator: Evaluator, replications: int) -> list[Scored]:
    """Every objective of the evaluator's spot, in order."""
    objectives = range(len(evaluator.spot.objectives_ns))
    chosen = {
        (family.name, place): settings
        for family in families
        for place, settings in _tuned(family, evaluator).items()
    }
    for family in families:
        if isinstance(family, Caps):
            chosen |= _adopted(family, evaluator, chosen)
    fresh = range(CONFIRMING_FROM, CONFIRMING_FROM + replications)
    evaluator.run([_task(evaluator, each, k, n) for (_, k), each in chosen.items() for n in fresh])
    cells = []
    for place in objectives:
        scores = []
        for family in families:
            settings = chosen[family.name, place]
            tuned, _ = _tuned_to(evaluator, settings, place)
            reached = tuple(evaluator.reached(_task(evaluator, settings, place, n)) for n in fresh)
            scores.append(Score(family, settings, tuned, place, reached))
        cells.append(Scored(evaluator.spot.objectives_ns[place], tuple(scores)))
    return cells


def _tuned(family: Family, evaluator: Evaluator) -> Mapping[int, Settings]:
    """The best settings of a family by the place of the objective."""
    spot = evaluator.spot
    objectives = range(len(spot.objectives_ns))
    known = list(family.first(spot))
    evaluator.run(list(_tasks(evaluator, known)))
    best = {place: _best(evaluator, known, place) for place in objectives}
    for _ in range(_ROUNDS):
        about = [each for settings in set(best.values()) for each in family.around(spot, settings)]
        new = [each for each in dict.fromkeys(about) if each not in known]
        if not new:
            break
        evaluator.run(list(_tasks(evaluator, new)))
        known += new
        found = {place: _best(evaluator, known, place) for place in objectives}
        if found == best:
            break
        best = found
    return best


def _adopted(
    family: Caps, evaluator: Evaluator, chosen: Mapping[tuple[str, int], Settings]
) -> dict[tuple[str, int], Settings]:
    """The best caps, those that others have found under a hold included: where a search has merely missed
    them, what they gain is not the hold's.
    """
    spot = evaluator.spot
    found = list(dict.fromkeys(family.without_hold(spot, each) for each in chosen.values()))
    evaluator.run(list(_tasks(evaluator, found)))
    return {
        (family.name, place): _best(evaluator, [chosen[family.name, place], *found], place)
        for place in range(len(spot.objectives_ns))
    }


def _tasks(evaluator: Evaluator, settings: Sequence[Settings]) -> Iterator[Task]:
    for each in settings:
        for place in range(len(evaluator.spot.objectives_ns)):
            for replication in TUNING:
                yield _task(evaluator, each, place, replication)


def _task(evaluator: Evaluator, settings: Settings, place: int, replication: int) -> Task:
    spot = evaluator.spot
    hangs = hangs_on_objective(spot.config, settings)
    return Task(settings, replication, spot.objectives_ns[place] if hangs else None)


def _best(evaluator: Evaluator, known: Sequence[Settings], place: int) -> Settings:
    """Most requests within the objective; of equals the lowest p99, then the first."""

    def worse(settings: Settings) -> tuple[float, float]:
        share, p99_ms = _tuned_to(evaluator, settings, place)
        return -share, p99_ms

    return min(known, key=worse)


def _tuned_to(evaluator: Evaluator, settings: Settings, place: int) -> tuple[float, float]:
    """Mean share within the objective, and mean p99, where settings are chosen."""
    found = [evaluator.reached(_task(evaluator, settings, place, n)) for n in TUNING]
    share = sum(each.shares[place] for each in found) / len(found)
    return share, sum(each.p99_ms for each in found) / len(found)
