"""Cuts that follow a rule instead of costs alone: operators of a kind apart, or where the user says."""

from __future__ import annotations

from collections.abc import Sequence

from policies.partition.choices import Goal
from policies.partition.cost import Transfer
from policies.partition.cuts import CutError, cut
from policies.partition.graph import CostGraph, Tensor


def by_kind(graph: CostGraph, kinds: Sequence[str]) -> tuple[int, ...]:
    """The part of each node such that a part holds one kind, in as few levels as the graph allows.

    A node's level is the most changes of kind on a way to it; a part is what has one level and kind.
    """
    levels: list[int] = []
    for node, kind in enumerate(kinds):
        levels.append(max((levels[p] + (kinds[p] != kind) for p in graph.parents[node]), default=0))
    keys = sorted(
        set(zip(levels, kinds, strict=True)), key=lambda key: (key[0], key[1] != "lookup")
    )
    number = {key: part for part, key in enumerate(keys)}
    return tuple(number[key] for key in zip(levels, kinds, strict=True))


def split_further(
    graph: CostGraph, part_of: Sequence[int], parts: int, transfer: Transfer
) -> tuple[int, ...]:
    """The cut with its costliest parts cut again, balanced, until there are ``parts``.

    Raises CutError where it has more than that already, or where there is nothing left to cut.
    """
    have = max(part_of) + 1
    if have > parts:
        raise CutError(f"the kinds of operators make {have} parts; ask for {have} or more")
    pieces = [1] * have
    members = [[n for n, part in enumerate(part_of) if part == each] for each in range(have)]
    busiest = [_within(graph, nodes, 1, transfer) for nodes in members]
    for _ in range(parts - have):
        open_ = [part for part in range(have) if pieces[part] < len(members[part])]
        if not open_:
            raise CutError(f"{len(graph)} nodes cannot be cut into {parts} parts")
        worst = max(open_, key=lambda part: busiest[part][1])
        pieces[worst] += 1
        busiest[worst] = _within(graph, members[worst], pieces[worst], transfer)
    result = [0] * len(graph)
    for part, nodes in enumerate(members):
        for node, inner in zip(nodes, busiest[part][0], strict=True):
            result[node] = sum(pieces[:part]) + inner
    return tuple(result)


def after_nodes(graph: CostGraph, cuts: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """The part of each node where part j ends with the nodes of ``cuts[j]``: it holds them and all that
    they need and earlier parts do not have. What is left is the last part.

    Raises CutError for a cut that leaves its part, or the last one, empty.
    """
    before = graph.ancestors()
    part_of = [len(cuts)] * len(graph)
    for part, ends in enumerate(cuts):
        needed = 0
        for end in ends:
            needed |= before[end] | 1 << end
        nodes = [n for n in range(len(graph)) if needed >> n & 1 and part_of[n] == len(cuts)]
        if not nodes:
            raise CutError(f"cut {part + 1} ends no new part: earlier cuts hold all of it")
        for node in nodes:
            part_of[node] = part
    if len(cuts) not in part_of:
        raise CutError("nothing is left after the last cut; leave it out")
    return tuple(part_of)


def _within(
    graph: CostGraph, nodes: Sequence[int], parts: int, transfer: Transfer
) -> tuple[tuple[int, ...], float]:
    """The balanced cut of some of the nodes, and its busiest part."""
    number = {node: place for place, node in enumerate(nodes)}
    tensors = [
        Tensor(number[t.producer], kept, t.size_bytes)
        for t in graph.tensors
        if t.producer in number
        and (kept := tuple(number[node] for node in t.consumers if node in number))
    ]
    inner = CostGraph(tuple(graph.costs_ns[node] for node in nodes), tuple(tensors))
    found = cut(inner, parts, Goal.THROUGHPUT, transfer)
    return found.part_of, found.value_ns
