"""What a cut costs: how long each part is busy with a batch, and how long the batch is under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from policies.partition.choices import Goal
from policies.partition.graph import CostGraph


@dataclass(frozen=True, slots=True)
class Transfer:
    """What it costs to be a part: ``hop_ns`` a batch, and ``ns_per_byte`` on each side of a tensor that
    passes from part to part.
    """

    hop_ns: float = 0.0
    ns_per_byte: float = 0.0


@dataclass(frozen=True, slots=True)
class PartCosts:
    """Costs of a cut whose parts run on a device each."""

    compute_ns: tuple[float, ...]
    """By part, its nodes alone."""
    loads_ns: tuple[float, ...]
    """By part, with the hop and with the transfer of what it takes from others and gives to others."""
    in_bytes: tuple[int, ...]
    """By part, what it takes from others."""
    latency_ns: float
    """The longest path of parts, by their loads."""

    def value_ns(self, goal: Goal) -> float:
        """What the goal makes small."""
        return self.latency_ns if goal is Goal.LATENCY else max(self.loads_ns)


def costs_of(graph: CostGraph, part_of: Sequence[int], parts: int, transfer: Transfer) -> PartCosts:
    """The costs of a cut: ``part_of[node]`` from 0 to ``parts`` - 1, never falling along an edge."""
    compute = [0.0] * parts
    for node, part in enumerate(part_of):
        compute[part] += graph.costs_ns[node]
    given, taken = [0] * parts, [0] * parts
    before: list[set[int]] = [set() for _ in range(parts)]
    for tensor in graph.tensors:
        home = part_of[tensor.producer]
        abroad = {part_of[node] for node in tensor.consumers}
        abroad.discard(home)
        if abroad:
            given[home] += tensor.size_bytes
        for part in abroad:
            taken[part] += tensor.size_bytes
            before[part].add(home)
    loads = [
        compute[part] + transfer.hop_ns + transfer.ns_per_byte * (given[part] + taken[part])
        for part in range(parts)
    ]
    ends: list[float] = []
    for part in range(parts):
        ends.append(loads[part] + max((ends[other] for other in before[part]), default=0.0))
    return PartCosts(tuple(compute), tuple(loads), tuple(taken), max(ends))


def lower_bound_ns(graph: CostGraph, parts: int, transfer: Transfer, goal: Goal) -> float:
    """No cut into so many parts is better.

    The busiest part has at least the costliest node, and its share of all. A batch's way is at least the
    costliest path, and that of the busiest part; where the graph is in one piece, every part has another
    before or after it, so that the way has two hops.
    """
    share_ns = graph.total_ns / parts
    if goal is Goal.THROUGHPUT:
        return max(share_ns, max(graph.costs_ns, default=0.0)) + transfer.hop_ns
    hops = 2 if parts > 1 and _in_one_piece(graph) else 1
    return max(share_ns, graph.longest_path_ns()) + hops * transfer.hop_ns


def _in_one_piece(graph: CostGraph) -> bool:
    reached, open_ = set[int](), [0]
    while open_:
        node = open_.pop()
        if node not in reached:
            reached.add(node)
            open_ += graph.parents[node] + graph.children[node]
    return len(reached) == len(graph)
