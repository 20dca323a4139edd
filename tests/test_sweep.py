"""Sweeps: which settings they try, what their table says of each, and that nothing is run twice."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

import delayline
from configs.errors import ConfigError
from configs.model import Config
from delayline.loading import load_config
from delayline.sweeping import Sweep, Swept, design, run_sweep
from reports.figures.sweep import Drawing, Goal, draw
from reports.sweep_journal import Journal
from reports.sweep_points import label, ordered, points
from reports.sweep_table import Columns, SweepError, metric_column, read
from sim.backends.threads import Threads
from sim.sweeping.axes import parse_axis
from sim.sweeping.design import check_axes, grid, scattered
from sim.sweeping.run import grouped
from tests.command_line import written

DELAY = "stages.rank.policy.delay"
BATCH = "stages.rank.max_batch"
PIPELINE4 = Path(__file__).parents[1] / "configs" / "pipeline4.yaml"


@pytest.fixture
def shop(tmp_path: Path) -> Config:
    return load_config(written(tmp_path), ["workload.requests=300"])


def values(config: Config, text: str) -> list[Any]:
    axis = parse_axis(config, text)
    return [axis.knob.show(value) for value in axis.values]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{DELAY}=[0ms, 2ms, 5ms]", ["0ms", "2ms", "5ms"]),
        (f"{DELAY}=0ms..10ms:5", ["0ms", "2.5ms", "5ms", "7.5ms", "10ms"]),
        ("stages.rank.delay=1ms..2ms:4", ["1ms", "1.333ms", "1.667ms", "2ms"]),
        (f"{DELAY}=1ms..1s:4:log", ["1ms", "10ms", "100ms", "1s"]),
        (f"{BATCH}=1..64:7:log", [1, 2, 4, 8, 16, 32, 64]),
        (f"{BATCH}=1..64:log:4", [1, 4, 16, 64]),
        (f"{BATCH}=1..3:9", [1, 2, 3]),
        ("workload.arrivals.rate=100/s..1000/s:3", ["100/s", "550/s", "1000/s"]),
        ("objective.percentile=90..99:4", [90.0, 93.0, 96.0, 99.0]),
        ("stages.rank.queue_bound=[null, 5]", [None, 5]),
        ("stages.rank.discipline=[fifo, edf]", ["fifo", "edf"]),
        (
            "stages.rank.policy=[immediate, {kind: fixed, delay: 2ms}]",
            [{"kind": "immediate"}, {"kind": "fixed", "delay": "2ms"}],
        ),
    ],
)
def test_values_are_a_list_or_a_range(shop: Config, text: str, expected: list[Any]) -> None:
    assert values(shop, text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (DELAY, "must be PATH=VALUES, such as"),
        (f"{DELAY}=", "must be a list such as .* or a range such as .*, not nothing"),
        (f"{DELAY}=3ms", "must be a list such as .* or a range such as .*, not 3ms"),
        (f"{DELAY}=[]", "is an empty list; give a value at least"),
        (f"{DELAY}=[1ms, 1000us]", "has 1ms twice"),
        (f"{DELAY}=[1]", "needs a unit: write 1ms or 1s"),
        (f"{DELAY}=5ms..1ms:3", "goes from low to high, but 5ms is not below 1ms"),
        (f"{DELAY}=5ms..5ms:3", "goes from low to high, but 5ms is not below 5ms"),
        (f"{DELAY}=0ms..5ms:1", "takes 2 to 100,000 values, not 1"),
        (f"{DELAY}=0ms..5ms:3:log", "a range by factors starts above 0, not at 0ms"),
        (f"{DELAY}=0ms..5ms:many", "takes a count, log or both behind a range"),
        (f"{BATCH}=0..5:3", "must be at least 1, not 0"),
        ("stages.rank.policy.dleay=[1ms]", "has no such knob; did you mean `delay`"),
        ("stages.rnak.policy.delay=[1ms]", "there is no such stage; did you mean `rank`"),
        ("stages.rank.discipline=fifo..edf:2", "is no number; list its values"),
        ("replications=[1, 2]", "ask for --replications"),
        ("tune.stages.rank.policy.delay=[1, 2]", "changes nothing in a run"),
    ],
)
def test_values_that_cannot_be_are_refused_with_their_place(
    shop: Config, text: str, told: str
) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        parse_axis(shop, text)
    assert str(refused.value).startswith(f"--over {text}: ")


def test_a_grid_has_every_combination_the_last_knob_fastest(shop: Config) -> None:
    axes = [parse_axis(shop, f"{DELAY}=[0ms, 1ms]"), parse_axis(shop, f"{BATCH}=1..5")]
    assert grid(axes, 3) == [(0, 1), (0, 3), (0, 5), (10**6, 1), (10**6, 3), (10**6, 5)]
    with pytest.raises(ConfigError, match=r"write 1\.\.5:11, or ask for --grid 11 or --random 100"):
        grid(axes)
    with pytest.raises(ConfigError, match="at most 1,000,000 are taken"):
        grid([parse_axis(shop, f"{path}=0ms..1s") for path in (DELAY, DELAY)], 2000)


@pytest.mark.parametrize(
    ("paths", "told"),
    [
        ([], "nothing to sweep; give --over"),
        ([DELAY, DELAY], "swept twice"),
        ([DELAY, "stages.rank.policy"], "so is stages.rank.policy, which holds it"),
    ],
)
def test_axes_may_not_touch_one_knob(shop: Config, paths: list[str], told: str) -> None:
    some = {DELAY: "[0ms, 1ms]", "stages.rank.policy": "[immediate]"}
    with pytest.raises(ConfigError, match=told):
        check_axes([parse_axis(shop, f"{path}={some[path]}") for path in paths])


@given(count=st.integers(1, 200), more=st.integers(0, 200), seed=st.integers(0, 9))
def test_a_longer_scatter_begins_as_a_shorter_one(count: int, more: int, seed: int) -> None:
    config = delayline.load_config(PIPELINE4)
    axes = [
        parse_axis(config, f"{DELAY}=0ms..10ms"),
        parse_axis(config, f"{BATCH}=1..8"),
        parse_axis(config, "workload.arrivals.rate=100/s..5000/s:log"),
    ]
    short, long = scattered(axes, count, seed), scattered(axes, count + more, seed)
    assert long[: len(short)] == short
    assert len(set(long)) == len(long)
    for delay_ns, batch, rate_hz in long:
        assert 0 <= delay_ns <= 10_000_000
        assert 1 <= batch <= 8
        assert 100 <= rate_hz <= 5000


def test_a_scatter_gives_every_value_its_share(shop: Config) -> None:
    axes = [parse_axis(shop, f"{BATCH}=1..8"), parse_axis(shop, f"{DELAY}=0ms..1s")]
    found = scattered(axes, 1024, 1)
    assert set(Counter(batch for batch, _ in found).values()) == {128}
    # A net of 2^10 points has 64 in each sixteenth of either side, where chance has 64 +- 8.
    sixteenths = Counter(min(delay_ns * 16 // 10**9, 15) for _, delay_ns in found)
    assert all(abs(count - 64) <= 1 for count in sixteenths.values())


def test_tasks_that_share_a_workload_follow_each_other() -> None:
    tasks = [((rate, delay), n) for n in (0, 1) for delay in (1, 2) for rate in (5.0, 6.0)]
    found = grouped(["workload.arrivals.rate", DELAY], tasks)
    assert sorted(map(str, found)) == sorted(map(str, tasks))
    assert [(n, rate) for (rate, _), n in found] == [
        *((0, 5.0), (0, 5.0), (0, 6.0), (0, 6.0)),
        *((1, 5.0), (1, 5.0), (1, 6.0), (1, 6.0)),
    ]


def swept(config: Config, out: Path, *over: str, **more: Any) -> Swept:
    return run_sweep(design(config, over, **more), out, jobs=1)


def test_a_row_is_what_simulating_its_setting_alone_says(tmp_path: Path) -> None:
    path = written(tmp_path)
    sets = ["warmup=10%", "replications=2", "stages.recall.queue_bound=6", "workload.requests=500"]
    over = (f"{DELAY}=[0ms, 20ms]", "workload.arrivals.rate=[900/s, 4000/s]")
    table = swept(load_config(path, sets), tmp_path / "out.parquet", *over).table
    assert table.num_rows == 8
    for row in table.to_pylist():
        config = delayline.load_config(
            path,
            [
                *sets,
                f"{DELAY}={row[f'{DELAY}_ms']}ms",
                f"workload.arrivals.rate={row['workload.arrivals.rate_hz']}/s",
            ],
        )
        log = delayline.simulate(config, replication=row["replication"])
        found = delayline.run_of(config, log).measure()
        assert row["status"] == "ok"
        assert row["seed"] == config.seed
        for name in ("arrived", "completed", "shed", "throughput_rps", "goodput_rps"):
            assert row[name] == getattr(found, name)
        for name in ("mean", "p50", "p90", "p95", "p99", "max"):
            assert row[f"latency_{name}_ms"] == found.latency.get(name)
        assert row["unanswered"] == 1 - found.completed / found.arrived
        assert row["busy_s_per_1000"] == found.cost.busy_seconds_per_1000
        for stage in found.stages:
            assert row[f"stages.{stage.name}.utilization"] == stage.utilization
            assert row[f"stages.{stage.name}.mean_batch"] == stage.mean_batch
    dropped = table.filter(pc.greater(table["shed"], 0))
    assert dropped.num_rows
    assert set(dropped["reached_ms"].to_pylist()) == {float("inf")}
    assert set(dropped["met"].to_pylist()) == {False}


def test_the_columns_have_types_and_units(shop: Config, tmp_path: Path) -> None:
    over = (
        f"{DELAY}=[0ms, 1500us]",
        f"{BATCH}=[4, 8]",
        "stages.recall.policy=[immediate, {kind: fixed, delay: 2ms}]",
        "workload.expire=[false, true]",
        "stages.recall.queue_bound=[null, 9]",
    )
    table = swept(shop, tmp_path / "out.parquet", *over).table
    first = table.select(range(6)).slice(0, 2).to_pylist()
    assert first[1] == {
        "setting": 1,
        f"{DELAY}_ms": 0.0,
        BATCH: 4,
        "stages.recall.policy": "immediate",
        "workload.expire": False,
        "stages.recall.queue_bound": 9,
    }
    last = table.slice(table.num_rows - 1).to_pylist()[0]
    assert (last[f"{DELAY}_ms"], last["stages.recall.policy"]) == (1.5, "{kind: fixed, delay: 2ms}")
    assert (last["status"], last["arrived"]) == ("refused", None)
    assert last["reason"] == "workload.expire: needs workload.deadline, which is not set"
    assert pq.read_schema(tmp_path / "out.parquet").equals(table.schema)


def test_what_is_there_is_not_run_again(shop: Config, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert swept(shop, out, f"{DELAY}=0ms..4ms:3").new == 3
    before = out.stat().st_mtime_ns
    assert swept(shop, out, f"{DELAY}=0ms..4ms:3").new == 0
    assert out.stat().st_mtime_ns == before
    assert swept(shop, out, f"{DELAY}=0ms..4ms:5").new == 2
    grown = swept(delayline.with_knob(shop, "replications", 2), out, f"{DELAY}=0ms..4ms:5")
    assert grown.new == 5
    at_once = swept(
        delayline.with_knob(shop, "replications", 2), tmp_path / "2.parquet", f"{DELAY}=0ms..4ms:5"
    )
    assert at_once.new == 10
    assert read(out)[0].equals(at_once.table)
    assert [path.name for path in tmp_path.glob("*.journal")] == []


def test_a_scatter_grows(shop: Config, tmp_path: Path) -> None:
    out = tmp_path / "out.parquet"
    assert swept(shop, out, random=5).new == 5
    assert swept(shop, out, random=12).new == 7


def test_an_interrupt_keeps_rows_in_the_journal_and_no_table(shop: Config, tmp_path: Path) -> None:
    sweep, out = design(shop, [f"{DELAY}=0ms..9ms:10"]), tmp_path / "out.parquet"
    stopped = run_sweep(sweep, out, backend=Stopping(4))
    assert (stopped.new, stopped.missing, stopped.table.num_rows) == (4, 6, 4)
    assert not out.exists()
    journal = tmp_path / "out.parquet.journal"
    journal.write_bytes(journal.read_bytes()[:-9])  # as where the machine went down in mid-write
    again = run_sweep(sweep, out, jobs=1)
    assert (again.new, again.missing) == (7, 0)
    assert again.table.equals(run_sweep(sweep, tmp_path / "whole.parquet", jobs=1).table)
    assert not journal.exists()


class Stopping(Threads):
    """Somebody presses Ctrl-C after so many answers."""

    def __init__(self, after: int) -> None:
        super().__init__(1)
        self._after = after

    def map(self, function: Any, tasks: Any) -> Any:
        for number, task in enumerate(tasks):
            if number == self._after:
                raise KeyboardInterrupt
            yield function(task)


def test_a_table_of_another_sweep_is_refused(shop: Config, tmp_path: Path) -> None:
    out, over = tmp_path / "out.parquet", f"{DELAY}=[0ms, 1ms]"
    swept(shop, out, over)
    slower = delayline.with_knob(shop, "workload.arrivals.rate", 800.0)
    with pytest.raises(
        SweepError, match=r"\(config\.workload\.arrivals\.rate differs\); give another"
    ):
        swept(slower, out, over)
    other = delayline.with_knob(shop, "stages.recall.max_batch", 3)
    with pytest.raises(SweepError, match=r"\(config\.stages\.recall\.max_batch differs\)"):
        swept(other, out, over)
    with pytest.raises(SweepError, match=rf"\(knobs\.{DELAY}_ms differs\)"):
        swept(shop, out, f"{BATCH}=[1, 2]")
    with pytest.raises(SweepError, match="holds 1 runs that this sweep does not ask for"):
        swept(shop, out, f"{DELAY}=[0ms, 2ms]")
    out.write_text("a diary")
    with pytest.raises(SweepError, match="is no table of a sweep"):
        swept(shop, out, over)
    assert out.read_text() == "a diary"
    assert [path.name for path in tmp_path.glob("*.journal")] == []


def test_a_file_that_changed_makes_another_sweep(tmp_path: Path) -> None:
    trace, out = tmp_path / "trace.csv", tmp_path / "out.parquet"
    config = (
        load_config(written(tmp_path), ["workload={arrivals: {kind: trace, path: trace.csv}}"])
        if trace.write_text("timestamp\n0.0\n0.5\n")
        else None
    )
    assert config is not None
    swept(config, out, f"{DELAY}=[0ms, 1ms]")
    trace.write_text("timestamp\n0.0\n0.6\n")
    with pytest.raises(SweepError, match=r"\(files\..*trace\.csv differs\)"):
        swept(config, out, f"{DELAY}=[0ms, 1ms]")


def test_two_processes_do_not_write_one_journal(tmp_path: Path) -> None:
    path = tmp_path / "out.parquet.journal"
    first = Journal(path, {"of": "this"})
    first.add({"replication": 0})
    with pytest.raises(SweepError, match="another process is writing"):
        Journal(path, {"of": "this"})
    first.close()
    with pytest.raises(SweepError, match=r"holds 1 rows of another sweep \(of differs\)"):
        Journal(path, {"of": "that"})
    again = Journal(path, {"of": "this"})
    assert again.rows == [{"replication": 0}]
    again.remove()


def test_a_metric_is_a_column_or_short_for_one() -> None:
    columns = Columns({}, ("recall", "rank"))
    for short, name in {
        "p99": "latency_p99_ms",
        "p99.9": "latency_p999_ms",
        "mean": "latency_mean_ms",
        "busy": "busy_s_per_1000",
        "goodput": "goodput_rps",
        "stages.rank.mean_batch": "stages.rank.mean_batch",
        "rank.util": "stages.rank.utilization",
    }.items():
        assert metric_column(columns, short) == name
    with pytest.raises(SweepError, match="'mean_batch' is short for several; take one of stages"):
        metric_column(columns, "mean_batch")
    with pytest.raises(SweepError, match="'speed' is none; take one of arrived, completed"):
        metric_column(columns, "speed")


def drawn(swept: Swept, metric: str, goal: Goal | None) -> Drawing:
    knobs = list(swept.sweep.columns.knobs)
    return Drawing(knobs, points(swept.table, knobs, metric), metric, goal)


def test_the_best_meets_the_objective_for_the_least_cost(shop: Config, tmp_path: Path) -> None:
    found = swept(shop, tmp_path / "out.parquet", f"{DELAY}=0ms..20ms:11")
    drawing = drawn(found, "latency_p99_ms", Goal(12, 99))
    rows = [row for row in found.table.to_pylist() if row["latency_p99_ms"] <= 12]
    assert 1 < len(rows) < 11
    best = drawing.best()
    assert best is not None
    assert best.setting == min(rows, key=lambda row: row["busy_s_per_1000"])["setting"]
    by_goodput = ordered(drawn(found, "goodput_rps", None).points, "goodput_rps", None)
    figures = [figure.value for _, figure in by_goodput]
    assert figures == sorted(figures, reverse=True)


@pytest.mark.parametrize(
    "over",
    [
        (f"{DELAY}=0ms..20ms:5",),
        ("stages.rank.policy=[immediate, {kind: fixed, delay: 2ms}]",),
        (f"{DELAY}=0ms..20ms:3", f"{BATCH}=1..16:3:log"),
        (f"{DELAY}=0ms..20ms:2", f"{BATCH}=[4, 8]", "stages.rank.discipline=[fifo, edf]"),
        (f"{DELAY}=[0ms, 9ms]", f"{BATCH}=[4, 8]", "seed=[1, 2]", "stages.rank.replicas=[1, 2]"),
    ],
)
def test_figures_name_the_knobs_and_the_metric(
    shop: Config, tmp_path: Path, over: tuple[str, ...]
) -> None:
    found = swept(shop, tmp_path / "out.parquet", *over)
    drawing = drawn(found, "latency_p99_ms", Goal(8, 99))
    svg = draw(drawing, "svg").decode()
    for name in ["latency_p99_ms", *found.sweep.columns.knobs]:
        assert label(name) in svg
    assert "mathdefault" not in svg
    assert draw(drawing, "svg").decode() == svg
    assert draw(drawing, "png").startswith(b"\x89PNG")


def test_a_figure_of_nothing_says_so(shop: Config, tmp_path: Path) -> None:
    found = swept(shop, tmp_path / "out.parquet", "stages.rank.discipline=[edf]")
    assert "no setting has a figure" in draw(drawn(found, "latency_p99_ms", None), "svg").decode()


def test_a_description_is_kept_in_the_table(shop: Config, tmp_path: Path) -> None:
    found = swept(shop, tmp_path / "out.parquet", f"{DELAY}=[0ms]")
    described = read(tmp_path / "out.parquet")[1]
    assert isinstance(found.sweep, Sweep)
    assert described == json.loads(json.dumps(found.sweep.description()))
    assert described["format"] == "delayline-sweep/1"
