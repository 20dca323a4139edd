"""Settings that a server would refuse, or theory cannot serve: one line each, with place and bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import Run, runner, written

ONE = """
name: one
workload: {arrivals: {kind: poisson, rate: 600/s}, requests: 500}
objective: {latency: 30ms, percentile: 99}
stages:
  - name: rank
    max_batch: 16
    service: {kind: affine, base: 4ms, per_request: 500us}
    policy: {kind: triton, max_queue_delay: 5ms}
"""
LOW = "kind: tf_serving, low_priority_max_batch_size: 8"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.mark.parametrize(
    ("policy", "told"),
    [
        (
            "{kind: triton, preferred_batch_size: [4, 32]}",
            ": preferred_batch_size must be at most max_batch (16), not 32",
        ),
        (
            "{kind: triton, queue_timeout: -5ms}",
            ".queue_timeout: must not be negative, but is -5ms",
        ),
        (
            "{kind: triton, timeout_action: drop}",
            ".timeout_action: must be one of reject, delay; not 'drop'",
        ),
        (
            # a uint32 in model_config.proto
            "{kind: triton, max_queue_size: 5000000000}",
            ".max_queue_size: must be at most 4294967295, not 5000000000",
        ),
        (
            "{kind: triton, priority_queue_policy: [{timeout: -1ms}]}",
            ".priority_queue_policy[0].timeout: must not be negative, but is -1ms",
        ),
        (
            "{kind: tf_serving, low_priority_max_batch_size: 32}",
            ": low_priority_max_batch_size must be at most max_batch (16), not 32",
        ),
        (
            f"{{{LOW}}}",
            ": low_priority_max_enqueued_batches must be at least 1 where low_priority_max_batch_size"
            " is set, not 0: every request of low priority would be refused",
        ),
        (
            "{kind: tf_serving, mixed_priority_batching_policy: merge}",
            ".mixed_priority_batching_policy: must be one of low_priority_padding_with_max_batch_size,"
            " low_priority_padding_with_next_allowed_batch_size, priority_isolation, priority_merge;"
            " not 'merge'",
        ),
        ("{kind: mosec, max_wait_time: -1ms}", ".max_wait_time: must not be negative, but is -1ms"),
        ("{kind: litserve, batch_timeout: 31s}", ".batch_timeout: must be at most 30s, not 31s"),
        ("{kind: bentoml, max_latency: 0ms}", ".max_latency: must be more than 0ms, not 0ms"),
    ],
)
def test_what_a_server_would_refuse(run: Run, tmp_path: Path, policy: str, told: str) -> None:
    setting = f"stages.rank.policy={policy}"
    error = run("simulate", written(tmp_path, ONE), "--set", setting).error
    assert error == f"--set {setting}: stages.rank.policy{told}"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            ["policy={kind: triton, priority_queue_policy: [{timeout: 5ms}]}"],
            "priority_queue_policy needs discipline: priority; without levels give queue_timeout,"
            " timeout_action and max_queue_size",
        ),
        (
            [
                "discipline=edf",
                "policy={kind: triton, queue_timeout: 5ms, timeout_action: delay}",
            ],
            "timeout_action: delay needs discipline fifo or priority: in the order of deadlines there"
            " is no behind the others",
        ),
        (
            [f"policy={{{LOW}, low_priority_max_enqueued_batches: 10}}"],
            "low_priority_max_batch_size needs discipline: priority",
        ),
        (
            ["policy=smdp", "max_batch=20000"],
            "the decision process at 600/s would need a table of 20,001 batch sizes by 6,556 queue"
            " lengths, and at most 20,000,000 numbers fit; lower max_batch, the rate or the variation of"
            " service times",
        ),
        (
            ["policy={kind: smdp, rate: 6000/s}"],
            "no steady state: 6,000.0 requests/s come and at most 1,333.3/s can be served; give smdp a"
            " `rate` below that, or take another policy",
        ),
    ],
)
def test_what_does_not_work_in_its_place(
    run: Run, tmp_path: Path, settings: list[str], told: str
) -> None:
    words = ["--set", "workload.deadline=30ms"]
    for setting in settings:
        words += ["--set", f"stages.rank.{setting}"]
    error = run("simulate", written(tmp_path, ONE), *words).error
    assert error == f"one: stages.rank.policy: {told}"


def test_tritons_queues_are_of_levels_that_there_are(run: Run, tmp_path: Path) -> None:
    """``ValidateModelConfig``: a level beyond ``priority_levels`` is refused."""
    policy = "stages.rank.policy={kind: triton, priority_queue_policy: [{}, {}, {}]}"
    levels = ("workload.priorities=[1, 1]", "stages.rank.discipline=priority")
    words = [word for setting in (policy, *levels) for word in ("--set", setting)]
    error = run("simulate", written(tmp_path, ONE), *words).error
    told = "stages.rank.policy.priority_queue_policy: names queues of 3 levels, and"
    assert f"{told} workload.priorities has 2" in error


def test_an_optimum_whose_states_do_not_fit_names_the_configuration(
    run: Run, tmp_path: Path
) -> None:
    words = ("--optimum", "--set", "stages.rank.max_batch=20000")
    error = run("compare", written(tmp_path, ONE), *words).error
    assert error.startswith("one: the decision process at 600/s would need a table of 20,001")


def test_more_than_can_be_served_is_simulated_and_told(run: Run, tmp_path: Path) -> None:
    rate = "workload.arrivals.rate=9000/s"
    said = run("simulate", written(tmp_path, ONE), "--set", rate)
    assert said.code == 0
    assert said.err == (
        "note: unstable: 9,000.0 requests/s come and at most 1,333.3/s can be served, so there is no"
        " steady state: the backlog grows for as long as that lasts, and the figures are of this run and"
        " depend on its length\n"
    )
