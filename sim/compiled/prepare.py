"""From a pipeline, its service times and a workload to the arrays of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from policies.contract import NEVER_NS, NO_SIZE, Reads
from policies.pipeline import (
    Discipline,
    Pipeline,
    Stage,
    downstream_ns,
    end_of_branch,
    joins_that_give_up,
    predictions,
)
from policies.service_level import skipped_branches
from policies.workload import ClosedWorkload, Workload
from sim.compiled import layout
from sim.compiled.layout import BATCH, EVENT, LEVELS, REPLICA, RUN, STAGE, Board
from sim.compiled.rules import Ruled, rules_of
from sim.service.forms import ByMean, ByRank, ByScore, Exact, Form, PaddedForm
from sim.service_times import Tabulated

AnyWorkload = Workload | ClosedWorkload
_DISCIPLINES = {
    Discipline.FIFO: layout.FIFO,
    Discipline.EDF: layout.EDF,
    Discipline.PRIORITY: layout.PRIORITY,
}
_AWAY = -2
_FIRST_CAPACITY = 1024


@dataclass(slots=True)
class Prepared:
    """A run that is ready to go, or under way."""

    pipeline: Pipeline
    times: Sequence[Tabulated]
    board: Board

    def grow(self) -> None:
        """Twice the room for batches, with the noise to go with it."""
        board = self.board
        stages, capacity = board.batches.shape
        batches = np.empty((stages, 2 * capacity), BATCH)
        batches[:, :capacity] = board.batches
        graded = np.empty((stages, 2 * board.graded.shape[1]), np.int8)
        graded[:, : board.graded.shape[1]] = board.graded
        noise = _noise(board, self.times, 2 * capacity)
        self.board = board._replace(batches=batches, graded=graded, noise=noise)
        self.board.run[0]["short"] = 0


@dataclass(slots=True)
class _Flat:
    """Flat arrays in the making: each part is told where it begins."""

    replicas: int = 0
    words: int = 0
    predict: list[int] = field(default_factory=list)
    state: list[int] = field(default_factory=list)
    ints: list[int] = field(default_factory=list)
    floats: list[float] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    devices: list[int] = field(default_factory=list)
    mean_ns: list[NDArray[np.float64]] = field(default_factory=list)
    ranks: list[float] = field(default_factory=list)
    pads: list[int] = field(default_factory=list)
    giving: list[int] = field(default_factory=list)
    links: int = 0
    levels: int = 0
    counts: int = 0
    missing: int = 0

    @property
    def means(self) -> int:
        return sum(map(len, self.mean_ns))


def prepare(pipeline: Pipeline, times: Sequence[Tabulated], workload: AnyWorkload) -> Prepared:
    """Lay a run out. Raises NotCompilableError where a policy has no compiled form."""
    n = len(workload)
    stages = np.zeros(len(pipeline.stages), STAGE)
    flat = _Flat()
    run = _run(pipeline, workload)
    for k, spec in enumerate(pipeline.stages):
        row = stages[k]
        _lay_stage(row, spec, pipeline, flat)
        _lay_rules(row, spec, flat)
        _lay_form(row, times[k].form(spec.max_batch), flat)
        _lay_queue(row, k, spec, pipeline, run, n, flat)
    _lay_predictions(stages, pipeline, flat)
    _lay_giving_up(stages, pipeline, flat)
    _lay_service_levels(run, stages, pipeline, flat)
    _lay_rivals(stages, pipeline)
    run["estimates"] = bool(stages["reads_estimates"].any())
    run["merges"] = any(
        stage.merge is not None and stage.merge.deadline_ns is not None for stage in pipeline.stages
    )
    run["ticking"] = bool((stages["tick"] > 0).any())
    capacity = max(_FIRST_CAPACITY, n // 8, 2 * int(stages["replicas"].max()) + 1)
    board = _board(pipeline, stages, run, flat, workload, capacity)
    board = board._replace(noise=_noise(board, times, capacity))
    return Prepared(pipeline, times, board)


def _run(pipeline: Pipeline, workload: AnyWorkload) -> Any:
    run = np.zeros(1, RUN)[0]
    parents = [name for stage in pipeline.stages for name in stage.parents]
    roots = [stage for stage in pipeline.stages if not stage.parents]
    run["requests"] = run["total"] = len(workload)
    run["sinks"] = sum(stage.name not in parents for stage in pipeline.stages)
    run["forked"] = len(roots) > 1 or run["sinks"] > 1 or len(parents) > len(set(parents))
    run["expire"] = pipeline.expire
    run["together"] = not pipeline.expire and all(
        root.queue_bound is None
        and root.admission is None
        and root.max_items is None
        and not root.policy.limits
        for root in roots
    )
    run["unit_items"] = bool((workload.items == 1).all())
    run["ends_ns"] = run["window_ns"] = pipeline.estimate_window_ns
    run["weight"] = pipeline.estimate_weight
    run["first"] = 1
    run["paced"] = 0
    run["deadline_after_ns"] = NEVER_NS
    if isinstance(workload, ClosedWorkload):
        run["closed"], run["together"] = 1, 0
        run["clients"] = workload.clients
        if workload.deadline_after_ns is not None:
            run["deadline_after_ns"] = workload.deadline_after_ns
    return run


def _lay_stage(row: Any, spec: Stage, pipeline: Pipeline, flat: _Flat) -> None:
    names = [stage.name for stage in pipeline.stages]
    devices = [device.name for device in pipeline.devices]
    row["idle_n"] = row["replicas"] = spec.replicas
    row["last_dispatch_ns"] = -1
    row["wake_size"], row["wake_ns"] = 1, NEVER_NS
    row["max_batch"] = spec.max_batch
    row["max_items"] = NO_SIZE if spec.max_items is None else spec.max_items
    row["queue_bound"] = NO_SIZE if spec.queue_bound is None else spec.queue_bound
    row["discipline"] = _DISCIPLINES[spec.discipline]
    row["guarded"] = pipeline.expire or spec.queue_bound is not None or spec.admission is not None
    row["is_root"], row["parents"] = not spec.parents, len(spec.parents)
    row["always_ready"] = not spec.device
    row["sheds"] = spec.policy.sheds
    row["plain"] = not spec.device and spec.max_items is None
    for read, name in (
        (Reads.ESTIMATES, "reads_estimates"),
        (Reads.DEADLINES, "reads_deadlines"),
        (Reads.NEXT_IDLE, "reads_next_idle"),
        (Reads.HEAD, "reads_head"),
        (Reads.NEWEST, "reads_newest"),
        (Reads.BATCH_OLDEST, "reads_batch_oldest"),
        (Reads.URGENT, "reads_urgent"),
    ):
        row[name] = read in pipeline.reads(spec)
    row["replica_at"] = flat.replicas
    flat.replicas += spec.replicas
    row["word_at"], row["word_n"] = flat.words, -(-spec.replicas // 64)
    flat.words += int(row["word_n"])
    children = [names.index(child.name) for child in pipeline.stages if spec.name in child.parents]
    row["child_at"], row["child_n"] = len(flat.children), len(children)
    flat.children += children
    mine = [devices.index(name) for name in dict.fromkeys(spec.device)]
    row["device_at"], row["device_n"] = len(flat.devices), len(mine)
    flat.devices += mine


def _lay_giving_up(stages: Any, pipeline: Pipeline, flat: _Flat) -> None:
    """What joins do without: by join the stages, by stage the joins; and where skipped branches end."""
    for k, spec in enumerate(pipeline.stages):
        if spec.skips_at:
            stages[k]["passed_at" if spec.by_request else "skips_at"] = spec.skips_at
            stages[k]["skip_join"], _ = end_of_branch(pipeline, k)
    joins = joins_that_give_up(pipeline)
    for join, before in joins:
        stages[join]["lost_at"], stages[join]["lost_n"] = len(flat.giving), len(before)
        flat.giving += before
    for k in range(len(stages)):
        by = [join for join, before in joins if k in before]
        stages[k]["gone_at"], stages[k]["gone_n"] = len(flat.giving), len(by)
        flat.giving += by
        if by:
            stages[k]["guarded"] = 1


def _lay_predictions(stages: Any, pipeline: Pipeline, flat: _Flat) -> None:
    service_ns = [predictions(stage) for stage in pipeline.stages]
    downstream = downstream_ns(pipeline, service_ns)
    for row, own_ns, after_ns in zip(stages, service_ns, downstream, strict=True):
        row["predict_at"] = len(flat.predict)
        flat.predict += own_ns
        row["downstream_at"] = len(flat.predict)
        flat.predict += after_ns


def _lay_rules(row: Any, spec: Stage, flat: _Flat) -> None:
    tick_ns = spec.policy.tick_ns
    addresses = rules_of(type(spec.policy)).addresses
    row["ask"] = addresses["ask"]
    row["tick"] = addresses.get("tick", 0) if tick_ns else 0
    row["observe"] = addresses.get("observe", 0)
    row["urgency"] = addresses.get("urgency", 0)
    row["tick_ns"], row["next_tick_ns"] = tick_ns, tick_ns or NEVER_NS
    _lay_parts(row, "", spec.policy, flat)
    if spec.admission is not None:
        row["admit"] = rules_of(type(spec.admission)).addresses["admit"]
        _lay_parts(row, "gate_", spec.admission, flat)
    if spec.degrades:
        row["levels_n"], row["costs_at"] = len(spec.levels), len(flat.floats)
        flat.floats += [level.cost for level in spec.levels]
        row["by_request"] = spec.by_request
        if spec.degrade is not None and not spec.by_request:
            row["degrade"] = rules_of(type(spec.degrade)).addresses["degrade"]
            _lay_parts(row, "brake_", spec.degrade, flat)


def _lay_service_levels(run: Any, stages: Any, pipeline: Pipeline, flat: _Flat) -> None:
    """The rule by which requests get theirs has one state, and is asked with the view of any stage."""
    if pipeline.degrade is None or not pipeline.chooses:
        return
    run["choose"] = rules_of(type(pipeline.degrade)).addresses["degrade"]
    run["service_levels_n"], run["together"] = len(pipeline.levels), 0
    _lay_parts(stages[0], "brake_", pipeline.degrade, flat)
    for name in (name for name in STAGE.names or () if name.startswith("brake_")):
        stages[name] = stages[0][name]


def _lay_parts(row: Any, whose: str, owner: Ruled, flat: _Flat) -> None:
    """Knobs and first state of a policy, an admission or a degradation."""
    ints, floats = rules_of(type(owner)).laid_out(owner)
    state = owner.initial_state()
    row[f"{whose}ints_at"], row[f"{whose}ints_n"] = len(flat.ints), len(ints)
    row[f"{whose}floats_at"], row[f"{whose}floats_n"] = len(flat.floats), len(floats)
    row[f"{whose}state_at"], row[f"{whose}state_n"] = len(flat.state), len(state)
    flat.ints += ints
    flat.floats += floats
    flat.state += state


def _lay_form(row: Any, form: Form | None, flat: _Flat) -> None:
    if isinstance(form, PaddedForm):
        row["padded"], row["pad_at"] = 1, len(flat.pads)
        flat.pads += form.sizes
        form = form.of
    _lay_times(row, form, flat)


def _lay_times(row: Any, form: Exact | None, flat: _Flat) -> None:
    if isinstance(form, ByMean):
        row["form"], row["noisy"] = layout.BY_MEAN, form.noisy
        row["mean_at"], row["per_item_ns"] = flat.means, form.per_item_ns
        flat.mean_ns.append(form.mean_ns)
        return
    row["noisy"] = 1
    if isinstance(form, ByScore):
        row["form"], row["by_items"], row["growth"] = layout.BY_SCORE, form.by_items, form.growth
        row["lowest"], row["per_score"] = form.lowest, form.per_score
        row["ranks_at"], row["places_n"] = len(flat.ranks), len(form.sizes)
        row["points_n"] = len(form.times_ns[0])
        flat.ranks += [*form.sizes, *chain.from_iterable(form.times_ns)]
        return
    if not isinstance(form, ByRank):
        row["form"] = layout.GIVEN
        return
    row["form"], row["paced"] = layout.BY_RANK, bool(form.pace_logs)
    row["base_ns"], row["per_request_ns"] = form.base_ns, form.per_request_ns
    row["per_item_ns"] = form.per_item_ns
    bins = []
    for ratios in form.ratios:
        bins.append(len(flat.ranks))
        flat.ranks += [len(ratios), *ratios]
    row["ranks_at"], row["places_n"] = len(flat.ranks), len(form.places)
    for low, high, weight in form.places:
        flat.ranks += [bins[low], bins[high], weight]
    row["pace_at"], row["pace_n"] = len(flat.ranks), len(form.pace_logs)
    flat.ranks += [*form.pace_logs, *form.pace_factors]


def _lay_queue(
    row: Any, k: int, spec: Stage, pipeline: Pipeline, run: Any, n: int, flat: _Flat
) -> None:
    """Requests may leave a queue early where they expire, or where another branch sheds them."""
    refuses = any(each.refuses for each in pipeline.stages)
    leaves = pipeline.expire or spec.policy.sheds or bool(run["forked"] and refuses)
    leaves |= any(k in before for _, before in joins_that_give_up(pipeline))
    leaves |= bool(spec.policy.limits)
    linked = leaves or spec.discipline is not Discipline.FIFO
    row["linked"] = linked
    row["implicit"] = row["is_root"] and not linked and not row["guarded"]
    row["entered_at"] = (k + 1) * n if run["forked"] else 0
    row["link_at"], row["level_at"], row["missing_at"] = flat.links, flat.levels, flat.missing
    if linked:
        row["head"] = row["tail"] = row["newest"] = row["oldest"] = -1
        flat.links += n
    row["leveled"], row["shortest_ns"] = spec.discipline is Discipline.PRIORITY, NEVER_NS
    if spec.policy.limits:
        _lay_limits(row, spec, flat)
    if row["discipline"] == layout.PRIORITY:
        flat.levels += 2 * LEVELS
    if len(spec.parents) > 1:
        flat.missing += n
        row["needed"] = (
            len(spec.parents) if spec.merge is None else spec.merge.needed(len(spec.parents))
        )
        row["within_ns"] = NEVER_NS if spec.merge is None else spec.merge.due_ns(0)


def _lay_limits(row: Any, spec: Stage, flat: _Flat) -> None:
    """A limited queue without levels is one with a single level."""
    limits = spec.policy.limits
    row["limits_at"], row["limits_n"] = len(flat.ints), len(limits)
    for limit in limits:
        flat.ints += [limit.timeout_ns, int(limit.puts_off), limit.bound]
    row["shortest_ns"] = min(
        (limit.timeout_ns for limit in limits if limit.timeout_ns), default=NEVER_NS
    )
    row["counts_at"] = flat.counts
    flat.counts += LEVELS
    if spec.discipline is Discipline.FIFO:
        row["discipline"] = layout.PRIORITY


def _lay_rivals(stages: Any, pipeline: Pipeline) -> None:
    """Stages that share a device and whose policies have a say in which of them is asked first."""
    for k, spec in enumerate(pipeline.stages):
        if stages[k]["urgency"] and spec.device:
            stages[k]["rivals"] = sum(
                1 << other
                for other, each in enumerate(pipeline.stages)
                if stages[other]["urgency"] and not set(spec.device).isdisjoint(each.device)
            )


def _board(
    pipeline: Pipeline, stages: Any, run: Any, flat: _Flat, workload: AnyWorkload, capacity: int
) -> Board:
    n = len(workload)
    k = len(stages)
    runs = np.zeros(1, RUN)
    replicas, words, idle_on = _replicas(pipeline, flat)
    means = flat.mean_ns or [np.zeros(1)]
    linked = bool(stages["linked"].any())
    skips = n if (stages["skips_at"] | stages["passed_at"]).any() else 0
    graded = bool((stages["degrade"] | stages["by_request"]).any())
    board = Board(
        run=runs,
        stages=stages,
        replicas=replicas,
        batches=np.empty((k, capacity), BATCH),
        graded=np.empty((k, capacity if graded else 0), np.int8),
        heap=np.zeros(flat.replicas + 1, EVENT),
        thinking=np.zeros(1, EVENT),
        words=words,
        free=np.array([device.slots for device in pipeline.devices] or [0], np.int64),
        idle_on=idle_on,
        devices=np.array(flat.devices or [0], np.int64),
        children=np.array(flat.children or [0], np.int64),
        arrival_ns=np.zeros(1, np.int64),
        deadline_ns=np.full(1, NEVER_NS),
        items=np.ones(1, np.int64),
        priority=np.zeros(1, np.int8),
        asked_items=np.ones(1, np.int64),
        asked_priority=np.zeros(1, np.int8),
        think_ns=np.zeros(1, np.int64),
        by_deadline=np.zeros(0, np.int32),
        moved_ns=np.empty((k + 1) * n if run["forked"] else n, np.int64),
        outcome=np.zeros(n, np.int8),
        why=np.zeros(n, np.int16),
        sent=np.empty((k, n), np.int32),
        left=np.empty((k, n if linked else 0), np.int32),
        skipped=np.empty((k, skips), np.int32),
        skipped_ns=np.empty((k, skips), np.int64),
        links=np.full((4, flat.links), _AWAY, np.int32),
        levels=np.full(flat.levels, -1, np.int32),
        counts=np.zeros(flat.counts, np.int32),
        put_off=np.zeros(flat.links if flat.counts else 0, np.int8),
        missing=np.zeros(flat.missing, np.int16),
        giving=np.array(flat.giving or [0], np.int64),
        service_level=np.zeros(n if run["choose"] else 0, np.int8),
        stage_levels=np.array([(0,) * k, *pipeline.levels], np.int64),
        branches_skipped=_branches_skipped(pipeline),
        sinks_done=np.zeros(n if run["sinks"] > 1 else 0, np.int16),
        scratch=np.empty((2, n), np.int32),
        noise=np.empty((0, 0)),
        pads=np.array(flat.pads or [0], np.int64),
        mean_ns=np.concatenate(means),
        ranks=np.array(flat.ranks, np.float64),
        predict_ns=np.array(flat.predict, np.int64),
        state=np.array(flat.state, np.int64),
        ints=np.array(flat.ints, np.int64),
        floats=np.array(flat.floats, np.float64),
        seen=np.zeros(layout.SEEN, np.int64),
    )
    if isinstance(workload, ClosedWorkload):
        board = _closed(board, run, workload)
    else:
        board = _open(board, run, workload)
    runs[0] = run
    return board


def _branches_skipped(pipeline: Pipeline) -> NDArray[np.int64]:
    """(service levels, stages): of each stage, the branches before it that are skipped."""
    found = np.zeros((len(pipeline.levels) + 1, len(pipeline.stages)), np.int64)
    if pipeline.chooses:
        for level, branches in enumerate(skipped_branches(pipeline)):
            for join, _ in branches:
                found[level, join] += 1
    return found


def _replicas(pipeline: Pipeline, flat: _Flat) -> tuple[Any, Any, Any]:
    """Replicas, all idle: their records, bits, and counts by device."""
    names = [device.name for device in pipeline.devices]
    replicas = np.zeros(flat.replicas, REPLICA)
    replicas["batch"] = replicas["ended_ns"] = replicas["on_device"] = -1
    words = np.zeros(flat.words, np.int64)
    idle_on = np.zeros((len(pipeline.stages), max(len(names), 1)), np.int64)
    at = word = 0
    for k, stage in enumerate(pipeline.stages):
        for index, name in enumerate(stage.device):
            replicas[at + index]["on_device"] = names.index(name)
            idle_on[k, names.index(name)] += 1
        for first in range(0, stage.replicas, 64):
            bits = min(64, stage.replicas - first)
            words[word] = -1 if bits == 64 else (1 << bits) - 1
            word += 1
        at += stage.replicas
    return replicas, words, idle_on


def _open(board: Board, run: Any, workload: Workload) -> Board:
    """Arrivals that are known ahead."""
    deadline_ns = workload.deadline_ns
    found: dict[str, Any] = {"arrival_ns": np.ascontiguousarray(workload.arrival_ns)}
    run["deadline_mask"] = 0
    if len(deadline_ns) and not (deadline_ns == NEVER_NS).all():
        run["deadline_mask"] = -1
        found["deadline_ns"] = np.ascontiguousarray(deadline_ns)
        run["finite"] = int((deadline_ns < NEVER_NS).sum())
        if run["expire"] and (np.diff(deadline_ns) < 0).any():
            found["by_deadline"] = np.argsort(deadline_ns, kind="stable").astype(np.int32)
    if not run["unit_items"]:
        found["items"] = np.ascontiguousarray(workload.items)
    found["priority"] = np.ascontiguousarray(workload.priority)
    return board._replace(**found)


def _closed(board: Board, run: Any, workload: ClosedWorkload) -> Board:
    """Clients of which the first have begun to think."""
    n = len(workload)
    finite = workload.deadline_after_ns is not None
    run["deadline_mask"] = -1 if finite else 0
    run["finite"] = n if finite else 0
    first = min(workload.clients, n)
    thinking = np.zeros(max(first, 1), EVENT)
    thinking["at_ns"][:first] = workload.think_ns[:first]
    thinking["code"][:first] = np.arange(first)
    thinking[:first] = np.sort(thinking[:first], order=["at_ns", "code"])  # a sorted list is a heap
    run["think_n"] = run["sent"] = first
    return board._replace(
        thinking=thinking,
        arrival_ns=np.empty(n, np.int64),
        deadline_ns=np.empty(n, np.int64) if finite else board.deadline_ns,
        items=np.ones(n, np.int64),
        priority=np.zeros(n, np.int8),
        asked_items=np.ascontiguousarray(workload.items),
        asked_priority=np.ascontiguousarray(workload.priority),
        think_ns=np.ascontiguousarray(workload.think_ns),
    )


def _noise(board: Board, times: Sequence[Tabulated], capacity: int) -> NDArray[np.float64]:
    """The noise of the first batches of each stage; a row that is not read stays empty."""
    noise = np.empty((len(times), capacity))
    for k, each in enumerate(times):
        if board.stages[k]["noisy"]:
            noise[k] = each.draws(capacity)
    return noise
