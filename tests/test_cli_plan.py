"""``delayline plan``: what it prints, writes and refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

import delayline
from tests.command_line import Run, agrees, runner, written

FEW = ("--requests", 4000, "--confirm", 3, "--jobs", 1)
TYPES = """
name: ads
seed: 3
workload:
  arrivals: {kind: diurnal, rate: 800/s, amplitude: 0.6, period: 1min}
  duration: 1min
objective: {latency: 40ms, percentile: 95}
devices:
  cpu: {each: true, price: 0.1/h}
  gpu: {each: true, price: 0.5/h}
stages:
  - name: recall
    device: cpu
    max_batch: 4
    service: {kind: affine, base: 2ms, per_request: 1ms}
  - name: rank
    device: cpu
    max_batch: 16
    service: {kind: affine, base: 5ms, per_request: 4ms}
    service_on:
      gpu: {kind: affine, base: 2ms, per_request: 200us}
    policy: {kind: fixed, delay: 1ms}
"""


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_it_prints_the_plan_and_writes_it(run: Run, tmp_path: Path) -> None:
    path, out = written(tmp_path), tmp_path / "planned.yaml"
    said = run("plan", path, *FEW, "--rate", "9000/s", "--out", out)
    assert said.code == 0
    assert said.err == f"wrote {out}\n"
    agrees("plan", said.out, tmp_path)
    planned = delayline.load_config(out)
    assert planned.workload.arrivals.mean_rate_hz() == 9000
    assert planned.workload.requests == 2000
    assert run("simulate", out, "--quiet").code == 0


def test_traffic_that_varies_has_a_schedule_and_a_page(run: Run, tmp_path: Path) -> None:
    path, page = written(tmp_path, TYPES), tmp_path / "plan.html"
    said = run("plan", path, *FEW, "--report", page, "--quiet")
    assert (said.code, said.err) == (0, "")
    agrees("plan_by_hour", said.out, tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.count("<svg") == text.count("</svg>") == 3
    assert "<h2>By hour</h2>" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_the_object_has_what_the_tables_say(run: Run, tmp_path: Path) -> None:
    found = run("plan", written(tmp_path, TYPES), *FEW, "--json").object
    assert list(found) == [
        *("objective", "rate_rps", "planned_rps", "priced", "plan", "p95_ms", "replications"),
        *("requests", "max_rate_rps", "n_minus_1", "runners_up", "rates", "schedule", "proven"),
        *("least_cost_per_hour", "evaluated", "simulations", "wall_s"),
    ]
    stages = found["plan"]["stages"]
    assert list(stages) == ["recall", "rank"]
    assert list(stages["rank"]) == ["replicas", "device", "policy", "max_batch"]
    prices = {"cpu": 0.1, "gpu": 0.5}
    cost = sum(stage["replicas"] * prices[stage["device"]] for stage in stages.values())
    assert found["plan"]["cost_per_hour"] == pytest.approx(cost)
    assert found["proven"]
    assert found["least_cost_per_hour"] == pytest.approx(cost)
    assert found["p95_ms"]["low"] <= found["p95_ms"]["estimate"] <= found["p95_ms"]["high"] <= 40
    assert found["max_rate_rps"] >= found["rate_rps"] == 800
    assert found["planned_rps"] == pytest.approx(800 * 1.6, rel=0.01)
    assert {name: loss["replicas"] for name, loss in found["n_minus_1"].items()} == {
        name: stage["replicas"] - 1 for name, stage in stages.items()
    }
    assert found["n_minus_1"]["rank"]["p95_ms"] is None
    assert len(found["schedule"]["hours"]) == 24
    assert all(each["cost_per_hour"] >= cost - 1e-9 for each in found["runners_up"])


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--rate", "0/s"], "--rate 0/s: must be more than 0/s"),
        (["--rate", "-5/s"], "--rate -5/s: must not be negative, but is -5/s"),
        (
            ["--rate", "5"],
            "--rate 5: must be a rate such as 800/s, 12/min or 3600/h, not '5'; a number needs a unit:"
            " 5/s",
        ),
        (
            ["--objective", "p99=50"],
            "--objective p99=50: must be a duration such as 2ms, 350us or 1.5s, not '50'; a number"
            " needs a unit: 50ms",
        ),
        (
            ["--objective", "mean=5ms"],
            "--objective mean=5ms: must be a percentile and a latency, such as p99=50ms",
        ),
        (
            ["--objective", "pq=5ms"],
            "--objective pq=5ms: pq is no percentile; write p99 or p99.9",
        ),
        (
            ["--objective", "p101=5ms"],
            "--objective p101=5ms: a percentile lies above 0 and at most at 100, not at 101",
        ),
        (["--objective", "p99=0"], "--objective p99=0: the latency must be more than 0ms"),
        (
            ["--objective", "p100=5ms"],
            "p100 is the latest request of a run, which comes the later the longer the run; plan for a"
            " percentile below, such as p99.9",
        ),
        (
            ["--max-replicas", "rnk=2"],
            "--max-replicas rnk: there is no such stage; did you mean `rank`?",
        ),
        (
            ["--max-replicas", "0"],
            "--max-replicas 0: must be a number of 1 or more, for one stage with its name before it,"
            " such as rank=8",
        ),
        (
            ["--max-replicas", "2", "--max-replicas", "rank=3"],
            "--max-replicas 2 is for every stage; give it alone, or name the stage",
        ),
        (
            ["--set", "objective=null"],
            "objective is not set; planning needs one, such as --objective p99=50ms",
        ),
        (
            ["--objective", "p95=3ms"],
            "p95 within 3ms cannot be had at 900 requests/s: the best is 3.2 ms, where nothing waits for"
            " a replica; rank makes it so, at 2.1 ms of the 3.2 ms that a request alone is served for",
        ),
    ],
)
def test_what_cannot_be_planned_is_told_in_a_line(
    run: Run, tmp_path: Path, words: list[str], text: str
) -> None:
    assert run("plan", written(tmp_path), *FEW, *words).error == text


@pytest.mark.parametrize("option", ["--out", "--report"])
def test_a_folder_is_no_file(run: Run, tmp_path: Path, option: str) -> None:
    said = run("plan", written(tmp_path), option, tmp_path)
    assert said.error == f"{option} {tmp_path} is a folder; give the file to write"
