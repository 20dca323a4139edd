"""Why requests waited: parts that sum exactly, against a scan of every nanosecond, and what is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import delayline
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.pipeline import Device, Pipeline, Stage
from policies.runlog import Outcome, RunLog
from policies.workload import Workload
from reports.explain import AT_ONCE, Explained, VisitTold, explain
from reports.paths import ANSWER, joins, paths, sinks
from reports.reasons import LOST, REASONS, REPLICA, SERVICE, SIZE, SLOT, TIME, visit_reasons
from reports.shares import attribute, groups, shares, slowest
from reports.waits import visit_times
from sim.simulate import run as simulated
from tests.command_line import TWO_STAGES, Run, agrees, runner, written
from tests.pipeline_strategies import ARRIVALS, pipelines, workload_of
from tests.run_maker import chain, diamond
from tests.test_hedge import hedged_pipelines, times
from tests.test_simpy_driver import Affine


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@st.composite
def logs(draw: st.DrawFn) -> RunLog:
    """Runs of generated pipelines on generated arrivals."""
    pipeline = draw(st.one_of(pipelines(), hedged_pipelines()))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    firsts = [rng.integers(0, 40, 99).tolist() for _ in pipeline.stages]
    drawn = times(*((first, rng.integers(0, 9, 99).tolist()) for first in firsts))
    return simulated(pipeline, drawn, workload_of(draw(ARRIVALS)))


LOSSY = [diamond(seed, 120, loss=0.2) for seed in range(3)] + [chain(2, 150)]


def all_ways(log: RunLog, found: Explained) -> Iterator[list[VisitTold]]:
    """Every way of a request from a root to an end of the graph."""
    told = {visit.stage: visit for visit in found.visits}
    parents = {stage.name: stage.parents for stage in log.stages}

    def back(name: str) -> Iterator[list[VisitTold]]:
        if not parents[name]:
            yield [told[name]]
        for parent in parents[name]:
            merges = told[parent].merges if parent in told else ()
            if len(parents[name]) > 1 and all(merge.join != name for merge in merges):
                continue
            for way in back(parent):
                yield [*way, told[name]]

    for index in sinks(log):
        yield from back(log.stages[index].name)


def sums_to_latency(log: RunLog, request: int) -> None:
    found = explain(log, request, paths(log))
    for visit in found.visits:
        assert sum(visit.parts.values()) == visit.over_ns - visit.enqueued_ns
        assert min(visit.parts.values()) >= 0, visit
    if found.outcome != Outcome.COMPLETED:
        assert found.reason or found.outcome == Outcome.PENDING
        return
    ways = list(all_ways(log, found))
    for way in ways:
        spent = found.late_ns + sum(sum(visit.parts.values()) for visit in way)
        for visit, after in zip(way, [*(each.stage for each in way[1:]), ANSWER], strict=True):
            spent += sum(merge.wait_ns for merge in visit.merges if merge.join == after)
        assert spent == found.latency_ns, way
    assert [visit for visit in found.visits if visit.critical] in ways


@given(logs(), st.data())
def test_every_way_through_the_graph_sums_to_the_latency(log: RunLog, data: st.DataObject) -> None:
    sums_to_latency(log, data.draw(st.integers(0, len(log.requests) - 1)))


@pytest.mark.parametrize("log", LOSSY)
def test_it_sums_where_replicas_are_lost(log: RunLog) -> None:
    for request in range(0, len(log.requests), 7):
        sums_to_latency(log, request)


@given(logs())
def test_parts_are_those_of_a_scan_of_every_nanosecond(log: RunLog) -> None:
    for index in range(len(log.stages)):
        check_scan(log, index)


@pytest.mark.parametrize("log", LOSSY)
def test_parts_are_those_of_a_scan_where_replicas_are_lost(log: RunLog) -> None:
    for index in range(len(log.stages)):
        check_scan(log, index)


def check_scan(log: RunLog, index: int) -> None:
    """Replicas and slots, nanosecond by nanosecond, in plain loops."""
    stage = log.stages[index]
    free, idle = scanned(log, index)
    visits, batches = visit_reasons(log, index), stage.batches
    sends = set(batches.dispatched_ns.tolist())
    entries = set(visits.enqueued_ns.tolist())
    for at in range(len(visits.request)):
        row, ended_ns = int(visits.row[at]), int(log.requests.ended_ns[visits.request[at]])
        number = -1 if row < 0 else int(batches.batch[row])
        mine = [r for r in range(len(batches.batch)) if batches.batch[r] == number]
        lost = [r for r in mine if batches.lost[r]]
        served = row >= 0 and not batches.lost[row]
        left_ns = (
            int(batches.dispatched_ns[row]) if served else given_up_ns(log, index, at, ended_ns)
        )
        if served and left_ns < batches.finished_ns[mine[0]]:  # the first attempt, or a copy of it
            left_ns, lost = int(batches.dispatched_ns[mine[0]]), []
        expected = dict.fromkeys(REASONS, 0)
        expected[SERVICE] = int(batches.finished_ns[row]) - left_ns if served else 0
        for now in range(int(visits.enqueued_ns[at]), left_ns):
            if any(batches.dispatched_ns[r] <= now < batches.finished_ns[r] for r in lost):
                expected[LOST] += 1
            elif free[now]:
                until = now + 1
                while until not in sends and until < len(free) and free[until]:
                    until += 1
                expected[SIZE if until in sends and until in entries else TIME] += 1
            else:
                expected[SLOT if idle[now] else REPLICA] += 1
        assert {reason: int(values[at]) for reason, values in visits.parts.items()} == expected


def given_up_ns(log: RunLog, index: int, at: int, ended_ns: int) -> int:
    """When a request left a queue unserved: as it ended, or as a join behind went on without it."""
    request = log.stages[index].visits.made().request[at]
    behind = {log.stages[index].name}
    for stage in log.stages:
        if behind.intersection(stage.parents):
            behind.add(stage.name)
            visits = stage.visits.made()
            ended_ns = min([ended_ns, *visits.enqueued_ns[visits.request == request].tolist()])
    return ended_ns


def scanned(log: RunLog, index: int) -> tuple[list[bool], list[bool]]:
    """Whether the stage could send, and whether a replica was idle, in each nanosecond."""
    stage, length = log.stages[index], log.end_ns + 1
    running = np.zeros((len(log.devices), length), int)
    away = np.zeros((stage.replicas, length), bool)
    for other in log.stages:
        for replica, start, end in zip(
            other.batches.replica,
            other.batches.dispatched_ns,
            other.batches.finished_ns,
            strict=True,
        ):
            running[other.replica_devices[replica], start:end] += 1
            if other is stage:
                away[replica, start:end] = True
    for replica, start, end in stage.down:
        away[replica, start : length if end < 0 else end] = True
    slots = np.array([device.slots for device in log.devices])[:, None]
    has_slot = (running < slots)[list(stage.replica_devices)]
    free, idle = np.any(~away & has_slot, axis=0), np.any(~away, axis=0)
    return [bool(each) for each in free], [bool(each) for each in idle]


@given(logs())
def test_holds_are_the_metric_s_and_shares_sum_to_the_mean(log: RunLog) -> None:
    found = attribute(log)
    for index, visits in enumerate(found.visits):
        parts = visit_times(log, index)
        held = dict(
            zip(
                visits.request.tolist(),
                (visits.parts[SIZE] + visits.parts[TIME]).tolist(),
                strict=True,
            )
        )
        assert [held[request] for request in parts.request.tolist()] == parts.hold_ns.tolist()
    everyone, slow = groups(found)
    if everyone.any():
        for group in (everyone, slow):
            told = shares(found, group)
            whole = told.late_ns + told.merge_ns + sum(stage.total_ns for stage in told.stages)
            assert whole == pytest.approx(told.latency_ns)
            for join, of in zip(told.joins, joins(log), strict=True):
                # Nobody may have got to a join whose own branch another one goes on without.
                reached = int((found.paths.entered_ns[of.index, group] >= 0).any())
                assert sum(join.last.values()) == pytest.approx(reached)
        first = slowest(found, 1)[0]
        assert found.latency_ns[first] == found.latency_ns[everyone].max()


def one_stage(policy: Fixed | Immediate, arrivals: list[int], **more: object) -> RunLog:
    """One stage, batches of 10 ns."""
    stage = Stage(name="s", policy=policy, predict_ns=lambda n: 10, **more)  # type: ignore[arg-type]
    return simulated(Pipeline((stage,)), [Affine(10, 0)], Workload.of(np.array(arrivals, np.int64)))


def parts(log: RunLog, request: int, stage: int = 0) -> dict[str, int]:
    told = explain(log, request).visits[stage].parts
    return {reason: ns for reason, ns in told.items() if ns}


def test_a_hold_ends_by_its_size_or_by_its_time() -> None:
    log = one_stage(Fixed(delay_ns=50, size=3), [0, 20, 30, 100, 110], max_batch=4)
    assert parts(log, 0) == {SIZE: 30, SERVICE: 10}
    assert parts(log, 2) == {SERVICE: 10}
    assert parts(log, 3) == {TIME: 50, SERVICE: 10}
    assert parts(log, 4) == {TIME: 40, SERVICE: 10}
    batches = [visit.batch for request in (0, 3) for visit in explain(log, request).visits]
    assert [batch.went for batch in batches if batch] == [SIZE, TIME]


def test_a_request_waits_for_a_replica() -> None:
    log = one_stage(Immediate(), [0, 4], max_batch=1)
    assert parts(log, 1) == {REPLICA: 6, SERVICE: 10}
    told = [explain(log, request).visits[0].batch for request in (0, 1)]
    assert [batch.went for batch in told if batch] == [AT_ONCE, REPLICA]


def test_a_request_waits_for_a_slot_and_a_hold_that_is_cut_short_ended_by_time() -> None:
    gpu = Device("gpu", 1)
    predict, on = (lambda n: 10), ("gpu",)
    stages = (
        Stage(name="a", policy=Immediate(), predict_ns=predict, device=on),
        Stage(
            name="b",
            policy=Fixed(delay_ns=8),
            predict_ns=predict,
            max_batch=4,
            device=on,
            parents=("a",),
        ),
    )
    log = simulated(
        Pipeline(stages, (gpu,)), [Affine(10, 0)] * 2, Workload.of(np.array([0, 13], np.int64))
    )
    assert parts(log, 0, 1) == {TIME: 3, SLOT: 10, SERVICE: 10}  # b holds until a takes the slot


def test_a_branch_that_is_done_waits_for_the_one_that_makes_it_late() -> None:
    stages = (
        Stage(name="fast", policy=Immediate(), predict_ns=lambda n: 10),
        Stage(name="slow", policy=Immediate(), predict_ns=lambda n: 30),
        Stage(name="join", policy=Immediate(), predict_ns=lambda n: 5, parents=("fast", "slow")),
    )
    service = [Affine(10, 0), Affine(30, 0), Affine(5, 0)]
    log = simulated(Pipeline(stages), service, Workload.of(np.zeros(1, np.int64)))
    fast, slow, join = explain(log, 0).visits
    assert [(m.join, m.wait_ns, m.slowest) for m in fast.merges] == [("join", 20, "slow")]
    assert (slow.merge_ns, slow.critical, fast.critical, join.critical) == (0, True, False, True)
    assert [each.name for each in joins(log)] == ["join"]
    told = shares(attribute(log), np.ones(1, np.bool_)).joins[0]
    assert (told.merge_ns, told.last) == (20.0, {"fast": 0.0, "slow": 1.0})


def test_companions_and_what_the_oldest_waited() -> None:
    log = one_stage(Fixed(delay_ns=50, size=3), [0, 20, 30], max_batch=4)
    (visit,) = explain(log, 1).visits
    batch = visit.batch
    assert batch is not None
    assert [each.request for each in batch.members] == [0, 1, 2]
    assert (batch.oldest.request, batch.oldest.waited_ns, batch.max_batch) == (0, 30, 4)


def test_dropped_requests_say_why_and_where() -> None:
    log = diamond(1, 300, bound=3)
    outcomes = set(log.requests.outcome.tolist()) - {Outcome.COMPLETED}
    assert Outcome.SHED in outcomes
    for outcome in outcomes:
        request = int(np.argmax(log.requests.outcome == outcome))
        found = explain(log, request)
        assert (found.outcome, found.reason) == (outcome, log.requests.reasons[request])
        for visit in found.visits:
            assert not visit.critical
            assert not visit.merges
    with pytest.raises(ValueError, match="the run has no request 300; they are 0 to 299"):
        explain(log, 300)


SHARED = """
name: forked
seed: 2
workload: {arrivals: {kind: poisson, rate: 1500/s}, requests: 1500, deadline: 40ms, expire: true}
objective: {latency: 20ms}
devices: {gpu: {slots: 1}}
stages:
  - {name: parse, service: {kind: deterministic, mean: 200us}}
  - {name: left, after: parse, device: gpu, service: {kind: affine, base: 1ms, per_request: 50us}, delay: 1ms}
  - {name: right, after: parse, replicas: 2, service: {kind: deterministic, mean: 1ms}, queue_bound: 2}
  - {name: rank, after: [left, right], device: gpu, service: {kind: affine, base: 1ms, per_request: 50us}}
