"""Cuts of abstract graphs: against all cuts there are, and what holds of every one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.partition.choices import Goal
from policies.partition.coarsen import coarsen
from policies.partition.cost import Transfer, costs_of, lower_bound_ns
from policies.partition.cuts import CutError, cut, orders
from policies.partition.graph import CostGraph, Tensor, contract
from policies.partition.replicas import share_devices, spread
from policies.partition.strategies import after_nodes, by_kind, split_further
from policies.partition.structure import structure_of
from tests.partition_graphs import best_of_all, chain, random_graph, random_transfer

FREE = Transfer()


def test_balanced_cuts_of_200_random_graphs_lie_within_5_percent_of_the_best_of_all() -> None:
    rng = np.random.default_rng(1)
    exact = 0
    for _ in range(200):
        graph = random_graph(rng, int(rng.integers(4, 15)), float(rng.choice([0.15, 0.25, 0.4])))
        parts, transfer = int(rng.integers(2, 4)), random_transfer(rng)
        found = cut(graph, parts, Goal.THROUGHPUT, transfer)
        best = best_of_all(graph, parts, transfer, Goal.THROUGHPUT)
        assert found.value_ns <= 1.05 * best
        assert found.value_ns == pytest.approx(best, rel=1e-9) or not found.exact
        assert found.bound_ns <= best * (1 + 1e-9)
        exact += found.exact
    assert exact >= 190


def test_cuts_for_latency_are_the_best_of_all_where_they_say_so() -> None:
    rng = np.random.default_rng(2)
    for _ in range(30):
        graph = random_graph(rng, int(rng.integers(4, 12)), 0.3)
        parts, transfer = int(rng.integers(2, 4)), random_transfer(rng)
        found = cut(graph, parts, Goal.LATENCY, transfer)
        best = best_of_all(graph, parts, transfer, Goal.LATENCY)
        assert found.value_ns == pytest.approx(best, rel=1e-9)
        assert found.exact


def test_a_chain_is_cut_at_its_best_place_for_either_goal() -> None:
    graph = chain([3.0, 1.0, 1.0, 1.0, 3.0], [1, 100, 2, 100])
    balanced = cut(graph, 2, Goal.THROUGHPUT, FREE)
    assert (balanced.value_ns, balanced.exact) == (5.0, True)
    assert "over the order" in balanced.method
    assert cut(graph, 2, Goal.LATENCY, Transfer(0.0, 1.0)).part_of == (0, 1, 1, 1, 1)


def test_a_long_chain_is_cut_exactly() -> None:
    rng = np.random.default_rng(3)
    graph = chain(rng.exponential(1, 400).tolist(), rng.integers(1, 9, 399).tolist())
    found = cut(graph, 4, Goal.THROUGHPUT, Transfer(0.5, 0.1))
    assert found.exact
    assert found.value_ns <= graph.total_ns / 4 + max(graph.costs_ns) + 0.5 + 1.7


def test_balanced_branches_run_side_by_side() -> None:
    """Four equal branches that meet: two parts hold two each and run at once, the third what follows."""
    tensors = [Tensor(2 * b, (2 * b + 1,), 10) for b in range(4)]
    tensors += [Tensor(2 * b + 1, (8,), 10) for b in range(4)]
    graph = CostGraph((10.0,) * 8 + (1.0,), tuple(tensors))
    found = cut(graph, 3, Goal.LATENCY, Transfer(1.0, 0.0))
    assert found.exact
    assert found.costs.compute_ns == (40.0, 40.0, 1.0)
    assert found.costs.latency_ns == 40.0 + 1.0 + 2 * 1.0
    structure = structure_of(graph)
    assert structure.cut_points == (8,)
    assert structure.most_branches == 4
    assert structure.branches == (((0, 1), (2, 3), (4, 5), (6, 7)),)


@settings(max_examples=6)
@given(st.integers(0, 10**6), st.integers(41, 90), st.integers(1, 5), st.sampled_from(Goal))
def test_large_graphs_get_a_cut_that_is_whole_and_in_order(
    seed: int, nodes: int, parts: int, goal: Goal
) -> None:
    rng = np.random.default_rng(seed)
    graph, transfer = random_graph(rng, nodes, 2.5 / nodes), random_transfer(rng)
    found = cut(graph, parts, goal, transfer)
    assert set(found.part_of) == set(range(parts))
    for tensor in graph.tensors:
        for consumer in tensor.consumers:
            assert found.part_of[tensor.producer] <= found.part_of[consumer]
    assert found.costs == costs_of(graph, found.part_of, parts, transfer)
    assert lower_bound_ns(graph, parts, transfer, goal) <= found.value_ns * (1 + 1e-9)
    assert 0 <= found.gap < 1


@given(st.integers(0, 10**6), st.integers(2, 40))
def test_coarser_graphs_keep_costs_and_order(seed: int, nodes: int) -> None:
    graph = random_graph(np.random.default_rng(seed), nodes, 0.2)
    coarse = coarsen(graph, 6)
    assert 1 <= len(coarse.graph) <= 6
    assert coarse.graph.total_ns == pytest.approx(graph.total_ns)
    for tensor in graph.tensors:
        for consumer in tensor.consumers:
            assert coarse.group_of[tensor.producer] <= coarse.group_of[consumer]
    for order in orders(graph):
        place = {node: at for at, node in enumerate(order)}
        assert sorted(order) == list(range(nodes))
        assert all(place[a] < place[b] for b in range(nodes) for a in graph.parents[b])


def test_tied_nodes_take_what_lies_between_with_them() -> None:
    graph = chain([1.0, 2.0, 4.0, 8.0], [1, 2, 3])
    tied = contract(graph, [(0, 2)])
    assert tied.group_of == (0, 0, 0, 1)
    assert tied.graph.costs_ns == (7.0, 8.0)
    assert [(t.producer, t.consumers, t.size_bytes) for t in tied.graph.tensors] == [(0, (1,), 3)]


def test_more_parts_than_nodes_are_refused() -> None:
    with pytest.raises(CutError, match=r"2 nodes cannot be cut into 3 parts; ask for 1 to 2"):
        cut(chain([1.0, 1.0], [1]), 3, Goal.THROUGHPUT, FREE)


@pytest.mark.parametrize(
    ("costs", "tensors", "message"),
    [
        ((1.0, -2.0), (), "the cost of node 1 must be 0 ns or more, not -2.0"),
        ((1.0, float("nan")), (), "must be 0 ns or more, not nan"),
        ((1.0, 1.0), (Tensor(1, (0,), 4),), "a tensor of node 1 goes to node 0"),
    ],
)
def test_graphs_that_are_none(
    costs: tuple[float, ...], tensors: tuple[Tensor, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        CostGraph(costs, tensors)


def test_kinds_lie_apart_and_may_be_cut_further() -> None:
    """Two lookups and a dense branch feed a dense end."""
    tensors = (*(Tensor(node, (3,), 4) for node in range(3)), Tensor(3, (4,), 4))
    graph = CostGraph((1.0, 1.0, 5.0, 2.0, 2.0), tensors)
    part_of = by_kind(graph, ["lookup", "lookup", "dense", "dense", "dense"])
    assert part_of == (0, 0, 1, 2, 2)
    assert split_further(graph, part_of, 4, FREE) == (0, 0, 1, 2, 3)
    with pytest.raises(CutError, match="the kinds of operators make 3 parts; ask for 3 or more"):
        split_further(graph, part_of, 2, FREE)


def test_manual_cuts_hold_what_their_nodes_need() -> None:
    graph = CostGraph(
        (1.0,) * 5,
        (Tensor(0, (2,), 1), Tensor(1, (2, 3), 1), Tensor(2, (4,), 1), Tensor(3, (4,), 1)),
    )
    assert after_nodes(graph, [[0], [3]]) == (0, 1, 2, 1, 2)
    assert after_nodes(graph, [[2]]) == (0, 0, 0, 1, 1)
    with pytest.raises(CutError, match="cut 2 ends no new part"):
        after_nodes(graph, [[2], [1]])
    with pytest.raises(CutError, match="nothing is left after the last cut"):
        after_nodes(graph, [[4]])


@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=4), st.integers(0, 4))
def test_replicas_make_the_busiest_least_busy(loads: list[float], more: int) -> None:
    workers = len(loads) + more
    found = spread(loads, workers)
    assert sum(found) == workers

    def ways(left: int, stages: int) -> list[tuple[int, ...]]:
        if stages == 1:
            return [(left,)]
        return [
            (first, *rest)
            for first in range(1, left - stages + 2)
            for rest in ways(left - first, stages - 1)
        ]

    def busiest(replicas: tuple[int, ...]) -> float:
        return max(load / count for load, count in zip(loads, replicas, strict=True))

    assert busiest(found) == min(map(busiest, ways(workers, len(loads))))


def test_too_few_workers_and_devices_by_load() -> None:
    with pytest.raises(ValueError, match="3 stages need a worker each; give 3 or more, not 2"):
        spread([1.0, 1.0, 1.0], 2)
    assert share_devices([5.0, 3.0, 2.0], 2) == (0, 1, 1)
