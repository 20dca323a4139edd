"""How long each batch takes: service models with their noise drawn by batch number, or a replay."""

from __future__ import annotations

from array import array
from typing import Protocol

from numpy.random import Generator

from policies.runlog import Int64
from sim.service.base import ServiceModel

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


class ModelTimes:
    """A service model and its noise stream. The noise belongs to the batch's number, so that every
    driver, and every candidate of a sweep, draws the same value for the same batch.
    """

    __slots__ = ("_model_ns", "_noise", "_rng", "model", "paced")

    def __init__(self, model: ServiceModel, rng: Generator) -> None:
        self.model = model
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

    def _model_noise(self) -> bytes:
        return self.model.draw(self._rng, _BLOCK).tobytes()


class ReplayTimes:
    """The very times that a run measured, by batch number.

    A replay that forms more batches than the run did begins the record again from the start.
    """

    __slots__ = ("_times_ns",)

    paced = False

    def __init__(self, times_ns: Int64) -> None:
        if not len(times_ns):
            raise ValueError("a replay needs at least one measured batch")
        self._times_ns = times_ns.tolist()

    def time_ns(
        self,
        batch: int,
        requests: int,  # noqa: ARG002
        items: int,  # noqa: ARG002
        rested_ns: int,  # noqa: ARG002
    ) -> int:
        """The measured time of the batch with this number, whatever its size is now."""
        return int(self._times_ns[batch % len(self._times_ns)])
