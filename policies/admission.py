"""Admission: whether a request may enter a stage's queue at all.

Shedding early costs less than shedding late (Welsh, Culler: "Adaptive overload control for busy Internet
servers", USITS 2003). An admission is asked once for each request that comes, after expiry and the queue
bound, while the events of the instant are applied: arrivals before hand-overs, in their order.
"""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from typing import ClassVar

from policies.contract import Reads, State, View, with_knobs

Admits = Callable[[View, int, State, int], bool]


class Admission(ABC):
    """One way to admit requests. Subclasses are frozen dataclasses whose fields are knobs.

    ``rule(view, now_ns, state, deadline_ns, ...)`` is static and says whether a request that is due at
    ``deadline_ns`` (``NEVER_NS`` for never) enters; ``view`` is the stage without it. It may change
    ``state``. Its further parameters are knobs, as those of a :class:`~policies.contract.RulePolicy`.
    """

    kind: ClassVar[str]
    reads: ClassVar[frozenset[Reads]] = frozenset(Reads)
    rule: ClassVar[Callable[..., bool]]

    def initial_state(self) -> list[int]:
        """What it remembers at the start of a run, one list per stage."""
        return []


def admits(admission: Admission) -> Admits:
    """The admission as a function of view, time, state and the request's deadline."""
    return with_knobs(admission, admission.rule)
