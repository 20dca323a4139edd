"""How a measured time grows with the candidates that come in with a request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MeasuredWidth:
    """The width at which times were measured, and what of them grows with it.

    A share of the time is in proportion to the candidates, the rest is paid whatever comes in: the law of
    the work in a stage that scores each of its candidates alike.
    """

    candidates: int
    """That came in with each request."""
    share: float | None = None
    """Of the time, 0 to 1; None where it was not measured."""

    def __post_init__(self) -> None:
        if self.candidates < 1:
            raise ValueError(f"candidates must be 1 or more, not {self.candidates}")
        if self.share is not None and not 0 <= self.share <= 1:
            raise ValueError(f"share must be 0 to 1, not {self.share:g}")

    def factor(self, candidates: int) -> float:
        """What times are multiplied by where so many come in: 1 - share + share * candidates / measured; 1
        where no share is known.
        """
        share = self.share or 0.0
        if candidates == self.candidates:
            return 1.0  # not the nearest float
        return (1 - share) + share * candidates / self.candidates


def share_of(ratio: float, candidates: int, narrow: int) -> float:
    """The share that makes times at ``narrow`` candidates ``ratio`` of those at ``candidates``, 0 to 1:
    (1 - ratio) / (1 - narrow / candidates), within its bounds.
    """
    return min(max((1 - ratio) / (1 - narrow / candidates), 0.0), 1.0)
