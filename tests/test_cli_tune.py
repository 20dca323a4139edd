"""``delayline tune``: what it writes is a configuration that other commands take as it is."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

import delayline
from configs.model import Config
from delayline import tuning
from delayline.judging import judge
from policies.runlog import RunLog
from sim.tuning.score import Figures
from tests.command_line import TWO_STAGES, Run, agrees, runner, written

KNOBS = ["stages.recall.policy.delay", "stages.rank.policy.delay"]
FEW = ("--trials", 12, "--confirm", 3, "--requests", 1000)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_the_tuned_configuration_is_the_given_one_with_other_knobs(
    run: Run, tmp_path: Path
) -> None:
    path, out = written(tmp_path), tmp_path / "tuned" / "shop.yaml"
    said = run("tune", path, *FEW, "--out", out)
    assert (said.code, said.err) == (0, "")
    agrees("tune", without_numbers(said.out.replace(str(tmp_path), "FOLDER")), tmp_path)
    comment = [line for line in out.read_text(encoding="utf-8").splitlines(True) if line[0] == "#"]
    agrees("tuned", without_numbers("".join(comment)), tmp_path)
    given, tuned = delayline.load_config(path), delayline.load_config(out)
    for knob in KNOBS:
        assert delayline.knob_value(tuned, knob) != delayline.knob_value(given, knob)
        given = delayline.with_knob(given, knob, delayline.knob_value(tuned, knob))
    assert tuned == given
    assert run("simulate", out).code == 0


def without_numbers(text: str) -> str:
    """Text without its figures: what a sampler proposes may differ in the last digit by processor."""
    return re.sub(r" +", " ", re.sub(r"[-+]?[0-9][0-9.,]*(us|ms)?", "#", text.replace("─", "")))


def test_the_object_says_how_sure_it_is(run: Run, tmp_path: Path) -> None:
    path, out = written(tmp_path), tmp_path / "shop.tuned.yaml"
    found = run("tune", path, *FEW, "--out", out, "--json").object
    assert list(found) == [
        *("config", "objective", "trials", "refused", "start", "best", "confirmed", "wall_s")
    ]
    assert (found["config"], found["trials"], found["refused"]) == (str(out), 12, 0)
    assert found["objective"] == {"latency_ms": 30, "percentile": 99}
    assert found["start"]["setting"] == dict(zip(KNOBS, ["1ms", "3ms"], strict=True))
    confirmed = found["confirmed"]
    assert (confirmed["replications"], confirmed["decided_by"]) == (3, "cost")
    saved = found["best"]["busy_s_per_1000"] - found["start"]["busy_s_per_1000"]
    assert confirmed["busy_s_per_1000"]["estimate"] == pytest.approx(saved)
    assert confirmed["better"] is (confirmed["busy_s_per_1000"]["high"] < 0)
    assert found["best"]["latency_ms"] <= 30


def test_the_same_call_finds_the_same_on_any_number_of_processes_that_is_given_again(
    run: Run, tmp_path: Path
) -> None:
    path = written(tmp_path)
    first, second = (
        run("tune", path, *FEW, "--jobs", 2, "--out", tmp_path / "out.yaml", "--json").object
        for _ in range(2)
    )
    assert {**first, "wall_s": 0} == {**second, "wall_s": 0}


def test_without_a_name_it_is_called_after_the_configuration(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run("tune", written(tmp_path), "--trials", 2, "--confirm", 2, "--requests", 100)
    assert delayline.load_config("shop.tuned.yaml").name == "shop"


def test_files_that_the_configuration_names_are_found_from_the_tuned_one(
    run: Run, tmp_path: Path
) -> None:
    (tmp_path / "trace.csv").write_text("timestamp\n" + "".join(f"{k / 500}\n" for k in range(500)))
    text = TWO_STAGES.replace("kind: poisson, rate: 900/s", "kind: trace, path: trace.csv")
    out = tmp_path / "elsewhere" / "tuned.yaml"
    few = ("--trials", 2, "--confirm", 2, "--out", out)
    assert run("tune", written(tmp_path, text), *few).code == 0
    assert run("simulate", out, "--json").object["arrived"] == 500


def test_an_interrupt_keeps_the_best_so_far(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = 0

    def interrupted(config: Config, log: RunLog) -> Figures:
        nonlocal called
        called += 1
        if called == 5:
            signal.raise_signal(signal.SIGINT)
        return judge(config, log)

    monkeypatch.setattr(tuning, "judge", interrupted)
    out = tmp_path / "tuned.yaml"
    said = run("tune", written(tmp_path), *FEW, "--out", out)
    assert said.code == 130
    assert "4 trials" in said.out
    assert "interrupted: the setting is the best so far" in said.out
    assert delayline.load_config(out).name == "shop"


def test_an_interrupt_before_the_first_trial_writes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(config: Config, log: RunLog) -> Figures:
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "judge", interrupted)
    assert run("tune", written(tmp_path), "--out", tmp_path / "tuned.yaml").code == 130
    assert not (tmp_path / "tuned.yaml").exists()


@pytest.mark.parametrize(
    ("cut", "told"),
    [
        ("objective: {latency: 30ms, percentile: 99}", "objective is not set; tuning needs one"),
        (TWO_STAGES[TWO_STAGES.index("tune:") :], "tune is empty; name a knob and its range"),
    ],
)
def test_tuning_needs_an_objective_and_a_range(
    run: Run, tmp_path: Path, cut: str, told: str
) -> None:
    assert told in run("tune", written(tmp_path, TWO_STAGES.replace(cut, ""))).error


def test_a_range_that_is_none_is_refused(run: Run, tmp_path: Path) -> None:
    setting = "tune.stages.rank.policy.delay=[5ms, 1ms]"
    error = run("tune", written(tmp_path), "--set", setting).error
    assert "low must be less than high, but 5ms is not below 1ms" in error


def test_a_folder_is_no_file_to_write(run: Run, tmp_path: Path) -> None:
    assert "is a folder" in run("tune", written(tmp_path), "--out", tmp_path).error


def test_a_range_of_a_knob_that_another_kind_has_stops_nothing_but_tuning(
    run: Run, tmp_path: Path
) -> None:
    path, out = written(tmp_path), tmp_path / "tuned.yaml"
    eager = ("--set", "stages.rank.policy=immediate")
    assert run("simulate", path, *eager).code == 0
    error = run("tune", path, *eager, "--out", out).error
    assert error == "tune.stages.rank.policy.delay: the kind `immediate` has no knobs"
    assert not out.exists()
