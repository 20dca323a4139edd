"""``delayline compare``, ``report`` and ``schema``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command_line import Run, agrees, runner, written


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_runs_and_configurations_lie_side_by_side(run: Run, tmp_path: Path) -> None:
    path, out = written(tmp_path), tmp_path / "recorded"
    run("simulate", path, "--out", out)
    faster = ("--set", "stages.rank.policy.delay=0ms", "--set", "name=eager")
    agrees("compare", run("compare", out, path, *faster).out, tmp_path)
    found = run("compare", out, path, *faster, "--json").object
    assert found["runs"] == ["shop", "eager"]
    mean = next(row for row in found["metrics"] if row["metric"] == "latency mean")
    assert mean["differences"] == [mean["values"][1] - mean["values"][0]]
    assert found["paired"][0]["requests"] == 2000


def test_counts_of_few_requests_are_whole(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path)
    lines = run("compare", path, path, "--set", "workload.requests=236").out.splitlines()
    assert [line.split() for line in lines if line.startswith("requests")] == [
        ["requests", "236", "236"]
    ]


def test_runs_of_one_name_are_told_apart(run: Run, tmp_path: Path) -> None:
    path = written(tmp_path)
    assert run("compare", path, path, "--json").object["runs"] == ["shop", f"shop ({path})"]


def test_one_of_several_replications_must_be_named(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "recorded"
    run("simulate", written(tmp_path), "--out", out, "-n", 2)
    for name in ("compare", "report"):
        assert f"holds 2 replications; name one of them, such as {out}/rep-0" in (
            run(name, out).error
        )
    assert run("compare", out / "rep-0", out / "rep-1", "--json").object["paired"] == [None]


def test_a_report_is_one_file(run: Run, tmp_path: Path) -> None:
    out, page = tmp_path / "recorded", tmp_path / "pages" / "shop.html"
    run("simulate", written(tmp_path), "--out", out)
    said = run("report", out, "--out", page)
    assert (said.code, said.err) == (0, f"wrote {page}\n")
    assert "<html" in page.read_text(encoding="utf-8")
    assert [entry.name for entry in page.parent.iterdir()] == ["shop.html"]


def test_damaged_records_are_refused_and_no_report_is_left(run: Run, tmp_path: Path) -> None:
    out, page = tmp_path / "recorded", tmp_path / "shop.html"
    run("simulate", written(tmp_path), "--out", out)
    with (out / "visits.parquet").open("r+b") as file:
        file.truncate(100)
    assert f"{out}/visits.parquet is damaged" in run("report", out, "--out", page).error
    assert not page.exists()


def test_the_schema_is_printed_or_written(run: Run, tmp_path: Path) -> None:
    printed = run("schema")
    assert json.loads(printed.out)["title"] == "delayline configuration"
    assert run("schema", "--out", tmp_path / "schema.json").code == 0
    assert (tmp_path / "schema.json").read_text(encoding="utf-8") == printed.out
