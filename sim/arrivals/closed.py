"""Clients that wait for their answer before they ask again."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.random import Generator

from policies.knobs import knob
from policies.runlog import Int64
from sim.arrivals.base import NS_PER_S, check_factor


@dataclass(frozen=True, slots=True)
class Closed:
    """A closed loop: each client thinks, sends one request, waits for its answer, thinks again.

    No arrival process: when a request is sent depends on the answers. It belongs to the same family in
    a configuration, and makes a ClosedWorkload.
    """

    kind: ClassVar[str] = "closed"

    clients: int = knob("how many there are", ge=1, le=1_000_000)
    think_ns: int = knob("mean time between an answer and the next request", ge=0)
    distribution: Literal["exponential", "constant"] = knob(
        "how think times vary", default="exponential"
    )

    def check_end(self, requests: int | None, duration_ns: int | None) -> None:  # noqa: ARG002
        """Raise ValueError without ``requests``: a loop ends once so many have been sent."""
        self.counted(requests)

    def counted(self, requests: int | None) -> int:
        """``requests`` itself; raises ValueError where it is not given."""
        if requests is None:
            raise ValueError(
                "closed arrivals need `requests`: how many are sent decides when it ends"
            )
        return requests

    def think_times_ns(self, rng: Generator, requests: int) -> Int64:
        """One think time for each request, in the order in which they are sent."""
        if self.distribution == "constant":
            return np.full(requests, self.think_ns, np.int64)
        return np.rint(rng.standard_exponential(requests) * self.think_ns).astype(np.int64)

    def mean_rate_hz(self) -> float:
        """Requests a second if answers took no time: the most that these clients can send."""
        return self.clients * NS_PER_S / self.think_ns if self.think_ns else float("inf")

    def scaled(self, factor: float) -> Self:
        """The same clients thinking ``factor`` times faster."""
        think_ns = round(self.think_ns / check_factor(factor))
        return dataclasses.replace(self, think_ns=think_ns)
