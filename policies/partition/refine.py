"""Improving a cut by moving one node at a time."""

from __future__ import annotations

from collections.abc import Sequence

from policies.partition.choices import Goal
from policies.partition.cost import Transfer, costs_of
from policies.partition.graph import CostGraph

_MOST_ROUNDS = 20


def refine(
    graph: CostGraph, part_of: Sequence[int], parts: int, transfer: Transfer, goal: Goal
) -> tuple[int, ...]:
    """The cut after moves that make the goal's value smaller, or keep it and move fewer bytes.

    A node may go to any part between those of its parents and its children; no part is left empty.
    """
    current = list(part_of)
    sizes = [current.count(part) for part in range(parts)]

    def rank() -> tuple[float, float]:
        costs = costs_of(graph, current, parts, transfer)
        return costs.value_ns(goal), sum(costs.loads_ns)

    best = rank()
    for _ in range(_MOST_ROUNDS):
        before = best
        for node in range(len(graph)):
            lowest = max((current[parent] for parent in graph.parents[node]), default=0)
            highest = min((current[child] for child in graph.children[node]), default=parts - 1)
            for part in range(lowest, highest + 1):
                if part == current[node] or sizes[current[node]] == 1:
                    continue
                home, current[node] = current[node], part
                found = rank()
                if found < best:
                    best = found
                    sizes[home] -= 1
                    sizes[part] += 1
                else:
                    current[node] = home
        if best == before:
            break
    return tuple(current)
