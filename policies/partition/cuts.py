"""The best cut of a graph into a number of parts, and how far from the best it can be.

Graphs with few ideals (chains, and what is nearly one) are cut exactly by dynamic programming, small
ones by branch and bound. Larger ones are cut along several orders of execution and as coarser graphs,
and the results improved node by node; a lower bound then says how much better a cut could be.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from policies.partition.choices import Goal
from policies.partition.coarsen import coarsen
from policies.partition.cost import PartCosts, Transfer, costs_of, lower_bound_ns
from policies.partition.graph import CostGraph
from policies.partition.ideals import all_ideals, best_chain, prefixes
from policies.partition.refine import refine
from policies.partition.search import Search

MOST_IDEALS = 1200
MOST_SEARCHED = 40
"""Nodes of a graph that is searched through."""
MOST_NODES = 160
"""Nodes of a graph that is cut along orders; larger ones are made coarser first."""
MOST_VISITS = 150_000
_COARSE = 14


class CutError(ValueError):
    """A graph that cannot be cut as was asked; the text says what can be."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a graph is cut."""

    part_of: tuple[int, ...]
    """For each node its part, from 0; it never falls along an edge."""
    costs: PartCosts
    bound_ns: float
    """No cut has a lower value; the value itself where the cut is the best there is."""
    value_ns: float
    method: str
    """How it was found, in words."""

    @property
    def exact(self) -> bool:
        """Whether it is proved to be the best."""
        return self.bound_ns >= self.value_ns

    @property
    def gap(self) -> float:
        """By what share of itself the value could be lower at most."""
        return 0.0 if self.exact else 1 - self.bound_ns / self.value_ns


def cut(graph: CostGraph, parts: int, goal: Goal, transfer: Transfer) -> Cut:
    """Cut the graph into exactly ``parts``. Raises CutError for more parts than nodes."""
    if not 1 <= parts <= len(graph):
        raise CutError(
            f"{len(graph)} nodes cannot be cut into {parts} parts; ask for 1 to {len(graph)}"
        )
    exact = _by_ideals(graph, parts, goal, transfer)
    if exact is not None:
        return exact
    starts = _starts(graph, parts, goal, transfer)
    best = min(
        (refine(graph, start, parts, transfer, goal) for start in starts),
        key=lambda part_of: costs_of(graph, part_of, parts, transfer).value_ns(goal),
    )
    if len(graph) > MOST_SEARCHED:
        method = "dynamic programming over orders, search over a coarser graph, and moves"
        return _made(graph, best, (parts, goal, transfer), method, exact=False)
    value_ns = costs_of(graph, best, parts, transfer).value_ns(goal)
    search = Search(graph, parts, transfer, goal, (best, value_ns))
    done = search.run(MOST_VISITS)
    return _made(graph, search.best, (parts, goal, transfer), "branch and bound", exact=done)


def _by_ideals(graph: CostGraph, parts: int, goal: Goal, transfer: Transfer) -> Cut | None:
    """The best cut, where dynamic programming can find it."""
    if len(graph) > MOST_IDEALS:
        return None
    ideals = all_ideals(graph, MOST_IDEALS)
    if ideals is None:
        return None
    chain = len(ideals) == len(graph) + 1
    if goal is Goal.LATENCY and not chain:
        return None
    # The parts of a chain follow each other, so that its latency is the sum of their loads.
    part_of = best_chain(graph, ideals, parts, transfer, total=goal is Goal.LATENCY)
    if part_of is None:
        return None
    what = "the order" if chain else f"{len(ideals)} ideals"
    method = f"dynamic programming over {what}"
    return _made(graph, part_of, (parts, goal, transfer), method, exact=True)


def _starts(
    graph: CostGraph, parts: int, goal: Goal, transfer: Transfer
) -> Iterator[tuple[int, ...]]:
    """Cuts to begin with: along orders of execution, and of a graph small enough to be searched."""
    fine = coarsen(graph, max(MOST_NODES, parts))
    along = best_chain(fine.graph, prefixes(fine.graph, orders(fine.graph)), parts, transfer)
    if along is not None:
        yield fine.expand(along)
    coarse = coarsen(graph, max(_COARSE, parts))
    start = tuple(min(node, parts - 1) for node in range(len(coarse.graph)))
    value_ns = costs_of(coarse.graph, start, parts, transfer).value_ns(goal)
    search = Search(coarse.graph, parts, transfer, goal, (start, value_ns))
    search.run(MOST_VISITS // 3)
    yield coarse.expand(search.best)


def orders(graph: CostGraph) -> Iterator[list[int]]:
    """Orders of execution: as the nodes are numbered, and depth first, which ends a branch before it
    begins the next, from either side and costliest way first.
    """
    yield list(range(len(graph)))
    rest_ns = [0.0] * len(graph)
    for node in range(len(graph) - 1, -1, -1):
        after_ns = max((rest_ns[child] for child in graph.children[node]), default=0.0)
        rest_ns[node] = graph.costs_ns[node] + after_ns
    yield _depth_first(graph, [float(node) for node in range(len(graph))])
    yield _depth_first(graph, [-float(node) for node in range(len(graph))])
    yield _depth_first(graph, rest_ns)


def _depth_first(graph: CostGraph, urgency: list[float]) -> list[int]:
    """Of the nodes that are ready, those that the last one made ready come first, urgent ones sooner."""
    waiting = [len(parents) for parents in graph.parents]
    ready = sorted((n for n in range(len(graph)) if not waiting[n]), key=urgency.__getitem__)
    order = []
    while ready:
        node = ready.pop()
        order.append(node)
        for child in sorted(graph.children[node], key=urgency.__getitem__):
            waiting[child] -= 1
            if not waiting[child]:
                ready.append(child)
    return order


def _made(
    graph: CostGraph,
    part_of: tuple[int, ...],
    asked: tuple[int, Goal, Transfer],
    method: str,
    *,
    exact: bool,
) -> Cut:
    parts, goal, transfer = asked
    costs = costs_of(graph, part_of, parts, transfer)
    value_ns = costs.value_ns(goal)
    bound_ns = lower_bound_ns(graph, parts, transfer, goal)
    return Cut(part_of, costs, value_ns if exact else min(bound_ns, value_ns), value_ns, method)
