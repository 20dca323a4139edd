"""``delayline tune``: what it writes is a configuration that other commands take as it is."""

from __future__ import annotations

import re
import signal
from dataclasses import replace
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
    assert replace(tuned, provenance={}) == given
    assert run("simulate", out, "--quiet").code == 0
    assert run("plan", out, "--requests", 2000, "--confirm", 2, "--json").code == 0


def without_numbers(text: str) -> str:
    """Text without its figures: what a sampler proposes may differ in the last digit by processor."""
    return re.sub(r" +", " ", re.sub(r"[-+]?[0-9][0-9.,]*(us|ms)?", "#", text.replace("─", "")))


def test_the_object_says_how_sure_it_is(run: Run, tmp_path: Path) -> None:
    path, out = written(tmp_path), tmp_path / "shop.tuned.yaml"
    found = run("tune", path, *FEW, "--out", out, "--json").object
    assert list(found) == [
        *("config", "figure", "objective", "goals", "cost", "sampler", "study", "parts", "trials"),
        *("refused", "cut_short", "start", "best", "confirmed", "front", "wall_s"),
    ]
    assert (found["config"], found["trials"], found["refused"]) == (str(out), 12, 0)
    assert (found["goals"], found["sampler"], found["study"]) == ([], "tpe", None)
    assert found["cost"] == {"name": "busy", "unit": "busy seconds per 1,000 answers"}
    assert (found["figure"], found["front"]) == (None, [])
    assert (found["parts"], found["cut_short"]) == (["1/1"], 0)
    assert found["objective"] == {"latency_ms": 30, "percentile": 99}
    assert found["start"]["setting"] == dict(zip(KNOBS, ["1ms", "3ms"], strict=True))
    confirmed = found["confirmed"]
    assert (confirmed["replications"], confirmed["decided_by"]) == (3, "cost")
    saved = found["best"]["cost"] - found["start"]["cost"]
    assert confirmed["cost"]["estimate"] == pytest.approx(saved)
    assert confirmed["better"] is (confirmed["cost"]["high"] < 0)
    assert found["best"]["latency_ms"] <= 30


def test_the_same_call_finds_the_same_on_any_workers(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path)
    first, *others = (
        run("tune", path, *FEW, *on, "--out", tmp_path / "out.yaml", "--json").object
        for on in (("--jobs", 1), ("--jobs", 3), ("--jobs", 2, "--backend", "processes"))
    )
    for other in others:
        assert {**first, "wall_s": 0} == {**other, "wall_s": 0}


def test_the_written_configuration_says_how_it_was_found(run: Run, tmp_path: Path) -> None:
    path, out = written(tmp_path), tmp_path / "out.yaml"
    found = run("tune", path, *FEW, "--out", out, "--json", "--seed", 5).object
    told = delayline.load_config(out).provenance["tuned"]
    for name in ("objective", "cost", "sampler", "trials", "start", "best", "confirmed", "parts"):
        assert told[name] == found[name]
    assert (told["seed"], told["requests"], told["batch"]) == (5, 1000, 9)
    assert told["versions"]["delayline"] == delayline.__version__
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", told["date"])
    assert run("tune", out, *FEW, "--out", out).code == 0, "and may be tuned again"


def test_several_goals_give_a_front_and_a_figure_beside_the_configuration(
    run: Run, tmp_path: Path
) -> None:
    path, out = written(tmp_path), tmp_path / "out.yaml"
    many = ("--trials", 40, "--confirm", 3, "--requests", 1000, "--goals", "latency,cost")
    found = run("tune", path, *many, "--out", out, "--json").object
    assert found["sampler"] == "nsga2"
    assert found["figure"] == str(tmp_path / "out.svg")
    assert "<svg" in (tmp_path / "out.svg").read_text(encoding="utf-8")
    front = [(point["latency_ms"], point["cost"]) for point in found["front"]]
    assert len(front) > 3
    assert front == sorted(front)
    assert [cost for _, cost in front] == sorted((cost for _, cost in front), reverse=True)
    for point in found["front"]:
        interval = point["latency_interval_ms"]
        assert interval["low"] <= point["latency_ms"] <= interval["high"]
    within = [cost for latency_ms, cost in front if latency_ms <= 30]
    assert found["best"]["cost"] <= 1.01 * min(within)
    said = run("tune", path, *many, "--out", out, "--figure", tmp_path / "f.png").out
    assert f"front: {len(front)} trials that no other is better than in both" in said
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_a_server_that_is_alone_holds_nothing_where_latency_is_the_goal(
    run: Run, tmp_path: Path
) -> None:
    """M/G/1 with batches of one: a hold only adds to a request's time, whatever the load."""
    text = """
workload: {arrivals: {kind: poisson, rate: 300/s}, requests: 3000}
objective: {latency: 30ms}
stages:
  - {name: a, max_batch: 1, service: {kind: gamma, mean: 2ms, cv: 0.5}, delay: 5ms}
tune:
  stages.a.policy:
    choices: [{kind: fixed, delay: 5ms}, {kind: fixed, delay: 2ms, size: 1}, immediate]
  stages.a.policy.delay: [0ms, 10ms]
"""
    flags = ("--goals", "latency", "--trials", 40, "--confirm", 3, "--no-halving", "--json")
    path = written(tmp_path, text)
    found = run("tune", path, *flags, "--out", tmp_path / "out.yaml").object
    eager = run("simulate", path, "--set", "stages.a.policy=immediate", "--json").object
    best = delayline.load_config(tmp_path / "out.yaml")
    again = run("simulate", tmp_path / "out.yaml", "--json").object
    assert again["latency_ms"]["p99"] == eager["latency_ms"]["p99"], best.stages[0].policy
    assert found["confirmed"]["decided_by"] == "latency"


