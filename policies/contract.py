"""The contract between a policy and everything that asks it: what it sees, what it may answer.

A policy is a pure decision. It is asked when a stage has waiting requests, an idle replica and a
free slot; it answers :class:`Dispatch` or :class:`Hold`. It never reads a clock, sleeps, draws a
random number or touches an engine. The same object is asked under simulated and under wall time.

All times are ``int`` nanoseconds on the asker's clock.
"""

from __future__ import annotations

import functools
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass
from enum import Enum
from types import FunctionType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

if TYPE_CHECKING:
    from policies.place import Place
    from policies.queue_limits import QueueLimit

NEVER_NS = 2**63 - 1
"""A time that does not come; also the deadline of a request that has none."""

NO_SIZE = 2**62
"""The size of a hold that waits for time alone."""

State = MutableSequence[int]
"""What a policy remembers between decisions: integers, owned by whoever asks it."""

Answer = tuple[int, int, int]
"""A decision in scalars, as a rule returns it: (requests to send, or 0 to hold, or less than 0 to shed so
many; until_ns; size)."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """Send the first ``requests`` waiting requests to an idle replica, as one batch."""

    requests: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Ask again at ``until_ns``, or once ``size`` requests wait, whichever is first."""

    until_ns: int
    size: int = NO_SIZE


@dataclass(frozen=True, slots=True)
class Shed:
    """End the first ``requests`` waiting requests without an answer; the policy is asked again at once.

    Only from a policy that says that it ``sheds``.
    """

    requests: int


Decision = Dispatch | Hold | Shed


class Reads(Enum):
    """Parts of the view that cost something to keep; maintained only for a policy that reads them."""

    ESTIMATES = "estimates"
    """``arrival_rate_hz``, ``load`` and ``pipeline_load``; 0.0 where not read."""
    DEADLINES = "deadlines"
    """``earliest_deadline_ns``; ``NEVER_NS`` where not read."""
    NEXT_IDLE = "next_idle"
    """``next_idle_ns``; ``NEVER_NS`` where not read."""
    HEAD = "head"
    """``head_arrival_ns``, ``head_enqueued_ns`` and ``head_deadline_ns``; ``NEVER_NS`` where not read."""
    NEWEST = "newest"
    """``newest_enqueued_ns``; ``NEVER_NS`` where not read."""
    BATCH_OLDEST = "batch_oldest"
    """``batch_oldest_ns``; ``NEVER_NS`` where not read."""
    URGENT = "urgent"
    """``urgent``; 0 where not read."""


class View(NamedTuple):
    """What a policy sees of its stage, the same under every clock.

    ``service_ns[n]`` is the predicted service time of a batch of n requests of mean size, for n from
    0 to ``max_batch``.
    """

    waiting: int
    """Requests in the queue."""
    sendable: int
    """How many of them, from the head, fit in one batch: at most ``max_batch`` and ``max_items``."""
    waiting_items: int
    """Items in the queue (candidates to score); equal to ``waiting`` where requests have no size."""
    oldest_enqueued_ns: int
    """When the request that has waited longest entered this stage's queue."""
    earliest_deadline_ns: int
    """The earliest end-to-end deadline in the queue."""
    idle_replicas: int
    """Replicas that could start a batch now (idle, and a slot free on their device)."""
    replicas: int
    """Replicas that are up."""
    idle_since_ns: int
    """Since when there has been such a replica without a break."""
    next_idle_ns: int
    """When the next busy replica is expected to finish, by prediction."""
    last_dispatch_ns: int
    """When this stage last sent a batch, or let one go on unserved; -1 before the first."""
    max_batch: int
    """The stage's cap on requests in a batch."""
    arrival_rate_hz: float
    """Requests a second entering this stage, estimated."""
    load: float
    """Utilisation of this stage's replicas, estimated, 0 to 1."""
    pipeline_load: float
    """The highest ``load`` of all stages."""
    service_ns: Sequence[int]
    """Predicted service time by batch size."""
    head_arrival_ns: int
    """When the request at the head of the queue, the next to be sent, reached the pipeline."""
    head_enqueued_ns: int
    """When it entered this stage's queue."""
    head_deadline_ns: int
    """Its end-to-end deadline."""
    newest_enqueued_ns: int
    """When the request that has waited shortest entered this stage's queue."""
    downstream_ns: Sequence[int]
    """By batch size: predicted service times of the stages after this one, summed along their longest
    path, for batches of that size or of a stage's own ``max_batch`` where that is less.
    """
    batch_oldest_ns: int
    """When the one that has waited longest of the first ``sendable`` requests entered this stage's queue."""
    urgent: int
    """Requests in the queue of priority level 0, where it is served by priority; else all of them."""


