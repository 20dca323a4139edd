"""What befalls requests in a queue without the policy being asked: a time and a size for each level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.contract import NO_SIZE


@dataclass(frozen=True, slots=True)
class QueueLimit:
    """Of the requests of one priority level; all are of one level where the queue is not served by
    priority.

    A request that has been in the queue for **longer** than ``timeout_ns`` (0: for any time) when a batch
    could start is shed, or with ``puts_off`` moved behind the others of its level, once. One that comes
    when ``bound`` of its level wait is shed.
    """

    timeout_ns: int = 0
    puts_off: bool = False
    bound: int = NO_SIZE


def limit_of(limits: Sequence[QueueLimit], level: int) -> QueueLimit:
    """A level's among those of the levels 0, 1, ...; the last is that of all beyond."""
    return limits[min(max(level, 0), len(limits) - 1)]
