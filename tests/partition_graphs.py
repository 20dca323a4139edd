"""Random graphs to be cut, and the best cut by trying all of them."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from policies.partition.choices import Goal
from policies.partition.cost import Transfer
from policies.partition.graph import CostGraph, Tensor


def random_graph(rng: Generator, nodes: int, density: float) -> CostGraph:
    """Exponential costs of mean 1 us; every node feeds each later one with this probability."""
    tensors = []
    for producer in range(nodes):
        consumers = [node for node in range(producer + 1, nodes) if rng.random() < density]
        if consumers:
            tensors.append(Tensor(producer, tuple(consumers), int(rng.integers(1, 4000))))
    return CostGraph(tuple(rng.exponential(1000, nodes).tolist()), tuple(tensors))


def random_transfer(rng: Generator) -> Transfer:
    return Transfer(float(rng.choice([0, 100])), float(rng.choice([0, 0.05, 0.3])))


def chain(costs: list[float], sizes: list[int]) -> CostGraph:
    tensors = [Tensor(place, (place + 1,), size) for place, size in enumerate(sizes)]
    return CostGraph(tuple(costs), tuple(tensors))


def best_of_all(graph: CostGraph, parts: int, transfer: Transfer, goal: Goal) -> float:
    """The lowest value of all cuts into ``parts``: every assignment that never falls along an edge, of
    which all parts have a node.
    """
    rows = np.zeros((1, 0), np.int8)
    for node in range(len(graph)):
        parents = list(graph.parents[node])
        lowest = rows[:, parents].max(axis=1) if parents else np.zeros(len(rows), np.int8)
        grown = []
        for part in range(parts):
            kept = rows[lowest <= part]
            grown.append(np.column_stack([kept, np.full(len(kept), part, np.int8)]))
        rows = np.concatenate(grown)
    rows = rows[np.all([(rows == part).any(axis=1) for part in range(parts)], axis=0)]
    loads = np.column_stack([(rows == part) @ np.array(graph.costs_ns) for part in range(parts)])
    loads += transfer.hop_ns
    before = np.zeros((len(rows), parts, parts), bool)
    for tensor in graph.tensors:
        move_ns = tensor.size_bytes * transfer.ns_per_byte
        home = rows[:, tensor.producer]
        leaves = np.zeros(len(rows), bool)
        for part in range(parts):
            takes = (rows[:, list(tensor.consumers)] == part).any(axis=1) & (home != part)
            loads[takes, part] += move_ns
            before[np.flatnonzero(takes), part, home[takes]] = True
            leaves |= takes
        loads[np.flatnonzero(leaves), home[leaves]] += move_ns
    if goal is Goal.THROUGHPUT:
        return float(loads.max(axis=1).min())
    ends = np.zeros_like(loads)
    for part in range(parts):
        ends[:, part] = loads[:, part] + np.where(before[:, part, :], ends, 0).max(axis=1)
    return float(ends.max(axis=1).min())
