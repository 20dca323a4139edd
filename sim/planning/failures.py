"""What becomes of the latency when one replica is lost and not replaced."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sim.planning.options import with_choice
from sim.planning.problem import Candidate, Planned
from sim.planning.verify import Reached, Verifier


@dataclass(frozen=True, slots=True)
class Loss:
    """One pool with one replica less, in steady state."""

    pool: str
    stages: tuple[str, ...]
    left: int
    reached: Reached | None
    """None where none is left; without an interval where those left are overloaded."""


def losses(planned: Planned, verifier: Verifier, candidate: Candidate) -> tuple[Loss, ...]:
    """A loss at each pool, the others as planned."""
    found = []
    for place, (pool, choice) in enumerate(zip(planned.pools, candidate.allocation, strict=True)):
        left = choice.count - 1
        reached = None
        if left:
            fewer = with_choice(candidate.allocation, place, replace(choice, count=left))
            reached = verifier.planned(replace(candidate, allocation=fewer))
        found.append(Loss(pool.name, pool.stages, left, reached))
    return tuple(found)
