"""What a service model is: noise drawn once a batch, and the time of a batch under its noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

if TYPE_CHECKING:
    from sim.service.forms import Form

Float64 = NDArray[np.float64]

_SAMPLE = 2000
"""Batches that a coefficient of variation is taken from."""
LONGEST_NS = 86_400_000_000_000
"""A day: no batch is meant to take longer."""


class ServiceModel(ABC):
    """How long a stage takes for a batch. Subclasses are frozen dataclasses whose fields are knobs.

    The noise of a batch is one dimensionless number, drawn for batch number k of a stage however big
    the batch turns out to be: two settings of one seed then meet the same luck, batch by batch.
    """

    kind: ClassVar[str]

    @abstractmethod
    def expected_ns(self, requests: int, items: int) -> float:
        """Mean time of a batch of so many requests with so many items in all."""

    @abstractmethod
    def draw(self, rng: Generator, count: int) -> Float64:
        """The noise of the next ``count`` batches. Drawing a, then b gives the same as a + b at once.

        ``rng`` must come from ``sim.streams.stream`` and serve this model alone.
        """

    @abstractmethod
    def time_ns(self, noise: float, requests: int, items: int) -> int:
        """Time of a batch under its noise, 0 or more."""

    def cv_of(self, requests: int, items: int) -> float:
        """Coefficient of variation of the time of such batches, from a sample that is always the same."""
        noise = self.draw(np.random.default_rng(0), _SAMPLE)
        times_ns = [self.time_ns(each, requests, items) for each in noise.tolist()]
        mean_ns = float(np.mean(times_ns))
        return float(np.std(times_ns)) / mean_ns if mean_ns > 0 else 0.0

    @property
    def paced(self) -> bool:
        """Whether :meth:`pace` is other than 1."""
        return False

    def pace(self, rested_ns: int) -> float:  # noqa: ARG002
        """Factor of a batch's time by how long its replica has been idle since the one before (-1 for
        its first): caches cool, and others use them.
        """
        return 1.0

    def form(self, largest: int) -> Form | None:  # noqa: ARG002
        """:meth:`time_ns` as tables, for batches of up to ``largest`` requests; None where it has no
        such form.
        """
        return None

    def for_stage(self, stage: str) -> Self:  # noqa: ARG002
        """The model as the stage of that name uses it."""
        return self

    @property
    def counts(self) -> str:
        """The knob that says what each candidate takes that comes in with a request; empty for none."""
        return ""

    @property
    def follows_candidates(self) -> bool:
        """Whether times hang on how many candidates come in."""
        return bool(self.counts)

    def with_candidates(self, candidates: int) -> ServiceModel:  # noqa: ARG002
        """The model where so many candidates come in with each request."""
        return self


class ScaledModel(ServiceModel):
    """A model whose noise multiplies the mean, which may grow with the requests in any way and with the
    items in proportion.
    """

    @property
    def per_item(self) -> float:
        """Nanoseconds that each item adds."""
        return 0.0

    @property
    def noisy(self) -> bool:
        """Whether the noise is ever other than 1."""
        return True

    def time_ns(self, noise: float, requests: int, items: int) -> int:
        """The mean times the noise, to the nearest nanosecond."""
        return int(self.expected_ns(requests, items) * noise + 0.5)

    def form(self, largest: int) -> Form:
        """The mean by size."""
        from sim.service.forms import ByMean

        means = np.array([self.expected_ns(size, 0) for size in range(largest + 1)], np.float64)
        return ByMean(means, self.per_item, self.noisy)


def lognormal_noise(rng: Generator, count: int, cv: float) -> Float64:
    """Lognormal numbers of mean 1; all 1, and nothing drawn, for a cv of 0."""
    if cv == 0:
        return np.ones(count)
    variance = math.log1p(cv**2)
    return np.exp(math.sqrt(variance) * rng.standard_normal(count) - variance / 2)
