"""What is cut: a graph of nodes with costs and of tensors that pass between them."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import isfinite

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components


@dataclass(frozen=True, slots=True)
class Tensor:
    """A value that one node makes and others take."""

    producer: int
    consumers: tuple[int, ...]
    """Without repeats, each after the producer."""
    size_bytes: int


@dataclass(frozen=True, slots=True)
class CostGraph:
    """Nodes 0, 1, 2, ... in an order of execution, and the tensors between them.

    Raises ValueError for costs that are no times, and for a tensor that goes backwards.
    """

    costs_ns: tuple[float, ...]
    tensors: tuple[Tensor, ...]
    parents: tuple[tuple[int, ...], ...] = field(init=False)
    children: tuple[tuple[int, ...], ...] = field(init=False)

    def __post_init__(self) -> None:
        """Derive the edges."""
        for node, cost_ns in enumerate(self.costs_ns):
            if not (isfinite(cost_ns) and cost_ns >= 0):
                raise ValueError(f"the cost of node {node} must be 0 ns or more, not {cost_ns}")
        parents: list[set[int]] = [set() for _ in self.costs_ns]
        children: list[set[int]] = [set() for _ in self.costs_ns]
        for tensor in self.tensors:
            for consumer in tensor.consumers:
                if not 0 <= tensor.producer < consumer < len(self.costs_ns):
                    raise ValueError(
                        f"a tensor of node {tensor.producer} goes to node {consumer}; nodes must be"
                        f" numbered in an order of execution, from 0 to {len(self.costs_ns) - 1}"
                    )
                parents[consumer].add(tensor.producer)
                children[tensor.producer].add(consumer)
        object.__setattr__(self, "parents", tuple(tuple(sorted(each)) for each in parents))
        object.__setattr__(self, "children", tuple(tuple(sorted(each)) for each in children))

    def __len__(self) -> int:
        return len(self.costs_ns)

    @property
    def total_ns(self) -> float:
        """All nodes one after another."""
        return sum(self.costs_ns)

    def descendants(self) -> list[int]:
        """For each node, the nodes that it reaches, as bits; itself left out."""
        reach = [0] * len(self)
        for node in range(len(self) - 1, -1, -1):
            for child in self.children[node]:
                reach[node] |= reach[child] | 1 << child
        return reach

    def ancestors(self) -> list[int]:
        """For each node, the nodes that reach it, as bits; itself left out."""
        before = [0] * len(self)
        for node in range(len(self)):
            for parent in self.parents[node]:
                before[node] |= before[parent] | 1 << parent
        return before

    def longest_path_ns(self) -> float:
        """The costliest path: no parallel form is faster."""
        ends: list[float] = []
        for node, cost_ns in enumerate(self.costs_ns):
            ends.append(cost_ns + max((ends[parent] for parent in self.parents[node]), default=0.0))
        return max(ends, default=0.0)


@dataclass(frozen=True, slots=True)
class Contraction:
    """A graph of groups of another's nodes."""

    graph: CostGraph
    group_of: tuple[int, ...]
    """For each node of the other graph, the node that it became."""

    def expand(self, part_of: Sequence[int]) -> tuple[int, ...]:
        """A number for each group as a number for each node."""
        return tuple(part_of[group] for group in self.group_of)

    def after(self, first: Contraction) -> Contraction:
        """Both at once: ``first``, whose graph is contracted here."""
        return Contraction(self.graph, first.expand(self.group_of))


def contract(graph: CostGraph, ties: Sequence[tuple[int, int]]) -> Contraction:
    """The graph in which tied nodes are one, as is everything between them."""
    pairs = [(parent, child) for child in range(len(graph)) for parent in graph.parents[child]]
    both_ways = [*ties, *((second, first) for first, second in ties)]
    rows, columns = np.array([*pairs, *both_ways], np.int64).reshape(-1, 2).T
    matrix = coo_array((np.ones(len(rows)), (rows, columns)), shape=(len(graph), len(graph)))
    count, labels = connected_components(matrix, directed=True, connection="strong")
    ranks = _in_order(count, labels.tolist(), pairs)
    group_of = tuple(ranks[label] for label in labels.tolist())
    costs = [0.0] * count
    for node, group in enumerate(group_of):
        costs[group] += graph.costs_ns[node]
    tensors = []
    for tensor in graph.tensors:
        producer = group_of[tensor.producer]
        consumers = sorted({group_of[node] for node in tensor.consumers} - {producer})
        if consumers:
            tensors.append(replace(tensor, producer=producer, consumers=tuple(consumers)))
    return Contraction(CostGraph(tuple(costs), tuple(tensors)), group_of)


def _in_order(count: int, labels: Sequence[int], pairs: Sequence[tuple[int, int]]) -> list[int]:
    """A rank for each label, in an order of execution that keeps to that of the nodes where it can."""
    first = [len(labels)] * count
    for node, label in enumerate(labels):
        first[label] = min(first[label], node)
    edges = {(labels[a], labels[b]) for a, b in pairs if labels[a] != labels[b]}
    waiting = [0] * count
    after: list[list[int]] = [[] for _ in range(count)]
    for before, behind in edges:
        waiting[behind] += 1
        after[before].append(behind)
    ready = [(first[label], label) for label in range(count) if not waiting[label]]
    heapq.heapify(ready)
    ranks = [0] * count
    for rank in range(count):
        _, label = heapq.heappop(ready)
        ranks[label] = rank
        for behind in after[label]:
            waiting[behind] -= 1
            if not waiting[behind]:
                heapq.heappush(ready, (first[behind], behind))
    return ranks
