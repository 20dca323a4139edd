"""What the replicas of a stage hold, and since when heads of its queue have been passed over."""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from policies.contract import NEVER_NS
from policies.locality import Choice, Locality


class Caches:
    """The state of one stage's locality. A replica holds a key from when a batch with it is sent there,
    until ``cache`` others have been served since (least recently used goes first) or the replica is lost.
    """

    __slots__ = ("_held", "_holders", "_keys", "_passed_ns", "_rule", "missed")

    def __init__(self, rule: Locality, replicas: int, keys: Sequence[int]) -> None:
        self._rule = rule
        self._keys = keys
        self._held: list[OrderedDict[int, None]] = [OrderedDict() for _ in range(replicas)]
        """By replica its keys, the one that was served longest ago first."""
        self._holders: dict[int, int] = {}
        """Key to the replicas that hold it, as bits; never 0."""
        self._passed_ns: dict[int, int] = {}
        """Request that is at the head, or was, to when it was first passed over."""
        self.missed = array("q")
        """By row of the stage's journal, how many keys the replica did not hold."""

    @property
    def waits(self) -> bool:
        """Whether a head is ever passed over."""
        return self._rule.wait_ns > 0

    def choose(self, now_ns: int, queue: Iterable[int], count: int, idle: int) -> Choice | None:
        """As :meth:`Locality.choose`; notes that the head is passed over, where it is."""
        head = next(iter(queue))
        overdue = now_ns >= self.until_ns(head)
        choice = self._rule.choose(queue, count, self._holders_of, idle, overdue)
        if choice is None or choice.requests[0] != head:
            self._passed_ns.setdefault(head, now_ns)
        return choice

    def until_ns(self, head: int) -> int:
        """When a request that is passed over may go anywhere; ``NEVER_NS`` for one that was not."""
        passed_ns = self._passed_ns.get(head)
        return NEVER_NS if passed_ns is None else passed_ns + self._rule.wait_ns

    def serve(self, replica: int, requests: Sequence[int]) -> int:
        """A batch is sent; how many keys are fetched, since the replica did not hold them."""
        held, here, most = self._held[replica], 1 << replica, self._rule.cache
        missed = 0
        for request in requests:
            self._passed_ns.pop(request, None)
            key = self._keys[request]
            if key in held:
                held.move_to_end(key)
                continue
            missed += 1
            held[key] = None
            self._holders[key] = self._holders.get(key, 0) | here
            if len(held) > most:
                self._let_go(held.popitem(last=False)[0], here)
        self.missed.append(missed)
        return missed

    def lose(self, replica: int) -> None:
        """A replica is gone, with all that it held."""
        for key in self._held[replica]:
            self._let_go(key, 1 << replica)
        self._held[replica].clear()

    def _holders_of(self, request: int) -> int:
        return self._holders.get(self._keys[request], 0)

    def _let_go(self, key: int, here: int) -> None:
        left = self._holders[key] & ~here
        if left:
            self._holders[key] = left
        else:
            del self._holders[key]
