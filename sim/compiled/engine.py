"""Run a pipeline on the compiled driver, or say why it cannot be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from policies.contract import View
from policies.pipeline import Pipeline
from policies.runlog import RunLog
from policies.scheduler import PolicyError
from policies.workload import Workload
from sim.compiled.driver import loop
from sim.compiled.layout import MORE, MOST_STAGES, NONSENSE, Board
from sim.compiled.outcome import log_of
from sim.compiled.pointers import table_of
from sim.compiled.prepare import AnyWorkload, Prepared, prepare
from sim.compiled.rules import NotCompilableError, rules_of
from sim.service_times import ServiceTimes, Tabulated

_MOST_REQUESTS = 2**31 - 1


def obstacle(pipeline: Pipeline, times: Sequence[ServiceTimes], requests: int) -> str | None:
    """Why a pipeline runs on the reference driver; None where it compiles."""
    if len(pipeline.stages) > MOST_STAGES:
        return f"the pipeline has more than {MOST_STAGES} stages"
    if requests > _MOST_REQUESTS:
        return f"the run has more than {_MOST_REQUESTS:,} requests"
    if pipeline.supersede:
        return "requests supersede one another"
    if pipeline.degrade is not None:
        try:
            rules_of(type(pipeline.degrade)).laid_out(pipeline.degrade)
        except (NotCompilableError, OverflowError) as error:
            return str(error)
    for stage, each in zip(pipeline.stages, times, strict=True):
        if stage.hedge is not None:
            return f"stage {stage.name}: its batches are hedged"
        if stage.autoscale is not None:
            return f"stage {stage.name}: its replicas come and go"
        if stage.coalesce is not None:
            return f"stage {stage.name}: it coalesces requests of one key"
        if stage.locality is not None:
            return f"stage {stage.name}: it chooses replicas by what they hold"
        if not isinstance(each, Tabulated) or each.form(stage.max_batch) is None:
            return f"stage {stage.name}: its service times have no compiled form"
        try:
            rules_of(type(stage.policy)).laid_out(stage.policy)
            if stage.admission is not None:
                rules_of(type(stage.admission)).laid_out(stage.admission)
            if stage.degrade is not None:
                rules_of(type(stage.degrade)).laid_out(stage.degrade)
        except (NotCompilableError, OverflowError) as error:
            return f"stage {stage.name}: {error}"
    return None


def run(
    pipeline: Pipeline,
    times: Sequence[Tabulated],
    workload: AnyWorkload,
    info: dict[str, object],
) -> RunLog:
    """Run until every request has ended.

    Raises NotCompilableError, and PolicyError for a rule whose answer makes no sense. Lets go of the
    interpreter while it runs, so that threads run at once.
    """
    prepared = prepare(pipeline, times, workload)
    turn = loop()
    while True:
        table = table_of(prepared.board)
        why = turn(table.ctypes.data)
        if why != MORE:
            break
        prepared.grow()
    if why == NONSENSE:
        raise _error(prepared)
    log = log_of(prepared, info)
    keys = workload.keys if isinstance(workload, Workload) else None
    return log if keys is None else replace(log, requests=replace(log.requests, keys=keys))


def _error(prepared: Prepared) -> PolicyError:
    board = prepared.board
    answer = board.run[0]
    k = int(answer["answer_stage"])
    spec = prepared.pipeline.stages[k]
    return PolicyError(
        spec.name,
        spec.policy,
        _seen(board, k),
        int(answer["now_ns"]),
        (int(answer["answer_n"]), int(answer["answer_until_ns"]), int(answer["answer_size"])),
    )


def _seen(board: Board, k: int) -> View:
    row = board.stages[k]
    loads = [float(row[name]) for name in ("rate_hz", "load", "pipeline_load")]
    seen = board.seen.tolist()
    return View._make(
        [
            *seen[:11],
            *loads,
            _table(board, k, "predict_at"),
            *seen[11:15],
            _table(board, k, "downstream_at"),
            *seen[15:],
        ]
    )


def _table(board: Board, k: int, at: str) -> tuple[int, ...]:
    """A stage's predictions, which lie from there."""
    first = int(board.stages[k][at])
    return tuple(board.predict_ns[first : first + int(board.stages[k]["max_batch"]) + 1].tolist())
