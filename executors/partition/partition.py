"""The whole way from a model to a folder of parts that were checked against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from executors.partition.capture import Captured, capture
from executors.partition.costs import CostKind, counted_ns, measured_ns, transfer_of
from executors.partition.errors import PartitionError, module_of
from executors.partition.folder import WEIGHTS, shared_weights, write_parts
from executors.partition.graph import ModelGraph, graph_of
from executors.partition.parts import Part, cut_out
from executors.partition.timing import part_times_ns, sizes_up_to
from executors.partition.verify import Equality, check_equal, load_parts
from policies.partition.choices import Goal, Strategy
from policies.partition.cost import PartCosts, Transfer, costs_of, lower_bound_ns
from policies.partition.cuts import Cut, CutError, cut
from policies.partition.graph import Contraction
from policies.partition.strategies import after_nodes, by_kind, split_further
from policies.partition.structure import Structure, structure_of

_DEFAULT_STAGES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPlan:
    """What is asked for."""

    stages: int | None = None
    """How many parts; None for 2, or for as many as the strategy makes."""
    strategy: Strategy = Strategy.BALANCED
    goal: Goal = Goal.THROUGHPUT
    cuts: tuple[str, ...] = ()
    """For ``manual``: after which node or module each part ends; several names joined by commas."""
    cost: CostKind = CostKind.MEASURE
    batch: int = 32
    hop_ns: float = 100_000.0
    device: str = "cpu"
    threads: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """A model, looked through: what its operators cost, and what of it can be apart."""

    captured: Captured
    graph: ModelGraph
    pieces: Contraction
    """The graph of what can be apart."""
    node_costs_ns: tuple[float, ...]
    structure: Structure
    transfer: Transfer

    def label(self, piece: int) -> str:
        """A piece by the module and the name of its last operator."""
        last = max(n for n, group in enumerate(self.pieces.group_of) if group == piece)
        node = self.graph.nodes[last]
        module = module_of(node)
        return f"{module}: {node.name}" if module else node.name


@dataclass(frozen=True, slots=True, eq=False)
class Partition:
    """A model in parts."""

    analysis: Analysis
    cut: Cut
    parts: tuple[Part, ...]
    equality: Equality
    shared: Mapping[str, Sequence[str]]
    """Weights that several parts use, and which."""
    service_ns: tuple[Mapping[int, float], ...]
    """By part, batch size to time, without the hop."""
    whole_ns: float
    """All operators one after another, on a batch of the example's rows."""
    weight_bytes: int
    """Bytes of the file of weights."""


def analyse(model: str, plan: PartitionPlan, examples: Path | None = None) -> Analysis:
    """Export the model and cost its operators. Raises PartitionError, ArchiveError."""
    captured = capture(model, plan.batch, examples)
    graph = graph_of(captured)
    if not graph.nodes:
        raise PartitionError(f"{model} does nothing with its inputs; there is nothing to cut")
    costs = (
        measured_ns(graph, plan.device, plan.threads)
        if plan.cost is CostKind.MEASURE
        else counted_ns(graph)
    )
    pieces = graph.costs(costs, plan.batch)
    return Analysis(
        captured,
        graph,
        pieces,
        tuple(costs),
        structure_of(pieces.graph),
        transfer_of(plan.hop_ns, plan.cost),
    )


def choose(analysis: Analysis, plan: PartitionPlan) -> Cut:
    """Where to cut. Raises PartitionError for what cannot be."""
    pieces, transfer = analysis.pieces, analysis.transfer
    try:
        if plan.strategy is Strategy.MANUAL:
            return _manual(analysis, plan)
        if plan.strategy is Strategy.BY_OPERATOR_KIND:
            part_of = by_kind(pieces.graph, analysis.graph.kinds(pieces))
            parts = plan.stages or max(part_of) + 1
            part_of = split_further(pieces.graph, part_of, parts, transfer)
            return _given(analysis, plan, part_of, "lookups apart from dense layers")
        return cut(pieces.graph, plan.stages or _DEFAULT_STAGES, plan.goal, transfer)
    except CutError as error:
        raise PartitionError(f"{analysis.captured.name}: {error}{_tied(analysis)}") from error


def partition(analysis: Analysis, chosen: Cut, plan: PartitionPlan, folder: Path) -> Partition:
    """Write the parts into ``folder``, which is there, and hold them against the whole model.

    Raises PartitionError where they are not the same; the folder is then of no use.
    """
    count = max(chosen.part_of) + 1
    names = [f"part{number}" for number in range(1, count + 1)]
    parts = cut_out(analysis.graph, analysis.pieces.expand(chosen.part_of), names)
    captured = analysis.captured
    write_parts(folder, captured, parts)
    sizes = sorted({1, min(7, plan.batch), plan.batch})
    equality = check_equal(captured, load_parts(folder, parts), plan.seed, sizes)
    return Partition(
        analysis,
        chosen,
        tuple(parts),
        equality,
        shared_weights(captured, parts),
        _service(analysis, chosen, plan, folder, parts),
        sum(analysis.node_costs_ns),
        (folder / WEIGHTS).stat().st_size,
    )


def _service(
    analysis: Analysis, chosen: Cut, plan: PartitionPlan, folder: Path, parts: Sequence[Part]
) -> tuple[Mapping[int, float], ...]:
    sizes = sizes_up_to(plan.batch)
    if plan.cost is CostKind.COUNT:
        return tuple(
            {size: compute_ns * size / plan.batch for size in sizes}
            for compute_ns in chosen.costs.compute_ns
        )
    models = load_parts(folder, parts, plan.device)
    inputs = analysis.captured.examples
    return tuple(part_times_ns(models, inputs, sizes, plan.device, plan.threads))


def _manual(analysis: Analysis, plan: PartitionPlan) -> Cut:
    if not plan.cuts:
        raise PartitionError("the manual strategy needs to be told where: --cut NODE")
    group_of = analysis.pieces.group_of
    cuts = [
        [
            group_of[node]
            for name in names.split(",")
            for node in analysis.graph.matching(name.strip())
        ]
        for names in plan.cuts
    ]
    if plan.stages is not None and plan.stages != len(cuts) + 1:
        raise PartitionError(
            f"{len(cuts)} cuts make {len(cuts) + 1} stages, not {plan.stages}; leave --stages out"
        )
    return _given(analysis, plan, after_nodes(analysis.pieces.graph, cuts), "as told")


def _given(analysis: Analysis, plan: PartitionPlan, part_of: tuple[int, ...], method: str) -> Cut:
    """A cut that a rule has made, with what it costs and what the best would."""
    graph, parts = analysis.pieces.graph, max(part_of) + 1
    costs: PartCosts = costs_of(graph, part_of, parts, analysis.transfer)
    value_ns = costs.value_ns(plan.goal)
    bound_ns = min(lower_bound_ns(graph, parts, analysis.transfer, plan.goal), value_ns)
    return Cut(part_of, costs, bound_ns, value_ns, method)


def _tied(analysis: Analysis) -> str:
    kept = analysis.graph.kept_whole
    nodes, pieces = len(analysis.graph.nodes), len(analysis.pieces.graph)
    if nodes == pieces:
        return ""
    said = f" (its {nodes} operators make {pieces} pieces that can be apart"
    return f"{said}; cannot be cut: {kept[0]})" if kept else f"{said})"
