"""The torch executor: a pipeline on worker processes, ready to run workloads or to serve requests."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from executors.dispatcher import lateness
from executors.levels import Cheaper, served_levels
from executors.load import carried_by, generator
from executors.payloads import check_inputs
from executors.placement import Place, Placement, Places, place
from executors.processes import ProcessTransport
from executors.realtime import steady_interpreter
from executors.replica import Replica, close_all
from executors.running import Collector, Progress, RunResult, drive
from executors.session import ExecutorError, LiveSession, Session
from executors.slab import Columns, Layout
from executors.stage_model import ModelSource
from executors.startup import client_specs, sample_clients, warm_up
from executors.wiring import Wiring, wire
from executors.worker import Job
from policies.merge_side_by_side import SideBySide
from policies.pipeline import Pipeline
from policies.runlog import RunLog
from policies.workload import ClosedWorkload, Workload

_SAMPLE_ROWS = 1024


class Executor:
    """A context manager: entering starts the workers and warms them up, leaving ends them.

    ``sources``, ``keep`` and ``levels`` are by stage name; a stage whose levels are not given is served in
    full at all of them. ``respawn`` replaces workers that die. ``spin_ns`` is how long before a timer the
    dispatcher stops sleeping and looks at the clock instead; 0 to sleep only.
    Raises PlacementError, WiringError or WorkerError where the pipeline cannot be brought up.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        sources: Mapping[str, ModelSource],
        *,
        keep: Mapping[str, int | None] | None = None,
        levels: Mapping[str, Sequence[Cheaper]] | None = None,
        placement: Placement | None = None,
        respawn: bool = True,
        spin_ns: int = 50_000,
        seed: int = 0,
    ) -> None:
        names = [stage.name for stage in pipeline.stages]
        for name in names:
            if name not in sources:
                raise ExecutorError(f"stage {name} has no model; give it one to run it on torch")
        self.pipeline = pipeline
        self.places: Places = place(pipeline, placement or Placement())
        self._sources = [sources[name] for name in names]
        self._keep = [(keep or {}).get(name) for name in names]
        self._levels = [
            tuple((levels or {}).get(stage.name) or (Cheaper(),) * served_levels(stage))
            for stage in pipeline.stages
        ]
        self._respawn = respawn
        self._spin_ns = spin_ns
        self._seed = seed
        self._replicas: list[list[Replica]] = []
        self._transport: ProcessTransport | None = None
        self._wiring: Wiring | None = None
        self._live: LiveSession | None = None
        self._busy = threading.Lock()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            everyone = [replica for row in self._replicas for replica in row]
            for replica in everyone:
                replica.kill()
            close_all(everyone)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if self._live is not None:
                self.finish(cancel=error is not None)
        finally:
            if self._transport is not None:
                self._transport.close()
            self._transport = None

    def sample_inputs(self, count: int, seed: int | None = None) -> Columns:
        """Inputs of ``count`` requests, as the models' sources make them."""
        rng = np.random.default_rng(self._seed if seed is None else seed)
        return sample_clients(self.pipeline, self._sources, rng, count)

    def fingerprint(self) -> str:
        """A digest of what the models are and how they run: sources, batch sizes, threads, devices,
        merges.
        """
        parts = [
            (
                stage.name,
                stage.max_batch,
                source,
                keep,
                [(at.threads, at.torch_device) for at in where],
                *([] if stage.merge is None else [stage.merge.how]),
            )
            for stage, source, keep, where in zip(
                self.pipeline.stages, self._sources, self._keep, self.places.replicas, strict=True
            )
        ]
        return hashlib.blake2b(repr(parts).encode(), digest_size=8).hexdigest()

    def worker_pids(self, stage: str) -> list[int]:
        """Process ids of a stage's replicas."""
        names = [one.name for one in self.pipeline.stages]
        return [replica.pid for replica in self._replicas[names.index(stage)]]

    def run(
        self,
        workload: Workload | ClosedWorkload,
        inputs: Mapping[str, NDArray[Any]] | None = None,
        *,
        pipeline: Pipeline | None = None,
        keep_answers: bool = True,
        drain_s: float = 10.0,
        progress: Progress | None = None,
        info: Mapping[str, object] | None = None,
    ) -> RunResult:
        """Send a workload and wait until all of it has ended.

        Request k carries row k of ``inputs``, which start over at their end. By default they are a sample,
        of which a request that has a key carries its key's row: requests of one key are then the same.
        ``pipeline`` may set other policies, bounds and predictions than the one that is up. Ctrl-C stops
        sending, gives what is under way ``drain_s`` to end (a second Ctrl-C: no time), fails the rest
        as interrupted, and returns what there is.
        """
        transport, wiring = self._up()
        chosen = self._variant(pipeline)
        if workload.keys is None and (need := chosen.needs_keys):
            raise ExecutorError(f"{need}, and the workload has no keys; give it some")
        sampled = inputs is None
        if inputs is None:
            inputs = self.sample_inputs(min(max(len(workload), 1), _SAMPLE_ROWS))
        check_inputs(wiring, inputs, rows=None)
        if not self._busy.acquire(blocking=False):
            raise ExecutorError("the executor is busy; finish the run or the session that is on")
        try:
            sent = {name: inputs[name] for name in wiring.client}
            by_key = sampled and workload.keys is not None
            source = generator(workload, sent, by_key=by_key)
            sink = Collector(wiring, len(workload) if keep_answers else 0, source)
            cores = self.places.dispatcher_cores
            lost, failures = transport.lost, len(transport.failures)
            with steady_interpreter():
                session = Session(chosen, wiring, transport, sink, cores)
                interrupted = drive(session, source, cores, len(workload), drain_s, progress)
            facts = {
                **self._facts(),
                "late_sends": lateness(source.late_ns),
                "interrupted": interrupted,
                "workers_lost": transport.lost - lost,
                "revival_failures": transport.failures[failures:],
            }
            log = session.log({**facts, **(info or {})})
        finally:
            self._busy.release()
        carried = carried_by(log.requests, sent, by_key=by_key) if keep_answers else {}
        return RunResult(log, sink.answers, carried, interrupted)

    def serve(self, *, pipeline: Pipeline | None = None) -> LiveSession:
        """Begin to serve requests as they are submitted; end it by :meth:`finish`."""
        transport, wiring = self._up()
        chosen = self._variant(pipeline)
        if not self._busy.acquire(blocking=False):
            raise ExecutorError("the executor is busy; finish the run or the session that is on")
        try:
            live = LiveSession(
                chosen, wiring, transport, self.places.dispatcher_cores, self._facts()
            )
        except BaseException:
            self._busy.release()
            raise
        self._live = live
        return live

    def finish(self, *, cancel: bool = False) -> RunLog:
        """End what :meth:`serve` began, and return its log."""
        live, self._live = self._live, None
        if live is None:
            raise ExecutorError("nothing is being served; call serve() first")
        try:
            return live.close(cancel=cancel)
        finally:
            self._busy.release()

    def _up(self) -> tuple[ProcessTransport, Wiring]:
        if self._transport is None or self._wiring is None:
            raise ExecutorError(
                "the executor is not up; use it as `with Executor(...) as executor:`"
            )
        return self._transport, self._wiring

    def _start(self) -> None:
        self._replicas = [
            [Replica(Job(stage.name, source, keep, where, levels)) for where in places]
            for stage, source, keep, levels, places in zip(
                self.pipeline.stages,
                self._sources,
                self._keep,
                self._levels,
                self.places.replicas,
                strict=True,
            )
        ]
        everyone = [replica for row in self._replicas for replica in row]
        for replica in everyone:
            replica.launch()
        loaded = [[replica.loaded() for replica in row] for row in self._replicas]
        specs = [of_stage[0] for of_stage in loaded]
        rows = max(stage.max_batch for stage in self.pipeline.stages)
        sample = self.sample_inputs(rows)
        self._wiring = wiring = wire(self.pipeline, specs, client_specs(sample))
        for number, stage in enumerate(self.pipeline.stages):
            outputs = wiring.models[number].outputs
            layout = Layout(wiring.memory[number], outputs, stage.max_batch)
            for replica in self._replicas[number]:
                replica.attach(layout, wiring.joins[number])
        warm_up(wiring, self._replicas, sample, rows)
        self._transport = ProcessTransport(
            self._replicas, respawn=self._respawn, spin_ns=self._spin_ns
        )

    def _variant(self, pipeline: Pipeline | None) -> Pipeline:
        """A pipeline that the workers that are up can serve."""
        if pipeline is None:
            return self.pipeline
        mine, other = _frame(self.pipeline), _frame(pipeline)
        if mine != other:
            raise ExecutorError(
                "a run's pipeline must have the stages, replicas, devices and graph of the one that is "
                f"up, {mine}; it has {other}"
            )
        for stage, up, levels in zip(
            pipeline.stages, self.pipeline.stages, self._levels, strict=True
        ):
            if (stage.merge or SideBySide()).how != (up.merge or SideBySide()).how:
                raise ExecutorError(
                    f"stages.{stage.name}.merge: the workers that are up merge otherwise; only quorum and"
                    " deadline may differ. Start the executor with this merge"
                )
            if served_levels(stage) > len(levels):
                raise ExecutorError(
                    f"stages.{stage.name}.levels: the workers that are up serve {len(levels)} cheaper levels,"
                    f" not {served_levels(stage)}; start the executor with them"
                )
            if stage.max_batch > up.max_batch:
                raise ExecutorError(
                    f"stages.{stage.name}.max_batch: the workers that are up hold batches of "
                    f"{up.max_batch}, not {stage.max_batch}; start the executor with the larger one"
                )
        return pipeline

    def _facts(self) -> dict[str, object]:
        """What is true of every run of this executor."""
        stages = zip(self.pipeline.stages, self.places.replicas, strict=True)
        return {
            "engine": "torch",
            "placement": {
                "dispatcher": list(self.places.dispatcher_cores),
                **{stage.name: [_said(where) for where in places] for stage, places in stages},
            },
        }


def _frame(pipeline: Pipeline) -> list[tuple[object, ...]]:
    """What workers are bound to."""
    return [(stage.name, stage.replicas, stage.device, stage.parents) for stage in pipeline.stages]


def _said(where: Place) -> dict[str, object]:
    facts: dict[str, object] = {"cores": list(where.cores), "threads": where.threads}
    return facts if where.cuda is None else {**facts, "cuda": where.cuda}
