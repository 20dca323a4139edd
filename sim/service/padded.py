"""Batches that are padded up to a size that the model runs."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from numpy.random import Generator

from sim.service.base import Float64, ServiceModel
from sim.service.forms import Form, PaddedForm


@dataclass(frozen=True, slots=True)
class Padded(ServiceModel):
    """A model that runs batches of certain sizes only: a batch takes the time of the next of ``sizes``,
    and of so many more items in proportion, rounded down. A batch beyond the last is not padded.

    As TensorFlow Serving's ``allowed_batch_sizes``, CUDA graphs and compiled shapes have it.
    """

    model: ServiceModel
    sizes: tuple[int, ...]
    """Ascending."""

    def padded(self, requests: int) -> int:
        """The size that a batch of so many is padded to."""
        at = bisect_left(self.sizes, requests)
        return self.sizes[at] if requests and at < len(self.sizes) else requests

    def _filled(self, requests: int, items: int) -> tuple[int, int]:
        size = self.padded(requests)
        return size, items * size // requests if requests else items

    def expected_ns(self, requests: int, items: int) -> float:
        """The model's, of the padded batch."""
        return self.model.expected_ns(*self._filled(requests, items))

    def draw(self, rng: Generator, count: int) -> Float64:
        """The model's."""
        return self.model.draw(rng, count)

    def time_ns(self, noise: float, requests: int, items: int) -> int:
        """The model's, of the padded batch."""
        return self.model.time_ns(noise, *self._filled(requests, items))

    @property
    def paced(self) -> bool:
        """As the model is."""
        return self.model.paced

    def pace(self, rested_ns: int) -> float:
        """The model's."""
        return self.model.pace(rested_ns)

    def form(self, largest: int) -> Form | None:
        """The model's, up to the largest size, and what each size is padded to."""
        form = self.model.form(max(largest, *self.sizes))
        if form is None or isinstance(form, PaddedForm):
            return None
        return PaddedForm(form, tuple(map(self.padded, range(largest + 1))))
