"""What ``delayline partition`` tells of a model and of its parts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from delayline.console import results
from delayline.partitioned import Deployment, summary
from delayline.tables import number, plain_table
from policies.partition.choices import Goal
from reports.numbers import count

if TYPE_CHECKING:
    from executors.partition.partition import Analysis, Partition, PartitionPlan

_NS_PER_MS = 1e6
_MOST_SHOWN = 3


def print_analysis(analysis: Analysis, plan: PartitionPlan) -> None:
    """The pieces that can be apart, by the names that ``--cut`` takes."""
    console = results()
    console.print(_head(analysis))
    console.print()
    graph = analysis.pieces.graph
    table = plain_table("piece", "cost us", "kB out", "operators")
    kinds = analysis.graph.kinds(analysis.pieces)
    table.add_column("kind")
    for piece in range(len(graph)):
        out = sum(t.size_bytes for t in graph.tensors if t.producer == piece)
        operators = analysis.pieces.group_of.count(piece)
        cost_us = graph.costs_ns[piece] / 1e3
        table.add_row(
            analysis.label(piece),
            number(cost_us),
            number(out / 1e3),
            count(operators),
            kinds[piece],
        )
    console.print(table)
    console.print()
    console.print(f"costs: {plan.cost}, for a batch of {plan.batch}")
    for kept in analysis.graph.kept_whole:
        console.print(f"cannot be cut: {kept}", soft_wrap=True)


def print_partition(
    partition: Partition, plan: PartitionPlan, deployment: Deployment, file: Path
) -> None:
    """The parts and their costs, how good the cut is, and whether the parts are the model."""
    console = results()
    analysis, cut = partition.analysis, partition.cut
    console.print(_head(analysis))
    console.print()
    table = plain_table(
        "stage", "operators", "compute ms", "busy ms", "kB in", "replicas", "device"
    )
    table.add_column("after")
    for place, part in enumerate(partition.parts):
        table.add_row(
            part.name,
            count(len(part.nodes)),
            number(cut.costs.compute_ns[place] / _NS_PER_MS),
            number(cut.costs.loads_ns[place] / _NS_PER_MS),
            number(cut.costs.in_bytes[place] / 1e3),
            count(deployment.replicas[place]),
            ", ".join(dict.fromkeys(deployment.devices[place])),
            ", ".join(part.after) or "-",
        )
    console.print(table)
    console.print()
    console.print(_quality(partition, plan), soft_wrap=True)
    console.print(_paths(partition, plan), soft_wrap=True)
    console.print(f"recombined: {partition.equality}")
    console.print(_weights(partition), soft_wrap=True)
    for kept in analysis.graph.kept_whole:
        console.print(f"cannot be cut: {kept}", soft_wrap=True)
    if analysis.captured.in_place:
        console.print(
            f"made copies of what wrote in place: {', '.join(analysis.captured.in_place)}",
            soft_wrap=True,
        )
    console.print(f"wrote {file}", soft_wrap=True)


def partition_json(
    partition: Partition, plan: PartitionPlan, deployment: Deployment, file: Path
) -> dict[str, object]:
    """The same, for programs."""
    cut, analysis = partition.cut, partition.analysis
    return {
        **summary(partition, plan),
        "config": str(file),
        "operators": len(analysis.graph.nodes),
        "pieces": len(analysis.pieces.graph),
        "cut_points": len(analysis.structure.cut_points),
        "branches": analysis.structure.most_branches,
        "whole_ms": partition.whole_ns / _NS_PER_MS,
        "latency_ms": cut.costs.latency_ns / _NS_PER_MS,
        "slowest_ms": max(cut.costs.loads_ns) / _NS_PER_MS,
        "bound_ms": cut.bound_ns / _NS_PER_MS,
        "shared_weights": {name: list(parts) for name, parts in partition.shared.items()},
        "weight_bytes": partition.weight_bytes,
        "cannot_be_cut": list(analysis.graph.kept_whole),
        "in_place": list(analysis.captured.in_place),
        "stages": [
            _stage_json(partition, deployment, place) for place in range(len(partition.parts))
        ],
    }


def _stage_json(partition: Partition, deployment: Deployment, place: int) -> dict[str, Any]:
    part, costs = partition.parts[place], partition.cut.costs
    return {
        "name": part.name,
        "after": list(part.after),
        "inputs": list(part.inputs),
        "outputs": list(part.outputs),
        "operators": list(part.nodes),
        "weights": list(part.weights),
        "compute_ms": costs.compute_ns[place] / _NS_PER_MS,
        "busy_ms": costs.loads_ns[place] / _NS_PER_MS,
        "in_bytes": costs.in_bytes[place],
        "replicas": deployment.replicas[place],
        "devices": list(deployment.devices[place]),
        "service_ms": {
            str(size): time_ns / _NS_PER_MS for size, time_ns in partition.service_ns[place].items()
        },
    }


def _head(analysis: Analysis) -> str:
    structure = analysis.structure
    operators, pieces = len(analysis.graph.nodes), len(analysis.pieces.graph)
    apart = "" if operators == pieces else f" in {count(pieces)} pieces that can be apart"
    return (
        f"{analysis.captured.name}: {count(operators)} operators{apart}, {len(structure.cut_points)} cut"
        f" points, up to {structure.most_branches} branches side by side"
    )


def _quality(partition: Partition, plan: PartitionPlan) -> str:
    cut = partition.cut
    what = "slowest stage" if plan.goal is Goal.THROUGHPUT else "a batch's way"
    told = f"{what} {number(cut.value_ns / _NS_PER_MS)} ms a batch of {plan.batch}: "
    if cut.exact:
        return f"{told}the best cut there is ({cut.method})"
    return f"{told}no cut is more than {100 * cut.gap:.1f}% faster ({cut.method})"


def _paths(partition: Partition, plan: PartitionPlan) -> str:
    """The batch's way through the parts beside the whole model's time."""
    costs = partition.cut.costs
    moved_kb = sum(costs.in_bytes) / 1e3
    latency_ms = costs.latency_ns / _NS_PER_MS
    whole_ms = (partition.whole_ns + plan.hop_ns) / _NS_PER_MS
    pays = "" if latency_ms < whole_ms else "; cut for throughput or memory, not for latency"
    return (
        f"a batch's way {number(latency_ms)} ms with {number(plan.hop_ns / _NS_PER_MS)} ms a hop and"
        f" {number(moved_kb)} kB passed on; the whole model in one stage"
        f" {number(whole_ms)} ms{pays}"
    )


def _weights(partition: Partition) -> str:
    shared = list(partition.shared.items())
    told = f"weights: {number(partition.weight_bytes / 1e6)} MB, each stored once"
    if not shared:
        return told
    names = "; ".join(f"{name} by {' and '.join(parts)}" for name, parts in shared[:_MOST_SHOWN])
    more = f" and {len(shared) - _MOST_SHOWN} more" if len(shared) > _MOST_SHOWN else ""
    return f"{told}; shared: {names}{more}"
