"""What a policy holds a batch for, in the terms that servers have: how long, from when, for which sizes.

Every server's batching comes down to these three. A policy is translated to them once, with what is lost
told in words; a server then says as much of them as it can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from configs.units import format_duration
from policies.bentoml import BentoMl
from policies.cadence import Cadence
from policies.clipper import Clipper
from policies.clockwork import Clockwork
from policies.contract import NO_SIZE, Policy
from policies.control_limit import ControlLimit
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.litserve import LitServe
from policies.load_adaptive import LoadAdaptive
from policies.mosec import Mosec
from policies.nexus import Nexus
from policies.ray_serve import RayServe
from policies.symphony import Symphony
from policies.tf_serving import TfServing
from policies.torchserve import TorchServe
from policies.triton import Triton
from policies.weighed import LONGEST_HOLD_NS

MOST_SIZES = 64
"""Longest list of sizes that a hold for a size is written out as."""


_NOT_DROPPED = "requests that cannot be in time are not dropped"


class Since(Enum):
    """When a wait begins."""

    ENTRY = "the oldest request's entry into the queue"
    TAKEN = "the moment a free worker takes the first request"
    WINDOW = "the moment a free worker begins to collect"


@dataclass(frozen=True, slots=True)
class Batching:
    """When a batch goes: at once where it has one of ``sizes`` (a full one, where there are none), else
    ``wait_ns`` after ``since``.
    """

    wait_ns: int = 0
    since: Since = Since.ENTRY
    sizes: tuple[int, ...] = ()
    cap: int | None = None
    """Most requests that it sends, where that is less than the stage's max_batch."""
    timeout_ns: int = 0
    """Time in the queue beyond which a request is rejected; 0 for none."""
    levels: bool = False
    """Whether queues of its levels have times and sizes of their own, or put requests off."""
    lost: tuple[str, ...] = ()
    """What of the policy these do not say."""


@dataclass(frozen=True, slots=True)
class Ability:
    """How much of a :class:`Batching` a server can say."""

    server: str
    since: Since
    unit_ns: int
    """Its waits are whole multiples of this."""
    sizes: bool = False
    timeout: bool = False


def fitted(batching: Batching, ability: Ability) -> tuple[int, list[str]]:
    """The wait as the server can say it, in nanoseconds, and what is lost. No wait becomes none."""
    lost = list(batching.lost)
    wait_ns = round(batching.wait_ns / ability.unit_ns) * ability.unit_ns
    if batching.wait_ns and not wait_ns:
        wait_ns = ability.unit_ns
    if wait_ns != batching.wait_ns:
        lost.append(
            f"{format_duration(batching.wait_ns)} is written as {format_duration(wait_ns)}:"
            f" {ability.server} counts in units of {format_duration(ability.unit_ns)}"
        )
    if wait_ns and batching.since is not ability.since:
        lost.append(
            f"the wait counts from {ability.since.value} there, and from {batching.since.value} here"
        )
    if wait_ns and batching.sizes and not ability.sizes:
        lost.append(
            f"only a full batch goes at once there; here one of {_listed(batching.sizes)} does"
        )
    if batching.timeout_ns and not ability.timeout:
        timeout = format_duration(batching.timeout_ns)
        lost.append(f"a request that has waited for more than {timeout} is not rejected there")
    if batching.levels and not ability.timeout:
        lost.append("levels have no queues with times and sizes of their own there")
    return wait_ns, lost


def _of_low_priority(policy: TfServing) -> tuple[str, ...]:
    if policy.low_priority_max_batch_size == 0:
        return ()
    return ("no batch is filled up with requests of low priority there",)


def _listed(sizes: Sequence[int]) -> str:
    if len(sizes) > 3 and list(sizes) == list(range(sizes[0], sizes[-1] + 1)):
        return f"{sizes[0]} to {sizes[-1]}"
    return ", ".join(str(size) for size in sizes)


def batching_of(policy: Policy, max_batch: int) -> Batching:
    """What ``policy`` holds for, at a stage of ``max_batch``."""
    match policy:
        case Immediate():
            return Batching()
        case Fixed():
            return _sized(policy.delay_ns, policy.size, max_batch)
        case Triton():
            sizes, rejects = policy.preferred_batch_size, policy.timeout_action == "reject"
            return Batching(
                policy.max_queue_delay_ns,
                sizes=sizes,
                timeout_ns=policy.queue_timeout_ns if rejects else 0,
                levels=any(limit.puts_off or limit.bound != NO_SIZE for limit in policy.limits)
                or bool(policy.priority_queue_policy),
            )
        case TfServing():
            return Batching(policy.batch_timeout_ns, lost=_of_low_priority(policy))
        case RayServe():
            return Batching(policy.batch_wait_timeout_ns, Since.TAKEN)
        case Mosec():
            return Batching(policy.max_wait_time_ns or policy.wait_ns, Since.TAKEN)
        case LitServe():
            return Batching(policy.batch_timeout_ns, Since.WINDOW)
        case TorchServe():
            two = policy.max_batch_delay_ns == 0 and max_batch > 2
            lost = ("batches are no longer of two requests at most",) if two else ()
            return Batching(policy.max_batch_delay_ns, Since.TAKEN, lost=lost)
        case BentoMl():
            return Batching(lost=("it learns what to wait for; no wait is written",))
        case LoadAdaptive():
            first = format_duration(policy.initial_ns)
            lost = (f"the delay does not follow the load; {first}, its first, is written",)
            return _sized(policy.initial_ns, policy.size, max_batch, lost)
        case ControlLimit():
            wait_ns = policy.delay_ns or LONGEST_HOLD_NS
            return _sized(wait_ns, max(policy.limit, 1), max_batch)
        case Cadence():
            pace = "nothing is held by the pace of batches before; no wait is written"
            return Batching(cap=policy.cap or None, lost=(pace,) if policy.pace_ns else ())
        case Nexus():
            return Batching(cap=policy.batch or None, lost=(_NOT_DROPPED,))
        case Clockwork():
            late = "the largest size goes, whether it is in time or not"
            return Batching(sizes=policy.sizes, lost=(_NOT_DROPPED, late))
        case Symphony():
            return Batching(lost=(_NOT_DROPPED, "nothing waits for as long as its deadline allows"))
        case Clipper():
            lost = (
                f"the cap does not adapt to the time of batches; max_batch, {max_batch}, holds",
            )
            return Batching(policy.batch_delay_ns, Since.TAKEN, lost=lost)
    return Batching(
        lost=(f"no server has the policy `{policy.kind}`; max_batch is written, and no wait",)
    )


def _sized(wait_ns: int, size: int, max_batch: int, lost: tuple[str, ...] = ()) -> Batching:
    """A hold that ends with ``size`` requests and then sends all that wait: each size from there on."""
    if size == 1:
        return Batching(0, lost=lost)  # one request is as many as it waits for
    if not wait_ns or size in (0, max_batch):
        return Batching(wait_ns, lost=lost)
    sizes = tuple(range(size, max_batch + 1))
    if len(sizes) > MOST_SIZES:
        sizes = (size, max_batch)
        lost += (f"a batch of {size} goes without the requests beyond it, up to {max_batch}",)
    return Batching(wait_ns, sizes=sizes, lost=lost)
