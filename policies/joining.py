"""A join at work: which branches of a request are done, and whether it has gone on without the others."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from policies.contract import NEVER_NS
from policies.merge import Merge

if TYPE_CHECKING:
    from policies.stage_state import StageState


class Joining:
    """Of one stage that several come before. ``gives_up`` are the stages whose work for a request is of no
    use once it has gone on here: they lead nowhere else.
    """

    __slots__ = (
        "_absent",
        "_arrival_ns",
        "_done",
        "_due",
        "_merge",
        "_needed",
        "_parents",
        "_went",
        "_went_ns",
        "gives_up",
        "gone",
    )

    def __init__(self, parents: int, merge: Merge | None, arrival_ns: Sequence[int]) -> None:
        self._parents = parents
        self._merge = merge
        self._needed = parents if merge is None else merge.needed(parents)
        self._arrival_ns = arrival_ns
        self._done: dict[int, int] = {}
        """Request to the bits of its branches that are done, for those that wait here."""
        self._absent: dict[int, int] = {}
        """Request to the bits of its branches that were skipped, for those that have not gone on."""
        self._due: list[tuple[int, int]] = []
        """Heap of (due_ns, request) of those whose time is still to come."""
        self._went_ns = 0
        self._went: set[int] = set()
        """Those that went on at that instant: a branch that is done at the same one is still in time."""
        self.gone: dict[int, int] = {}
        """Requests that went on with a branch missing, to the bits of those that were there."""
        self.gives_up: list[StageState] = []

    @property
    def due_ns(self) -> int:
        """When the next time is up that may matter."""
        while self._due and self._due[0][1] not in self._done:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else NEVER_NS

    def came(self, now_ns: int, parent: int, requests: Iterable[int]) -> list[int]:
        """Branch number ``parent`` of these is done: those of them that go on now."""
        complete = []
        for request in requests:
            if request in self.gone:
                if now_ns == self._went_ns and request in self._went:
                    self.gone[request] |= 1 << parent
                continue
            before = self._done.get(request, 0)
            done = before | 1 << parent
            self._done[request] = done
            count = done.bit_count()
            due_ns = self._due_ns(request)
            if count == self._parents:
                del self._done[request]
                complete.append(request)
            elif count >= self._needed_by(request) or due_ns <= now_ns:
                self._go(now_ns, request)
                complete.append(request)
            elif not before and due_ns != NEVER_NS:
                heapq.heappush(self._due, (due_ns, request))
        return complete

    def can_spare(self, request: int) -> bool:
        """Whether one more branch may be skipped: another must be left that is not."""
        return self._parents - self._absent.get(request, 0).bit_count() > 1

    def missed(self, parent: int, requests: Iterable[int]) -> list[int]:
        """Branch number ``parent`` of these is skipped: those of them that go on now."""
        complete = []
        for request in requests:
            self._absent[request] = self._absent.get(request, 0) | 1 << parent
            done = self._done.get(request, 0)
            if done and done.bit_count() >= self._needed_by(request):
                self.give_up(request)
                complete.append(request)
        return complete

    def _needed_by(self, request: int) -> int:
        """How many branches it waits for: no more than will come."""
        return min(self._needed, self._parents - self._absent.get(request, 0).bit_count())

    def overdue(self, now_ns: int) -> list[int]:
        """Requests whose time is up, with a branch done and another missing: they go on now."""
        found = []
        while self.due_ns <= now_ns:
            request = heapq.heappop(self._due)[1]
            self._go(now_ns, request)
            found.append(request)
        return sorted(found)

    def forget(self, request: int) -> None:
        """The request has ended elsewhere."""
        self._done.pop(request, None)
        self._absent.pop(request, None)

    def give_up(self, request: int) -> None:
        """The request has gone on, from here or from a join further down: nothing more of it counts."""
        self.gone[request] = self._done.pop(request, 0)
        self._absent.pop(request, None)

    def _go(self, now_ns: int, request: int) -> None:
        """The request goes on from here with a branch missing, so far."""
        if now_ns != self._went_ns:
            self._went_ns, self._went = now_ns, set()
        self._went.add(request)
        self.give_up(request)

    def _due_ns(self, request: int) -> int:
        return NEVER_NS if self._merge is None else self._merge.due_ns(self._arrival_ns[request])
