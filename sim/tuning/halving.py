"""Successive halving on the length of runs: short runs tell most settings that are no good.

Every batch of settings is a bracket of Jamieson and Talwalkar, "Non-stochastic best arm identification and
hyperparameter optimization" (AISTATS 2016): all run a little, the best third of them four times as far,
the best third of those to the end. Since a longer run begins with the shorter one, arrival by arrival, who
is left behind was compared on the same terms as who goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from configs.model import Config
from policies.workload import ClosedWorkload
from sim.arrivals.closed import Closed
from sim.arrivals.constant import Constant
from sim.arrivals.gamma import Gamma
from sim.arrivals.poisson import Poisson
from sim.simulate import AnyWorkload
from sim.tuning.evaluate import Evaluator, Task, first_part
from sim.tuning.score import Figures, Scale, front

PARTS = (16, 4, 1)
"""What is run of a whole run: a sixteenth, a quarter, all of it."""
KEPT = 3
"""One of so many goes on."""
_TAIL = 50
"""Requests beyond the percentile that a short run must have to tell anything of it."""
_STEADY = (Poisson, Constant, Gamma, Closed)
"""Arrivals whose beginning is like the rest."""


@dataclass(frozen=True, slots=True)
class Reached:
    """Figures, what a sampler is to know of them, and how much of a run they are of."""

    figures: Figures
    values: tuple[float, ...]
    part: int = 1


def requests_beyond(config: Config, workload: AnyWorkload) -> float:
    """How many requests of a run lie beyond the objective's percentile, after the warm-up cut."""
    if config.objective is None:
        return 0.0
    counted = len(workload)
    if counted and not isinstance(workload, ClosedWorkload):
        cut_ns = config.warmup.cut_ns(int(workload.arrival_ns[-1]))
        counted -= int(np.searchsorted(workload.arrival_ns, cut_ns))
    return counted * (1 - config.objective.percentile / 100)


def parts_for(
    config: Config, workload: AnyWorkload, halving: bool | None = None
) -> tuple[int, ...]:
    """The parts of a run to be gone through, the whole last.

    With ``halving`` of None, short runs are those that can tell the percentile, under arrivals whose
    beginning is like the rest; True asks for all that have any request beyond the percentile.
    """
    steady = isinstance(config.workload.arrivals, _STEADY)
    if halving is False or (halving is None and not steady):
        return (1,)
    least = _TAIL if halving is None else 1
    return tuple(
        part
        for part in PARTS
        if part == 1 or requests_beyond(config, first_part(workload, part)) >= least * (1 - 1e-9)
    )


def climb(
    configs: Sequence[Config], evaluator: Evaluator, scale: Scale, parts: Sequence[int]
) -> Iterator[Reached]:
    """What each of a batch of configurations reaches, in order.

    One that is left behind is told as no better than one that it lost to: its short run may have been
    spared what the longer one met.
    """
    *shorter, whole = parts
    rungs: list[dict[int, Reached]] = []
    running = list(range(len(configs)))
    for part in shorter:
        found = evaluator.figures([Task(configs[place], part=part) for place in running])
        rung = {
            place: Reached(figures, scale.values(figures), part)
            for place, figures in zip(running, found, strict=True)
        }
        rungs.append(rung)
        running = best(rung, math.ceil(len(rung) / KEPT))
    last = evaluator.figures([Task(configs[place], part=whole) for place in running])
    if not shorter:
        for figures in last:
            yield Reached(figures, scale.values(figures), whole)
        return
    reached = {
        place: Reached(figures, scale.values(figures), whole)
        for place, figures in zip(running, last, strict=True)
    }
    for rung in reversed(rungs):
        for place in rung.keys() - reached.keys():
            reached[place] = _handicapped(rung[place], rung, reached)
    yield from (reached[place] for place in range(len(configs)))


def best(rung: Mapping[int, Reached], count: int) -> list[int]:
    """Places of the best so many: those that none dominates before others, apart from each other before
    close together (Deb et al., "NSGA-II", 2002, sections III A and B).
    """
    left = dict(sorted(rung.items()))
    kept: list[int] = []
    while len(kept) < count and left:
        places = list(left)
        layer = [places[at] for at in front([left[place].values for place in places])]
        crowding = _crowding([left[place].values for place in layer])
        layer = [place for _, place in sorted(zip(crowding, layer, strict=True))]
        kept += layer[: count - len(kept)]
        for place in layer:
            del left[place]
    return sorted(kept)


def _crowding(values: Sequence[tuple[float, ...]]) -> list[float]:
    """How close the others are, least first: the negated crowding distance."""
    distance = [0.0] * len(values)
    for axis in range(len(values[0])):
        order = sorted(range(len(values)), key=lambda at: values[at][axis])
        width = values[order[-1]][axis] - values[order[0]][axis] or 1.0
        distance[order[0]] = distance[order[-1]] = math.inf
        for before, at, after in zip(order, order[1:], order[2:], strict=False):
            distance[at] += (values[after][axis] - values[before][axis]) / width
    return [-each for each in distance]


def _handicapped(
    mine: Reached, rung: Mapping[int, Reached], reached: Mapping[int, Reached]
) -> Reached:
    """A setting that was left behind at a rung, beside the best of those that beat it there and went on."""
    ahead = [
        reached[place].values
        for place, other in rung.items()
        if place in reached
        and other.part > reached[place].part
        and all(a <= b for a, b in zip(other.values, mine.values, strict=True))
    ]
    if not ahead:
        return mine
    values = tuple(map(max, mine.values, min(ahead)))
    return replace(mine, values=values)