"""


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("explained")
    config = delayline.load_config(written(folder, SHARED, "forked.yaml"))
    delayline.write_run(folder / "run", delayline.run_of(config, delayline.simulate(config)))
    return folder / "run"


def test_a_person_reads_where_the_time_went(run: Run, recorded: Path, tmp_path: Path) -> None:
    said = [
        run("explain", recorded),
        run("explain", recorded, "--slowest", 4),
        run("explain", recorded, "--stage", "rank"),
        run("explain", recorded, "--request", 812),
        run("explain", recorded, "--request", 812, "--stage", "left"),
    ]
    assert {(each.code, each.err) for each in said} == {(0, "")}
    agrees("explain", "\n".join(each.out for each in said), tmp_path)


def test_a_shed_request_is_told(run: Run, recorded: Path) -> None:
    outcome = delayline.read_run(recorded).log.requests.outcome
    request = int(np.argmax(outcome == Outcome.SHED))
    said = run("explain", recorded, "-r", request)
    assert "was never answered: the queue of right was full (2 waiting)" in said.out
    assert run("explain", recorded, "-r", request, "--json").object["outcome"] == "shed"


def test_objects_hold_whole_nanoseconds(run: Run, recorded: Path) -> None:
    found = run("explain", recorded, "--request", 812, "--json").object
    path = [visit for visit in found["visits"] if visit["critical"]]
    spent = sum(sum(visit["parts_ns"].values()) for visit in path)
    assert spent + found["late_ns"] == found["latency_ns"]
    assert all(isinstance(ns, int) for visit in path for ns in visit["parts_ns"].values())
    whole = run("explain", recorded, "--json").object
    assert list(whole["groups"]) == ["all", "slowest"]
    assert len(run("explain", recorded, "--slowest", 7, "--json").object["slowest"]) == 7
    stage = run("explain", recorded, "--stage", "rank", "--json").object
    assert stage["parts"]["all"]["max_ns"] >= stage["parts"]["all"]["p99_ns"]


def test_wrong_input_is_told_in_a_line(run: Run, recorded: Path, tmp_path: Path) -> None:
    assert run("explain", tmp_path).error == (
        f"{tmp_path} is not the folder of a run; give one that `simulate --out` or `run --out` wrote"
    )
    assert run("explain", recorded, "-r", 1500).error == (
        "the run has no request 1500; they are 0 to 1499"
    )
    assert run("explain", recorded, "--stage", "rnk").error == (
        "--stage rnk: there is no such stage; did you mean `rank`?"
    )
    assert run("explain", recorded, "-r", 1, "--slowest", 1).error == (
        "--request and --slowest are two questions; ask one of them"
    )
    path = written(tmp_path, TWO_STAGES)
    run("simulate", path, "-n", 2, "--out", tmp_path / "several", "--quiet")
    assert "holds 2 replications; name one of them" in run("explain", tmp_path / "several").error


def test_a_run_in_which_nothing_was_answered(run: Run, tmp_path: Path) -> None:
    text = """
name: late
workload: {arrivals: 100/s, requests: 3, deadline: 1ms, expire: true}
stages: [{name: s, delay: 9s}]
"""
    path, out = written(tmp_path, text, "late.yaml"), tmp_path / "run"
    assert run("simulate", path, "--out", out, "--quiet").code == 0
    said = run("explain", out)
    assert (said.code, said.err) == (0, "")
    assert "not answered: 3 expired; the first was 0 (its deadline passed" in said.out
    assert run("explain", out, "--json").object["groups"] == {}
    assert run("explain", out, "--slowest", 3, "--json").object["slowest"] == []
    assert run("explain", out, "--stage", "s").code == 0
    assert "held for" in run("explain", out, "-r", 0).out
