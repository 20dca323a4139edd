"""What can run side by side, and where everything comes through one place."""

from __future__ import annotations

from dataclasses import dataclass

from policies.partition.graph import CostGraph


@dataclass(frozen=True, slots=True)
class Structure:
    """Cut points and branches of a graph.

    A cut point is a node that every other comes before or after. What lies between two cut points (or
    before the first, after the last) falls into branches without a path between them.
    """

    cut_points: tuple[int, ...]
    branches: tuple[tuple[tuple[int, ...], ...], ...]
    """For each stretch between cut points that has more than one branch, the nodes of each branch."""

    @property
    def most_branches(self) -> int:
        """Branches that can run at once."""
        return max((len(stretch) for stretch in self.branches), default=1)


def structure_of(graph: CostGraph) -> Structure:
    """Find cut points and branches."""
    before, after = graph.ancestors(), graph.descendants()
    count = len(graph)
    points = [
        node for node in range(count) if (before[node] | after[node]).bit_count() == count - 1
    ]
    # A stretch is told by the cut points that it comes after.
    trunk = sum(1 << node for node in points)
    stretches: dict[int, list[int]] = {}
    for node in range(count):
        if not trunk >> node & 1:
            stretches.setdefault(before[node] & trunk, []).append(node)
    branches = (_components(graph, nodes) for nodes in stretches.values())
    return Structure(tuple(points), tuple(each for each in branches if len(each) > 1))


def _components(graph: CostGraph, nodes: list[int]) -> tuple[tuple[int, ...], ...]:
    inside = set(nodes)
    found = []
    while inside:
        component, open_ = set[int](), [min(inside)]
        while open_:
            node = open_.pop()
            if node in inside:
                inside.discard(node)
                component.add(node)
                open_ += graph.parents[node] + graph.children[node]
        found.append(tuple(sorted(component)))
    return tuple(found)