class Policy(ABC):
    """One way to decide when a batch goes. Subclasses are frozen dataclasses whose fields are knobs.

    ``kind`` is the name in YAML. ``reads`` names the costly parts of the view that the policy uses;
    a policy that does not say gets them all.
    """

    kind: ClassVar[str]
    reads: ClassVar[frozenset[Reads]] = frozenset(Reads)

    @abstractmethod
    def decide(self, view: View, now_ns: int, state: State) -> Decision:
        """The decision at ``now_ns``. May be asked twice for one state, so it changes ``state``
        only when it dispatches.
        """

    def initial_state(self) -> list[int]:
        """What the policy remembers at the start of a run, one list per stage."""
        return []

    @property
    def sheds(self) -> bool:
        """Whether it may ever answer :class:`Shed`."""
        return False

    @property
    def limits(self) -> tuple[QueueLimit, ...]:
        """What befalls requests of the priority levels 0, 1, ... in the queue without its being asked; the
        last is for all levels beyond. None for nothing.
        """
        return ()

    def urgency(self, view: View, now_ns: int, state: State) -> int:  # noqa: ARG002
        """Among stages that share a device and could all start a batch, the one with the lowest is asked
        first. Changes nothing. A policy that does not define it leaves the turn to the stage downstream.
        """
        return 0

    @property
    def tick_ns(self) -> int:
        """How often :meth:`on_tick` is called; 0 for never."""
        return 0

    def on_tick(self, view: View, now_ns: int, state: State) -> None:
        """Called every ``tick_ns``; may change ``state``. The stage is asked again afterwards."""

    def observe(
        self, view: View, now_ns: int, state: State, requests: int, service_ns: int
    ) -> None:
        """Called when a batch of ``requests`` has finished after ``service_ns``; may change ``state``."""

    def check(self, max_batch: int) -> None:
        """Raise ValueError, naming the knob, where the knobs do not fit a stage of ``max_batch``."""

    def planned(self, place: Place) -> Policy:  # noqa: ARG002
        """The policy fitted to its place in the pipeline, before a run: itself, or one with knobs filled
        in. Called once, where the pipeline is built. Raises ValueError where it cannot work there.
        """
        return self


