"""How many items (candidates to score) a request carries."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from numpy.random import Generator

from policies.runlog import Int64

MAX_ITEMS = 1_000_000_000


class Items(ABC):
    """One way in which sizes vary. Subclasses are frozen dataclasses whose fields are knobs."""

    kind: ClassVar[str]

    @abstractmethod
    def draw(self, rng: Generator, count: int) -> Int64:
        """Sizes of ``count`` requests in order of arrival, each at least 1."""

    @abstractmethod
    def mean_items(self) -> float:
        """Items of a request in the long run."""
