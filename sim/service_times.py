"""How long each batch takes: service models with their noise drawn by batch number, or a replay."""

from __future__ import annotations

from array import array
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.random import Generator

from policies.runlog import Int64
from sim.service.base import Float64, ServiceModel
from sim.service.forms import Form, Given

_BLOCK = 1024


class ServiceTimes(Protocol):
    """Service time of a stage's batch, by its number within the stage."""

    paced: bool
    """Whether it matters how long the replica has rested."""

    def time_ns(self, batch: int, requests: int, items: int, rested_ns: int) -> int:
        """Nanoseconds for batch number ``batch`` of so many requests and items, on a replica that has
        been idle for so long since its last (-1 if there was none).
        """
        ...


@runtime_checkable
class Repeated(ServiceTimes, Protocol):
    """Service times that may differ between the first and the second time that a batch is sent."""

    again: ServiceTimes | None
    """Those of the second time; None where they are the same."""


@runtime_checkable
class Tabulated(ServiceTimes, Protocol):
    """Service times that the compiled driver may take, as tables and numbers drawn ahead."""

    def form(self, largest: int) -> Form | None:
        """How a time follows from a batch's number, requests (up to ``largest``) and items."""
        ...

    def draws(self, count: int) -> Float64:
        """The noise of the first ``count`` batches."""
        ...


class ModelTimes:
    """A service model and its noise stream. The noise belongs to the batch's number, so that every
    driver, and every candidate of a sweep, draws the same value for the same batch. A batch that is sent
    once more meets the same noise, unless ``again`` has other.
    """

    __slots__ = ("_model_ns", "_noise", "_rng", "again", "model", "paced")

    def __init__(
        self, model: ServiceModel, rng: Generator, again: ServiceTimes | None = None
    ) -> None:
        self.model = model
        self.again = again
        self.paced = model.paced
        self._model_ns = model.time_ns
        self._rng = rng
        self._noise = array("d")

    def time_ns(self, batch: int, requests: int, items: int, rested_ns: int) -> int:
        """The model's time with this batch's noise, at the pace after such a rest."""
        noise = self._noise
        while batch >= len(noise):
            noise.frombytes(self._model_noise())
        time_ns = self._model_ns(noise[batch], requests, items)
        return round(time_ns * self.model.pace(rested_ns)) if self.paced else time_ns

    def form(self, largest: int) -> Form | None:
        """The model's."""
        return self.model.form(largest)

    def draws(self, count: int) -> Float64:
        """The first so many, drawn if they were not yet."""
        missing = count - len(self._noise)
        if missing > 0:
            self._noise.frombytes(self.model.draw(self._rng, missing).tobytes())
        return np.frombuffer(self._noise, np.float64)[:count].copy()

    def _model_noise(self) -> bytes:
        return self.model.draw(self._rng, _BLOCK).tobytes()


class ReplayTimes:
    """The very times that a run measured, by batch number.

    A replay that forms more batches than the run did begins the record again from the start; one that
    sends a batch again that the run did not meets the first time once more.
    """

    __slots__ = ("_times_ns", "again")

    paced = False

    def __init__(self, times_ns: Int64, again: ServiceTimes | None = None) -> None:
        if not len(times_ns):
            raise ValueError("a replay needs at least one measured batch")
        self._times_ns = times_ns.tolist()
        self.again = again

    def time_ns(
        self,
        batch: int,
        requests: int,  # noqa: ARG002
        items: int,  # noqa: ARG002
        rested_ns: int,  # noqa: ARG002
    ) -> int:
        """The measured time of the batch with this number, whatever its size is now."""
        return int(self._times_ns[batch % len(self._times_ns)])

    def form(self, largest: int) -> Form:  # noqa: ARG002
        """The times as they are."""
        return Given()

    def draws(self, count: int) -> Float64:
        """The measured times, over and over."""
        return np.resize(np.array(self._times_ns, np.float64), count)