class RulePolicy(Policy):
    """A policy whose decision is a static scalar function, so that an engine may compile it.

    ``rule(view, now_ns, state, ...)`` returns an :data:`Answer`. ``tick_rule(view, now_ns, state, ...)``,
    ``observe_rule(view, now_ns, state, requests, service_ns, ...)`` and ``urgency_rule(view, now_ns, state,
    ...)``, where there are any, are :meth:`on_tick`, :meth:`observe` and :meth:`urgency`. All use arithmetic
    on numbers that fit 64 bits, and may call functions of modules that do the same. Their further
    parameters are knobs: fields or properties of the same names, of type int, float, bool or
    tuple[int, ...].
    """

    rule: ClassVar[Callable[..., Answer]]
    tick_rule: ClassVar[Callable[..., None] | None] = None
    observe_rule: ClassVar[Callable[..., None] | None] = None
    urgency_rule: ClassVar[Callable[..., int] | None] = None

    def decide(self, view: View, now_ns: int, state: State) -> Decision:
        """The rule's answer as a value."""
        requests, until_ns, size = self.rule(view, now_ns, state, **knob_values(self, self.rule))
        return decision_of(requests, until_ns, size)

    def on_tick(self, view: View, now_ns: int, state: State) -> None:
        """As ``tick_rule`` says."""
        if self.tick_rule is not None:
            self.tick_rule(view, now_ns, state, **knob_values(self, self.tick_rule))

    def observe(
        self, view: View, now_ns: int, state: State, requests: int, service_ns: int
    ) -> None:
        """As ``observe_rule`` says."""
        rule = self.observe_rule
        if rule is not None:
            rule(view, now_ns, state, requests, service_ns, **knob_values(self, rule))

    def urgency(self, view: View, now_ns: int, state: State) -> int:
        """As ``urgency_rule`` says."""
        if self.urgency_rule is None:
            return 0
        return self.urgency_rule(view, now_ns, state, **knob_values(self, self.urgency_rule))

    @classmethod
    def decides_by_rules(cls) -> bool:
        """Whether the rules are all that there is to it: no method of this class is overridden."""
        methods = ("decide", "on_tick", "observe", "urgency")
        return all(getattr(cls, name) is getattr(RulePolicy, name) for name in methods)


def decision_of(requests: int, until_ns: int, size: int) -> Decision:
    """An :data:`Answer` as a value."""
    if requests > 0:
        return Dispatch(requests)
    return Hold(until_ns, size) if requests == 0 else Shed(-requests)


def observes(policy: Policy) -> bool:
    """Whether a policy wants to be told of finished batches."""
    if isinstance(policy, RulePolicy) and type(policy).observe is RulePolicy.observe:
        return policy.observe_rule is not None
    return type(policy).observe is not Policy.observe


def has_urgency(policy: Policy) -> bool:
    """Whether a policy has a say in which of the stages that share a device is asked first."""
    if isinstance(policy, RulePolicy) and type(policy).urgency is RulePolicy.urgency:
        return policy.urgency_rule is not None
    return type(policy).urgency is not Policy.urgency


@functools.cache
def knob_parameters(rule: Callable[..., object]) -> tuple[str, ...]:
    """Names of the knobs that a rule takes, in its order."""
    given = {"view", "now_ns", "state", "requests", "service_ns", "deadline_ns", "levels"}
    return tuple(name for name in inspect.signature(rule).parameters if name not in given)


def knob_values(policy: object, rule: Callable[..., object]) -> dict[str, Any]:
    """The policy's values of the knobs that one of its static functions takes, by name."""
    return {name: getattr(policy, name) for name in knob_parameters(rule)}


def asker(policy: Policy) -> Callable[[View, int, State], Answer]:
    """The policy as a function from view, time and state to scalars: the form that engines ask."""
    if isinstance(policy, RulePolicy):
        return with_knobs(policy, policy.rule)

    def ask(view: View, now_ns: int, state: State) -> Answer:
        decision = policy.decide(view, now_ns, state)
        if isinstance(decision, Dispatch):
            return decision.requests, 0, 0
        if isinstance(decision, Shed):
            return -decision.requests, 0, 0
        return 0, decision.until_ns, decision.size

    return ask


def with_knobs(owner: object, rule: Callable[..., Any]) -> Callable[..., Any]:
    """A static rule with its owner's knobs filled in. A copy with the knobs as defaults costs nothing a
    call.
    """
    knobs = knob_values(owner, rule)
    if isinstance(rule, FunctionType) and not rule.__kwdefaults__:
        return FunctionType(
            rule.__code__, rule.__globals__, rule.__name__, tuple(knobs.values()), rule.__closure__
        )
    return functools.partial(rule, **knobs)
