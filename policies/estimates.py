"""Arrival rate and load of each stage, estimated over windows: one definition for every driver."""

from __future__ import annotations

from collections.abc import Sequence

_NS_PER_S = 1e9


class Estimates:
    """Moving averages over windows of fixed length.

    At the end of a window of w seconds, with a entries into the stage, b replica-seconds of batches
    that ran in it and R replicas: rate = a / w and load = b / (w R) are blended into the averages with
    the newest window's weight; the first window counts whole.
    """

    __slots__ = (
        "_busy_ns",
        "_entered",
        "_first",
        "_weight",
        "ends_ns",
        "load",
        "rate_hz",
        "window_ns",
    )

    def __init__(self, stages: int, window_ns: int, weight: float) -> None:
        self.window_ns = window_ns
        self.ends_ns = window_ns
        """When the present window ends."""
        self.rate_hz = [0.0] * stages
        self.load = [0.0] * stages
        self._entered = [0] * stages
        self._busy_ns = [0] * stages
        self._weight = weight
        self._first = True

    @property
    def starts_ns(self) -> int:
        """When the present window began."""
        return self.ends_ns - self.window_ns

    def entered(self, stage: int, requests: int) -> None:
        """Requests entered a stage's queue."""
        self._entered[stage] += requests

    def ran(self, stage: int, from_ns: int, to_ns: int) -> None:
        """A batch ran until ``to_ns``, in the present window; its part before counted already."""
        self._busy_ns[stage] += to_ns - max(from_ns, self.starts_ns)

    def close_window(self, replicas: Sequence[int]) -> None:
        """Blend the window that ends now, given the replicas that are up, and begin the next."""
        weight = 1.0 if self._first else self._weight
        self._first = False
        for stage, up in enumerate(replicas):
            rate_hz = self._entered[stage] * (_NS_PER_S / self.window_ns)
            load = self._busy_ns[stage] / (self.window_ns * up) if up else 0.0
            self.rate_hz[stage] += weight * (rate_hz - self.rate_hz[stage])
            self.load[stage] += weight * (load - self.load[stage])
            self._entered[stage] = 0
            self._busy_ns[stage] = 0
        self.ends_ns += self.window_ns
