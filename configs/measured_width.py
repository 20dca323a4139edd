"""At how many candidates a stage was measured, and what each of them takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeasuredWidth:
    """The width at which times were measured, and what of them grows with it.

    Each candidate of each request adds the same; what a batch takes before its first request is paid once,
    whatever comes in: a stage that scores its candidates alike.
    """

    candidates: int
    """That came in with each request."""
    per_candidate_ns: float | None = None
    """Time that each of them added, 0 or more; None where it was not measured."""

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"candidates must be 1 or more, not {self.candidates}")
        if self.per_candidate_ns is not None and not self.per_candidate_ns >= 0:
            raise ValueError(f"per_candidate_ns must be 0 or more, not {self.per_candidate_ns:g}")

    def added_ns(self, candidates: int) -> float:
        """What a request takes more where so many candidates come in: below 0 for fewer than were measured,
        and 0 where it is not known.
        """
        return (self.per_candidate_ns or 0.0) * (candidates - self.candidates)
