"""Whom or what a request is about: a key, by which identical or related requests are recognised."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from numpy.random import Generator

from policies.runlog import Int64

MOST_KEYS = 100_000_000


class Keys(ABC):
    """One way in which keys repeat. Subclasses are frozen dataclasses whose fields are knobs."""

    kind: ClassVar[str]

    @abstractmethod
    def draw(self, rng: Generator, count: int) -> Int64:
        """Keys of ``count`` requests in order of arrival: integers, of which only equality counts."""