def test_replicas_are_paid_for_busy_or_not(run: Run, tmp_path: Path) -> None:
    """One replica bears the load: more only add to what is paid, and all of it is told in replicas."""
    text = TWO_STAGES[: TWO_STAGES.index("tune:")] + "tune: {stages.rank.replicas: [1, 8]}\n"
    text = text.replace("max_batch: 16", "max_batch: 16\n    replicas: 6")
    out = tmp_path / "out.yaml"
    found = run("tune", written(tmp_path, text), *FEW, "--out", out, "--json").object
    assert found["cost"] == {"name": "paid", "unit": "replicas paid for"}
    assert (found["start"]["cost"], found["best"]["cost"]) == (7, 2)
    assert found["confirmed"]["cost"] == {"estimate": -5, "low": -5, "high": -5}
    assert found["confirmed"]["better"] is True
    assert delayline.load_config(out).stages[1].replicas == 1
    busy = run("tune", written(tmp_path, text), *FEW, "--cost", "busy", "--out", out, "--json")
    assert busy.object["cost"]["name"] == "busy"


def test_a_study_goes_on_where_it_was(run: Run, tmp_path: Path) -> None:
    path, out = written(tmp_path), tmp_path / "out.yaml"
    storage = ("--storage", f"sqlite:///{tmp_path}/study.db", "--study", "mine")
    few = run("tune", path, *FEW, *storage, "--out", out, "--json").object
    again = run("tune", path, *FEW, *storage, "--out", out, "--json").object
    assert {**few, "wall_s": 0} == {**again, "wall_s": 0}
    assert few["study"] == "mine"
    error = run("tune", path, *FEW, *storage, "--set", "seed=8", "--out", out).error
    assert "is of another search: config.seed is 3 there and is 8 here; give another" in error


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--goals", "latency,memory"), "there is no goal `memory`; goals: latency, cost, quality"),
        (
            ("--goals", "latency,quality"),
            "quality is a goal and the configuration names no quality table",
        ),
        (("--goals", "latency,latency"), "goals name latency twice"),
        (("--goals", "cost"), "cost alone is least where requests wait for ever"),
        (("--study", "mine"), "--study mine is kept nowhere without --storage"),
        (("--storage", "x"), "storage x is no URL; write journal:///FILE, sqlite:///FILE or"),
        (("--figure", "x.jpg"), "--figure x.jpg must end in .svg, .png, .pdf"),
        (
            ("--set", "objective.percentile=99.9", "--requests", 900),
            "p99.9 cannot be told of 900 requests: fewer than one of them lies beyond it; ask for more",
        ),
        (
            ("--set", "warmup=99%", "--requests", 1000),
            "p99 cannot be told of 1,000 requests: fewer than one of them lies beyond it after the",
        ),
        (
            ("--sampler", "cmaes", "--set", "tune={stages.rank.max_batch: [1, 16]}"),
            "sampler cmaes needs two or more knobs with a range, and there is one; use tpe",
        ),
        (
            ("--sampler", "cmaes", "--goals", "latency,cost"),
            "sampler cmaes makes one goal small, not latency and cost; use nsga2, tpe or gp",
        ),
        (
            ("--set", "tune.stages.rank.policy.dely=[0ms, 1ms]"),
            "tune.stages.rank.policy.dely: the kind `fixed` has no such knob; did you mean `delay`?",
        ),
        (
            ("--set", "tune.stages.rank.max_batch=[4, 4]"),
            "tune.stages.rank.max_batch: low must be less than high, but 4 is not below 4",
        ),
        (("--set", "tune.stages.rank.max_batch={choices: []}"), "choices is an empty list"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(
    run: Run, tmp_path: Path, words: tuple[object, ...], told: str
) -> None:
    assert told in run("tune", written(tmp_path), *words, "--out", tmp_path / "x.yaml").error
    assert not (tmp_path / "x.yaml").exists()


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


def _interrupted_at(call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    called = 0

    def interrupted(config: Config, log: RunLog) -> Figures:
        nonlocal called
        called += 1
        if called == call:
            signal.raise_signal(signal.SIGINT)
        return judge(config, log)

    monkeypatch.setattr(tuning, "judge_for", lambda cost, loss: interrupted)


def test_an_interrupt_keeps_the_best_so_far(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupted_at(5, monkeypatch)
    out = tmp_path / "tuned.yaml"
    said = run("tune", written(tmp_path), *FEW, "--jobs", 1, "--out", out)
    assert said.code == 130
    assert "4 trials" in said.out
    assert "interrupted: the setting is the best so far" in said.out
    assert delayline.load_config(out).name == "shop"


def test_an_interrupt_while_the_best_are_tried_again_keeps_the_best_too(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupted_at(15, monkeypatch)
    storage = ("--storage", f"journal:///{tmp_path}/study")
    said = run("tune", written(tmp_path), *FEW, "--jobs", 1, *storage, "--out", tmp_path / "o.yaml")
    assert said.code == 130
    assert "12 trials" in said.out
    assert "not confirmed on fresh replications; the same command goes on from here" in said.out


def test_an_interrupt_before_the_first_trial_writes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _interrupted_at(1, monkeypatch)
    out = tmp_path / "tuned.yaml"
    assert run("tune", written(tmp_path), "--jobs", 1, "--out", out).code == 130
    assert not out.exists()


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
