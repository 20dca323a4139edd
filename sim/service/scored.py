"""Times by batch size and score: distributions of some sizes, and what lies between and beyond them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sim.service.forms import ByScore
from sim.service.scores import PER_SCORE, REACH, times_by_score


@dataclass(frozen=True, slots=True)
class Scored:
    """Times in nanoseconds by size and score (see ``sim.service.scores``).

    Between two sizes the time at each score is linear in the size, and the mean with it. Below the
    smallest size times are those of the smallest. Beyond the largest they are its times scaled, by a mean
    that goes on as between the last two sizes (never downwards).
    """

    sizes: tuple[int, ...]
    """Ascending."""
    means: tuple[float, ...]
    times: tuple[tuple[float, ...], ...]
    """For each size the times by score."""
    growth: float
    """What each unit of size beyond the largest adds, as a part of the time there."""

    @staticmethod
    def of(means: Mapping[int, float], percentiles: Mapping[int, Mapping[int, float]]) -> Scored:
        """From the mean and the percentiles of each size. Raises ValueError, with the size, where they
        do not go together.
        """
        sizes = sorted(means)
        growth = 0.0
        if len(sizes) > 1:
            rise = (means[sizes[-1]] - means[sizes[-2]]) / (sizes[-1] - sizes[-2])
            growth = max(0.0, rise) / means[sizes[-1]]
        times = []
        for size in sizes:
            try:
                times.append(tuple(times_by_score(means[size], percentiles[size]).tolist()))
            except ValueError as error:
                raise ValueError(f"batch size {size}: {error}") from error
        return Scored(tuple(sizes), tuple(means[size] for size in sizes), tuple(times), growth)

    def expected_ns(self, size: int) -> float:
        """Mean time: what :meth:`time_ns` averages to over standard normal scores."""
        low, weight, scale = self._place(size)
        mean = self.means[low]
        if weight:
            mean += weight * (self.means[low + 1] - mean)
        return mean * scale

    def time_ns(self, score: float, size: int) -> int:
        """Time of a batch of this size that is so far out among its kind."""
        low, weight, scale = self._place(size)
        time = _at(self.times[low], score)
        if weight:
            time += weight * (_at(self.times[low + 1], score) - time)
        return int(time * scale + 0.5)

    def form(self, *, by_items: bool) -> ByScore:
        """Its tables, as the compiled driver takes them."""
        return ByScore(self.sizes, self.times, self.growth, -REACH, PER_SCORE, by_items)

    def _place(self, size: int) -> tuple[int, float, float]:
        """The size below (or the smallest), how far it is from there to the next, and the factor that
        applies beyond the largest.
        """
        sizes = self.sizes
        low = bisect_right(sizes, size) - 1
        if low < 0:
            return 0, 0.0, 1.0
        if low == len(sizes) - 1:
            return low, 0.0, 1.0 + self.growth * (size - sizes[low])
        return low, (size - sizes[low]) / (sizes[low + 1] - sizes[low]), 1.0


def _at(times: Sequence[float], score: float) -> float:
    """The time at a score, linear between the points of the table."""
    place = (score + REACH) * PER_SCORE
    if place <= 0:
        return times[0]
    below = int(place)
    if below >= len(times) - 1:
        return times[-1]
    return times[below] + (place - below) * (times[below + 1] - times[below])
