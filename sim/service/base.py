"""What a service model is: noise drawn once a batch, and the time of a batch under its noise."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Self

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

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

    @property
    def paced(self) -> bool:
        """Whether :meth:`pace` is other than 1."""
        return False

    def pace(self, rested_ns: int) -> float:  # noqa: ARG002
        """Factor of a batch's time by how long its replica has been idle since the one before (-1 for
        its first): caches cool, and others use them.
        """
        return 1.0

    def for_stage(self, stage: str) -> Self:  # noqa: ARG002
        """The model as the stage of that name uses it."""
        return self


def lognormal_noise(rng: Generator, count: int, cv: float) -> Float64:
    """Lognormal numbers of mean 1; all 1, and nothing drawn, for a cv of 0."""
    if cv == 0:
        return np.ones(count)
    variance = math.log1p(cv**2)
    return np.exp(math.sqrt(variance) * rng.standard_normal(count) - variance / 2)
