"""Exact cuts for throughput, by dynamic programming over what may have been done so far.

A cut into parts 1..k is a chain of ideals: {} = I_0 < I_1 < ... < I_k = all, where an ideal is a set of
nodes that holds every node's ancestors, and part j is I_j without I_(j-1). Then

    best(j, I) = min over I' < I of max(best(j - 1, I'), load(I without I'))

A chain of n nodes has n + 1 ideals, n nodes without edges have 2^n. Over some of the ideals, the
prefixes of one order of execution say, the result is the best among the cuts that they allow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from policies.partition.cost import Transfer
from policies.partition.graph import CostGraph

Ideals = NDArray[np.bool_]
"""(ideals, nodes): which nodes each holds; smaller ones first, from none to all."""


def all_ideals(graph: CostGraph, most: int) -> Ideals | None:
    """Every ideal, or None where there are more than ``most``."""
    before = graph.ancestors()
    found = {0}
    newest = [0]
    while newest:
        grown = set()
        for ideal in newest:
            for node in range(len(graph)):
                if not ideal >> node & 1 and not before[node] & ~ideal:
                    grown.add(ideal | 1 << node)
        newest = list(grown)
        found |= grown
        if len(found) > most:
            return None
    return _matrix(found, len(graph))


def prefixes(graph: CostGraph, orders: Iterable[Sequence[int]]) -> Ideals:
    """What has been done after each step of each order of execution."""
    found = {0}
    for order in orders:
        done = 0
        for node in order:
            done |= 1 << node
            found.add(done)
    return _matrix(found, len(graph))


def best_chain(
    graph: CostGraph, ideals: Ideals, parts: int, transfer: Transfer, *, total: bool = False
) -> tuple[int, ...] | None:
    """The part of each node in the chain of these ideals whose busiest part is least busy, or with
    ``total`` the one whose parts are least busy together; None where no chain is that long.
    """
    loads = _loads(graph, ideals, transfer)
    best = loads[0].copy()  # best[i]: of the parts so far, which end with ideal i.
    came_from = []
    for _ in range(parts - 1):
        through = best[:, None] + loads if total else np.maximum(best[:, None], loads)
        came_from.append(through.argmin(axis=0))
        best = through.min(axis=0)
    if not np.isfinite(best[-1]):
        return None
    chain = [len(ideals) - 1]
    for step in reversed(came_from):
        chain.append(int(step[chain[-1]]))
    part_of = np.zeros(len(graph), np.int64)
    for part, ideal in enumerate(reversed(chain)):
        done = ideals[chain[len(chain) - part]] if part else np.zeros(len(graph), np.bool_)
        part_of[ideals[ideal] & ~done] = part
    return tuple(part_of.tolist())


def _loads(graph: CostGraph, ideals: Ideals, transfer: Transfer) -> NDArray[np.float64]:
    """(from, to): the load of the part between two ideals; infinite where one does not hold the other."""
    count = len(ideals)
    costs = ideals @ np.array(graph.costs_ns, np.float64)
    sizes = np.array([tensor.size_bytes for tensor in graph.tensors], np.float64)
    producers = np.array([tensor.producer for tensor in graph.tensors], np.int64)
    consumers = np.zeros((len(graph), len(graph.tensors)), np.int64)
    for number, tensor in enumerate(graph.tensors):
        consumers[list(tensor.consumers), number] = 1
    made = ideals[:, producers] if len(sizes) else np.zeros((count, 0), np.bool_)
    served = ideals.astype(np.int64) @ consumers
    wanted = served < consumers.sum(axis=0)
    sizes_of = ideals.sum(axis=1)
    loads = np.full((count, count), np.inf)
    for end in range(1, count):
        inside = ~(ideals & ~ideals[end]).any(axis=1) & (sizes_of < sizes_of[end])
        taken = made[inside] & (served[inside] < served[end])
        given = ~made[inside] & (made[end] & wanted[end])
        moved = (taken | given) @ sizes
        loads[inside, end] = (
            costs[end] - costs[inside] + transfer.hop_ns + transfer.ns_per_byte * moved
        )
    return loads


def _matrix(found: Iterable[int], nodes: int) -> Ideals:
    ordered = sorted(found, key=lambda ideal: (ideal.bit_count(), ideal))
    rows = [[bool(ideal >> node & 1) for node in range(nodes)] for ideal in ordered]
    return np.array(rows, np.bool_).reshape(len(ordered), nodes)
