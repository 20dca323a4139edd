"""``delayline import-profile``: tables into profiles, what it says of them, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs.published import load_published
from sim.service.published import PublishedTimes
from tests.command_line import Run, agrees, runner, written

MS = 1_000_000
TABLE = """\
# Measured by us on a quiet machine, CC0
# one client at a time
gpu,model,params,precision,batch,concurrency,avg_ms,p95_ms,p99_us
Card A30,Ranker,4B,FP16,64,1,2.0,2.4,2600
Card A30,Ranker,4B,FP16,1,1,1.0,1.1,1200
Card A30,Ranker,4B,FP16,256,1,6.5,7.5,8000
Card A30,Ranker,22B,FP16,1,1,1.5,1.6,1700
Card A30,Ranker,22B,FP16,64,1,3.0,3.5,3900
Card T4,Ranker,4B,FP32,1,1,4.0,4.5,5000
Card T4,Ranker,4B,FP32,64,1,9.0,9.5,9900
"""
MAPPED = ("--latency", "avg_ms", "--p95", "p95_ms", "--p99", "p99_us")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs commands in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    return runner(capsys)


def table(text: str = TABLE, name: str = "table.csv") -> Path:
    return written(Path(), text, name)


def test_a_person_reads_what_was_made(run: Run, tmp_path: Path) -> None:
    said = run("import-profile", table(), "--group-by", "gpu,model,precision", *MAPPED)
    assert said.code == 0
    assert said.err == (
        "note: gpu, model, precision do not tell all rows apart: grouped by params too\n"
    )
    agrees("import_profile", said.out, tmp_path)
    assert run("import-profile", table(), *MAPPED, "--quiet").err == ""


def test_the_file_holds_the_figures_and_where_they_are_from(run: Run) -> None:
    run(
        "import-profile",
        table(),
        "--group-by",
        "gpu,params",
        "--per",
        "item",
        *MAPPED,
        "--note",
        "ours",
    )
    found = load_published(Path("table.published.yaml"))
    assert found.source == "table.csv"
    assert found.columns == {"batch": "batch", "mean": "avg_ms", "p95": "p95_ms", "p99": "p99_us"}
    assert found.notes == ("Measured by us on a quiet machine, CC0", "one client at a time", "ours")
    assert found.per == "item"
    assert [dict(group.labels) for group in found.groups] == [
        {"gpu": "Card A30", "params": "4B"},
        {"gpu": "Card A30", "params": "22B"},
        {"gpu": "Card T4", "params": "4B"},
    ]
    points = found.groups[0].points
    assert list(points) == [1, 64, 256]
    assert (points[64].mean_ns, points[64].p95_ns, points[64].p99_ns) == (
        *(2 * MS, 2_400_000, 2_600_000),
    )


def test_json_says_what_was_made(run: Run) -> None:
    said = run(
        "import-profile", table(), "--where", "gpu=t4", *MAPPED, "--out", "x/t4.yaml", "--json"
    )
    assert said.err == ""
    assert said.object == {
        "profile": "x/t4.yaml",
        "per": "request",
        "groups": [{"labels": {"gpu": "Card T4"}, "sizes": [1, 64], "mean_ms": [4.0, 9.0]}],
    }
    assert load_published(Path("x/t4.yaml")).groups[0].points[1].p99_ns == 5 * MS


def test_what_is_imported_is_simulated(run: Run, tmp_path: Path) -> None:
    run("import-profile", table(), *MAPPED, "--per", "item", "--out", "t.yaml")
    service = "{kind: published, path: t.yaml, group: 'params=4b, precision=fp16'}"
    text = (
        "workload: {arrivals: {kind: constant, rate: 100/s}, requests: 3000, items: 64}\n"
        f"stages: [{{name: rank, max_batch: 4, service: {service}}}]\n"
    )
    found = run("simulate", written(tmp_path, text, "p.yaml"), "--json").object
    # Requests of 64 items come one at a time: the second row of the table.
    taken = found["stages"]["rank"]["service_ms"]
    assert taken["mean"] == pytest.approx(2.0, rel=0.01)
    assert taken["p99"] == pytest.approx(2.6, rel=0.02)


def test_rows_are_chosen_by_any_column_and_labels_keep_their_full_text(run: Run) -> None:
    words = ("--where", "precision=fp16, params=4b", "--where", "gpu=a30")
    run("import-profile", table(), *words, *MAPPED)
    (group,) = load_published(Path("table.published.yaml")).groups
    assert dict(group.labels) == {"precision": "FP16", "params": "4B", "gpu": "Card A30"}


def test_a_bad_row_that_is_not_chosen_does_no_harm(run: Run) -> None:
    text = TABLE.replace("22B,FP16,1,1,1.5", "22B,FP16,none,1,n/a")
    said = run("import-profile", table(text), "--where", "params=4B", *MAPPED)
    assert said.code == 0
    assert (
        "line 7, column batch: 'none' is not a number"
        in run("import-profile", table(text), *MAPPED).error
    )


def test_a_group_of_one_size_is_left_out_and_named(run: Run) -> None:
    text = TABLE + "Card H1,Ranker,4B,FP8,8,1,1,1,1000\n"
    said = run("import-profile", table(text), "--group-by", "gpu,params", *MAPPED)
    assert said.err == (
        "note: left out, since one batch size does not tell how time grows: gpu=Card H1, params=4B\n"
    )
    assert len(load_published(Path("table.published.yaml")).groups) == 3


def test_units_stand_in_the_columns_names_or_are_told(run: Run) -> None:
    plain = TABLE.replace("avg_ms", "avg").replace("p99_us", "p99")
    told = run(
        "import-profile", table(plain), "--latency", "avg", "--unit", "s", "--where", "gpu=T4"
    )
    assert told.code == 0
    (group,) = load_published(Path("table.published.yaml")).groups
    assert group.points[1].mean_ns == 4_000 * MS
    assert group.points[1].percentiles == {}
    assert (
        PublishedTimes(path=Path("table.published.yaml").absolute()).time_ns(2.0, 1, 1)
        == 4_000 * MS
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--latency", "avg"], "table.csv has no column 'avg'; it has gpu, model"),
        (["--latency", "avg"], "did you mean avg_ms?"),
        (["--latency", "avg_ms", "--group-by", "gpus"], "no column 'gpus'"),
        (["--latency", "avg_ms", "--batch", "bach"], "did you mean batch?"),
        (["--latency", "batch"], "the name of column batch does not end in its unit (_ns, _us, _ms, _s)"),
        (["--latency", "avg_ms", "--unit", "us"], "column avg_ms ends in another unit than --unit us"),
        (["--latency", "avg_ms", "--unit", "min"], "'min' is not one of"),
        ([*MAPPED, "--where", "gpu=H100"], "--where: no gpu is or holds 'H100'; there is Card A30, Card T4"),
        ([*MAPPED, "--where", "card=A30"], "--where: there is no 'card'; known: gpu, model"),
        ([*MAPPED, "--where", "A30"], "--where must be NAME=VALUE"),
        ([*MAPPED, "--where", "batch=1"], "no group has two batch sizes or more; grouped by "),
        (["--latency", "avg_ms", "--p50", "p95_ms"], "line 4, column avg_ms: p50 alone tells no spread"),
        (["--latency", "avg_ms", "--p50", "p99_us", "--p99", "p95_ms"], "p99 (2.4ms) is below p50 (2.6ms)"),
        (["--latency", "p99_us", "--p99", "avg_ms"], "p99 (2ms) is below the mean (2.6ms); are the"),
        (["--latency", "gpu", "--unit", "ms"], "line 4, column gpu: 'Card A30' is not a number"),
        (["--latency", "avg_ms", "--batch", "p95_ms"], "must be a whole number from 1 on, not 2.4"),
        ([*MAPPED, "--out", "."], ". is a folder; give the file to write with --out FILE"),
        ([], "Missing option '--latency'"),
    ],
)  # fmt: skip
def test_what_cannot_be_mapped(run: Run, words: list[str], told: str) -> None:
    assert told in run("import-profile", table(), *words).error
    assert sorted(path.name for path in Path().iterdir()) == ["table.csv"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("64,1,2.0", "64,1,fast", "line 4, column avg_ms: 'fast' is not a number"),
        ("64,1,2.0", "64,1,", "line 4, column avg_ms: the value is missing"),
        ("64,1,2.0", "64,1,0", "line 4, column avg_ms: must be more than 0, not 0"),
        ("FP16,1,1,1.0", "FP16,0,1,1.0", "line 5, column batch: must be a whole number from 1 on, not 0"),
        ("256,1,6.5,7.5", "256,1,0.5,7.5", "line 6, column avg_ms: the mean, 500us, is too far below"),
        ("FP16,1,1,1.0", "FP16,64,2,1.0", "line 5, column batch: 64 stands a second time for"),
        ("FP16,1,1,1.0", "FP16,64,2,1.0", "the rows differ in concurrency, p99_us: choose by --where"),
    ],
)  # fmt: skip
def test_rows_that_cannot_be_used(run: Run, old: str, new: str, told: str) -> None:
    assert TABLE.count(old) == 1
    bad = table(TABLE.replace(old, new))
    words = ("--group-by", "gpu,params", "--latency", "avg_ms", "--p95", "p95_ms")
    assert told in run("import-profile", bad, *words).error


def test_files_that_are_no_table(run: Run) -> None:
    assert "no.csv cannot be read" in run("import-profile", "no.csv", "--latency", "avg_ms").error
    empty = table(TABLE[: TABLE.index("Card A30")])
    assert "has no rows" in run("import-profile", empty, *MAPPED).error


# The tables of NVIDIA's Deep Learning Examples


def test_the_tables_of_recommenders(run: Run, real_data: Path) -> None:
    file = real_data / "nvidia_recsys_batch_latency.csv"
    words = ("--group-by", "gpu,model,precision", "--batch", "batch", "--latency", "avg_ms")
    said = run("import-profile", file, *words, "--p99", "p99_ms")
    assert "grouped by params, backend too" in said.err
    found = load_published(Path("nvidia_recsys_batch_latency.published.yaml"))
    assert sum(len(group.points) for group in found.groups) == 222
    assert len(found.groups) == 30


def test_every_row_of_the_tables_keeps_its_mean_and_percentiles(run: Run, real_data: Path) -> None:
    percentiles = [word for p in (50, 90, 95, 99) for word in (f"--p{p}", f"p{p}_ms")]
    file = real_data / "nvidia_recsys_batch_latency.csv"
    run(
        "import-profile",
        file,
        "--latency",
        "avg_ms",
        *percentiles,
        "--per",
        "item",
        "--out",
        "t.yaml",
    )
    scores = {50: 0.0, 90: 1.2815515655446004, 95: 1.6448536269514722, 99: 2.3263478740408408}
    for group in load_published(Path("t.yaml")).groups:
        model = PublishedTimes(points=group.points, per="item")
        for size, printed in group.points.items():
            assert model.expected_ns(1, size) == printed.mean_ns
            for percentile, ns in printed.percentiles.items():
                assert model.time_ns(scores[percentile], 1, size) == pytest.approx(ns, rel=2e-3)


def test_the_table_of_another_server(run: Run, real_data: Path) -> None:
    file = real_data / "nvidia_pytorch_dlrm_triton_batch_latency.csv"
    words = ("--group-by", "config", "--latency", "median_or_avg_ms", "--p95", "p95_ms")
    said = run("import-profile", file, *words, "--p99", "p99_ms", "--per", "item", "--json")
    assert [len(group["sizes"]) for group in said.object["groups"]] == [18, 18, 18]
