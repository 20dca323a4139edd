"""Smaller graphs for the search: cheap neighbours become one node, branches stay apart."""

from __future__ import annotations

from collections.abc import Iterator

from policies.partition.graph import Contraction, CostGraph, contract


def coarsen(graph: CostGraph, most: int) -> Contraction:
    """The graph with no more than ``most`` nodes, by merging what is cheapest together, again and again.

    A node is merged with a child that it reaches by that edge alone, or with one that has the very same
    parents and children: neither makes a cycle.
    """
    contraction = Contraction(graph, tuple(range(len(graph))))
    while len(contraction.graph) > most:
        coarse = contraction.graph
        pairs = list(_mergeable(coarse))
        pairs.sort(key=lambda pair: coarse.costs_ns[pair[0]] + coarse.costs_ns[pair[1]])
        # Many at once while the graph is large, each node in one pair. Pairs that are harmless one by
        # one may make a cycle together, which is merged as well; so the last ones go one by one.
        at_once = max(1, (len(coarse) - 2 * most) // 4)
        chosen: list[tuple[int, int]] = []
        used: set[int] = set()
        for pair in pairs:
            if len(chosen) < at_once and used.isdisjoint(pair):
                chosen.append(pair)
                used.update(pair)
        contraction = contract(coarse, chosen).after(contraction)
    return contraction


def _mergeable(graph: CostGraph) -> Iterator[tuple[int, int]]:
    reach = graph.descendants()
    for node, children in enumerate(graph.children):
        for child in children:
            if not any(reach[other] >> child & 1 for other in children):
                yield node, child
    twins: dict[tuple[tuple[int, ...], tuple[int, ...]], int] = {}
    for node in range(len(graph)):
        key = graph.parents[node], graph.children[node]
        if key in twins:
            yield twins[key], node
        twins[key] = node
