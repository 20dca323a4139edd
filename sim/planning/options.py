"""What each pool may be given, cheapest first, and allocations in the order of their cost."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence

from sim.planning.problem import Allocation, Choice, Planned, Pool

SAME_COST = 1e-9
"""Costs that differ by less are the same."""


Ranges = dict[str, range]
"""The numbers that a pool may have of each device."""


def choices(pool: Pool, ranges: Ranges) -> tuple[Choice, ...]:
    """All choices of a pool, cheapest first."""
    found = [Choice(device, count) for device, counts in ranges.items() for count in counts]
    return tuple(sorted(found, key=lambda each: pool.prices[each.device] * each.count))


def by_cost(
    planned: Planned,
    options: Sequence[Sequence[Choice]],
    first: Callable[[Allocation], float],
) -> Iterator[tuple[float, list[Allocation]]]:
    """Every allocation out of the pools' options: groups of one cost, in ascending order, lazily; within
    a group those come first for which ``first`` is least. A frontier search over the positions in the
    pools' lists.
    """

    def allocation(place: tuple[int, ...]) -> Allocation:
        return tuple(each[at] for each, at in zip(options, place, strict=True))

    start = (0,) * len(options)
    heap = [(planned.cost(allocation(start)), start)]
    seen = {start}
    while heap:
        cost = heap[0][0]
        group: list[Allocation] = []
        while heap and heap[0][0] <= cost + SAME_COST:
            _, place = heapq.heappop(heap)
            group.append(allocation(place))
            for index in range(len(place)):
                after = (*place[:index], place[index] + 1, *place[index + 1 :])
                if after[index] < len(options[index]) and after not in seen:
                    seen.add(after)
                    heapq.heappush(heap, (planned.cost(allocation(after)), after))
        yield cost, sorted(group, key=first)


def within(one: Allocation, other: Allocation) -> bool:
    """Whether ``one`` has the devices of ``other`` and no more of any: it cannot be faster."""
    pairs = zip(one, other, strict=True)
    return all(a.device == b.device and a.count <= b.count for a, b in pairs)


def with_choice(allocation: Allocation, place: int, choice: Choice) -> Allocation:
    """The allocation with another choice for one pool."""
    return (*allocation[:place], choice, *allocation[place + 1 :])
