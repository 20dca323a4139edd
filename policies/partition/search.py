"""Exact cuts of small graphs for either goal, by branch and bound.

Nodes get a part in an order of execution, never a lower one than their parents'. What is known of the
loads only grows on the way, so that a partial cut as bad as the best whole one is given up.
"""

from __future__ import annotations

from policies.partition.choices import Goal
from policies.partition.cost import Transfer, lower_bound_ns
from policies.partition.graph import CostGraph

_TOLERANCE = 1e-12


class Search:
    """One search; ``best`` is the part of each node in the best cut known, at the start a given one."""

    def __init__(
        self,
        graph: CostGraph,
        parts: int,
        transfer: Transfer,
        goal: Goal,
        start: tuple[tuple[int, ...], float],
    ) -> None:
        self.best, self.best_ns = start
        self._graph, self._parts, self._transfer, self._goal = graph, parts, transfer, goal
        self._bound_ns = lower_bound_ns(graph, parts, transfer, goal)
        self._loads = [transfer.hop_ns] * parts
        self._sizes = [0] * parts
        self._before = [[0] * parts for _ in range(parts)]
        self._part_of: list[int] = []
        takes: list[list[tuple[int, float]]] = [[] for _ in range(len(graph))]
        for number, tensor in enumerate(graph.tensors):
            for consumer in tensor.consumers:
                takes[consumer].append((number, tensor.size_bytes * transfer.ns_per_byte))
        self._takes = takes
        self._abroad = [[0] * parts for _ in graph.tensors]
        self._visits = 0

    def run(self, most_visits: int) -> bool:
        """Search; True if ``best`` is proved to be the best, False if the visits ran out before."""
        self._visits = most_visits
        self._descend(0)
        return self._visits > 0 or self._done

    @property
    def _done(self) -> bool:
        return self.best_ns <= self._bound_ns * (1 + _TOLERANCE)

    def _descend(self, node: int) -> None:
        if node == len(self._graph):
            value_ns = self._known_ns()
            if value_ns < self.best_ns:
                self.best, self.best_ns = tuple(self._part_of), value_ns
            return
        parents = self._graph.parents[node]
        lowest = max((self._part_of[parent] for parent in parents), default=0)
        for part in sorted(range(lowest, self._parts), key=self._loads.__getitem__):
            if self._visits <= 0 or self._done:
                return
            self._visits -= 1
            changed = self._put(node, part)
            enough = len(self._graph) - node - 1 >= self._sizes.count(0)
            if enough and self._known_ns() < self.best_ns * (1 - _TOLERANCE):
                self._descend(node + 1)
            self._take_back(node, part, changed)

    def _put(self, node: int, part: int) -> list[tuple[int, float]]:
        """Give the node its part; returns what to undo: (part, load added)."""
        self._part_of.append(part)
        self._sizes[part] += 1
        added = [(part, self._graph.costs_ns[node])]
        for tensor, transfer_ns in self._takes[node]:
            home = self._part_of[self._graph.tensors[tensor].producer]
            if home == part:
                continue
            abroad = self._abroad[tensor]
            if not any(abroad):
                added.append((home, transfer_ns))
            if not abroad[part]:
                added.append((part, transfer_ns))
            abroad[part] += 1
            self._before[part][home] += 1
        for where, load_ns in added:
            self._loads[where] += load_ns
        return added

    def _take_back(self, node: int, part: int, added: list[tuple[int, float]]) -> None:
        for where, load_ns in added:
            self._loads[where] -= load_ns
        for tensor, _ in self._takes[node]:
            home = self._part_of[self._graph.tensors[tensor].producer]
            if home != part:
                self._abroad[tensor][part] -= 1
                self._before[part][home] -= 1
        self._sizes[part] -= 1
        self._part_of.pop()

    def _known_ns(self) -> float:
        """The goal's value by what is known so far: no completion has a lower one."""
        if self._goal is Goal.THROUGHPUT:
            return max(self._loads)
        ends: list[float] = []
        for load_ns, before in zip(self._loads, self._before, strict=True):
            ends.append(
                load_ns + max((end for end, n in zip(ends, before, strict=False) if n), default=0.0)
            )
        return max(ends)
