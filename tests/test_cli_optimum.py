"""``delayline compare --optimum``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command_line import TWO_STAGES, Run, agrees, runner, written

ONE_STAGE = """
name: eager
seed: 1
workload: {arrivals: 800/s, requests: 2000}
objective: {latency: 8ms}
stages:
  - name: rank
    max_batch: 8
    service: {kind: affine, base: 1ms, per_request: 500us}
    policy: immediate
"""
WEIGHTS = ("--optimum", "--busy-weight", 3)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


@pytest.fixture
def eager(tmp_path: Path) -> Path:
    return written(tmp_path, ONE_STAGE, "eager.yaml")


@pytest.fixture
def limit(tmp_path: Path) -> Path:
    text = ONE_STAGE.replace("immediate", "{kind: control_limit, limit: 2}")
    return written(tmp_path, text.replace("eager", "limit"), "limit.yaml")


def test_policies_are_laid_beside_the_optimum(
    run: Run, eager: Path, limit: Path, tmp_path: Path
) -> None:
    said = run("compare", eager, limit, *WEIGHTS, "--clairvoyant", "-n", 3)
    agrees("compare_optimum", said.out, tmp_path)
    assert (said.code, said.err) == (0, "")


def test_as_json_it_has_the_table_the_prediction_and_the_gaps(
    run: Run, eager: Path, limit: Path
) -> None:
    (found,) = run("compare", eager, limit, *WEIGHTS, "--json").object["stages"]
    assert (found["replications"], found["replicas"], found["bound"]) == (8, 1, None)
    optimum = found["optimum"]
    assert optimum["table"][:3] == [0, 0, 2]
    simulated = optimum["simulated"]["cost"]
    assert optimum["least_ms"] == pytest.approx(optimum["predicted"]["cost_ms"], rel=1e-8)
    assert simulated["low"] < optimum["predicted"]["cost_ms"] < simulated["high"]
    gaps = {each["name"]: each["gap"] for each in found["policies"]}
    assert gaps["eager"]["low"] > 0
    assert abs(gaps["limit"]["value"]) < 0.001
    mean = optimum["simulated"]
    assert mean["cost_ms"] == pytest.approx(mean["latency_ms"] + 3 * mean["busy_ms"])


def test_several_replicas_have_a_bound_with_its_name(run: Run, eager: Path) -> None:
    several = ("--set", "stages.rank.replicas=3", "--set", "workload.arrivals=2000/s")
    said = run("compare", eager, "--optimum", *several, "-n", 2)
    assert "by relaxation (unlimited replicas, as many as there are busy on average)" in said.out
    (found,) = run("compare", eager, "--optimum", *several, "-n", 2, "--json").object["stages"]
    assert found["optimum"] is None
    (policy,) = found["policies"]
    assert 0 < found["bound"]["cost_ms"] < policy["cost_ms"]
    assert policy["gap"]["value"] == pytest.approx(
        policy["cost_ms"] / found["bound"]["cost_ms"] - 1
    )


def test_different_stages_have_optima_of_their_own(run: Run, eager: Path, tmp_path: Path) -> None:
    text = ONE_STAGE.replace("max_batch: 8", "max_batch: 2").replace("eager", "small")
    small = written(tmp_path, text, "small.yaml")
    found = run("compare", eager, small, "--optimum", "-n", 2, "--json").object["stages"]
    assert [each["max_batch"] for each in found] == [8, 2]
    assert [each["policies"][0]["name"] for each in found] == ["eager", "small"]


def test_without_a_steady_state_the_runs_are_shown_as_they_are(run: Run, eager: Path) -> None:
    said = run("compare", eager, "--optimum", "-n", 2, "--set", "workload.arrivals=2000/s")
    assert said.code == 0
    assert "note: unstable: 2,000.0 requests/s come and at most 1,600.0/s can be served" in said.err
    assert "no optimum" in said.err
    assert "predicted" not in said.out


def test_other_arrivals_than_poisson_are_noted(run: Run, eager: Path) -> None:
    said = run(
        "compare",
        eager,
        "--optimum",
        "-n",
        2,
        "--set",
        "workload.arrivals={kind: constant, rate: 800/s}",
    )
    assert said.err == (
        "note: the optimum is for Poisson arrivals of the same mean rate, and eager has constant:"
        " a policy may be better here, and the prediction is not of these runs\n"
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--optimum", "--latency-weight", 0), "all weights are 0"),
        (("--optimum", "--busy-weight", -1), "'--busy-weight': Input should be greater than"),
        (("--optimum", "--batch-cost", "3"), "--batch-cost must be a duration"),
        (("--busy-weight", 1), "--busy-weight is for --optimum; add that, or leave it out"),
        (("--clairvoyant",), "--clairvoyant is for --optimum"),
        (("-n", 3), "--replications is for --optimum"),
        (("--optimum", "--set", "stages.rank.queue_bound=4"), "the optimum answers all"),
        (
            ("--optimum", "--clairvoyant", "--set", "stages.rank.replicas=2"),
            "--clairvoyant is known for one replica, and eager has 2",
        ),
        (
            ("--optimum", "--clairvoyant", "--set", "stages.rank.service.cv=0.5"),
            "--clairvoyant needs service times that follow from the batch alone",
        ),
        (
            ("--optimum", "--set", "workload.arrivals=1599.9999/s"),
            "at most 20,000,000 numbers fit; lower the rate, max_batch or the variation",
        ),
        (("--optimum", "--excess-weight", 1, "--set", "objective=null"), "needs an objective"),
        (("--optimum", "--set", "warmup=99%"), "is too short: nothing is left"),
    ],
)
def test_what_makes_no_sense_is_refused_in_a_line(
    run: Run, eager: Path, words: tuple[object, ...], told: str
) -> None:
    assert told in run("compare", eager, *words).error


def test_more_than_one_stage_and_recorded_runs_are_refused(
    run: Run, eager: Path, tmp_path: Path
) -> None:
    path = written(tmp_path, TWO_STAGES)
    assert "shop has 2 stages, and the optimum is known for one" in (
        run("compare", path, "--optimum").error
    )
    assert "is a recorded run; --optimum simulates" in (
        run("compare", eager, tmp_path, "--optimum").error
    )
