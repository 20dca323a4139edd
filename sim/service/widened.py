"""A model that does more, or less, for every request than it was measured with."""

from __future__ import annotations

from dataclasses import dataclass
from math import floor

from numpy.random import Generator

from sim.service.base import Float64, ScaledModel, ServiceModel
from sim.service.forms import Form, PaddedForm


def widened(model: ServiceModel, factor: float) -> ServiceModel:
    """The model with ``factor`` times the candidates for each request: a batch takes the time of so many
    times its requests and its items. What a batch costs before its first request is paid once, as it is.
    """
    if isinstance(model, ScaledModel):
        return WidenedMean(model, factor)
    return WidenedTimes(model, factor)


@dataclass(frozen=True, slots=True)
class WidenedMean(ScaledModel):
    """Where noise multiplies a mean: the mean between those of the whole numbers of requests about."""

    model: ScaledModel
    factor: float

    @property
    def per_item(self) -> float:
        """So many times as much."""
        return self.model.per_item * self.factor

    @property
    def noisy(self) -> bool:
        """As the model is."""
        return self.model.noisy

    def expected_ns(self, requests: int, items: int) -> float:
        """The model's, of the wider batch."""
        below = floor(requests * self.factor)
        beyond = requests * self.factor - below
        mean_ns = self.model.expected_ns(below, 0)
        if beyond:
            mean_ns += beyond * (self.model.expected_ns(below + 1, 0) - mean_ns)
        return mean_ns + self.per_item * items

    def draw(self, rng: Generator, count: int) -> Float64:
        """The model's."""
        return self.model.draw(rng, count)


@dataclass(frozen=True, slots=True)
class WidenedTimes(ServiceModel):
    """Where times were measured by size: those of the nearest whole number of requests, at least one."""

    model: ServiceModel
    factor: float

    def _wide(self, requests: int, items: int) -> tuple[int, int]:
        if not requests:
            return 0, items
        size = max(1, round(requests * self.factor))
        return size, items * size // requests

    def expected_ns(self, requests: int, items: int) -> float:
        """The model's, of the wider batch."""
        return self.model.expected_ns(*self._wide(requests, items))

    def draw(self, rng: Generator, count: int) -> Float64:
        """The model's."""
        return self.model.draw(rng, count)

    def time_ns(self, noise: float, requests: int, items: int) -> int:
        """The model's, of the wider batch."""
        return self.model.time_ns(noise, *self._wide(requests, items))

    @property
    def paced(self) -> bool:
        """As the model is."""
        return self.model.paced

    def pace(self, rested_ns: int) -> float:
        """The model's."""
        return self.model.pace(rested_ns)

    def form(self, largest: int) -> Form | None:
        """The model's, and the size that stands for each."""
        sizes = tuple(self._wide(size, 0)[0] for size in range(largest + 1))
        form = self.model.form(max(sizes))
        if form is None or isinstance(form, PaddedForm):
            return None
        return PaddedForm(form, sizes)
