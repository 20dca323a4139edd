"""Recorded data: traces, counts and windows out of files, and errors that say where."""

from __future__ import annotations

import gzip
import math
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.runlog import Int64
from policies.workload import Workload
from sim.arrivals.base import NS_PER_S
from sim.arrivals.counts import Counts
from sim.arrivals.trace import Trace
from sim.arrivals.windows import Windows, _gamma, _weibull
from sim.columns import TraceError, column_names, comments
from sim.items.column import Column
from sim.streams import stream
from sim.workload import draw_workload

DATA = Path(__file__).parents[2] / "shared" / "data"
AZURE = DATA / "azure_llm2023_conv.csv"
ZOZOTOWN = DATA / "obd_zozotown_random.csv.gz"
SERVEGEN = [
    DATA / f"servegen_{model}_1day_600s_windows.csv.gz" for model in ("deepseek-r1", "mm-image")
]

needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"no recorded data at {DATA}")


def times(process: Trace | Counts | Windows, requests: int | None = None) -> Int64:
    return process.times_ns(stream(1, 0, "arrivals"), requests, None)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


SECONDS = ("t,size", "1700000000.5,3", "1700000000.75,1", "1700000002,9")
STAMPS = (
    "t,size",
    "2023-11-14 22:13:20.500000001,3",
    "2023-11-14 22:13:20.750000000,1",
    "2023-11-14 22:13:22.000000000,9",
)


@pytest.mark.parametrize(("lines", "first_ns"), [(SECONDS, 250_000_000), (STAMPS, 249_999_999)])
def test_seconds_and_timestamps_are_told_apart(
    tmp_path: Path, lines: tuple[str, ...], first_ns: int
) -> None:
    path = write(tmp_path / "trace.csv", *lines)
    assert times(Trace(path, "t")).tolist() == [0, first_ns, first_ns + 1_250_000_000]
    zipped = tmp_path / "trace.csv.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(times(Trace(zipped, "t")), times(Trace(path, "t")))


def test_time_zones_are_applied_and_parquet_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", "t", "2024-01-01T00:00:00+02:00", "2023-12-31T23:00:00+00:00")
    assert times(Trace(path, "t")).tolist() == [0, 3_600 * NS_PER_S]
    table = pa.table({"t": pa.array([5, 7, 7], pa.timestamp("us")), "size": [1, 2, 3]})
    pq.write_table(table, tmp_path / "t.parquet")
    trace = Trace(tmp_path / "t.parquet", "t", items_column="size")
    assert times(trace).tolist() == [0, 2_000, 2_000]
    sizes = trace.items(2)
    assert sizes is not None
    assert sizes.tolist() == [1, 2]


def test_time_is_scaled_by_a_factor_or_to_a_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.csv", *SECONDS)
    assert times(Trace(path, "t", time_scale=0.1)).tolist() == [0, 25_000_000, 150_000_000]
    to_rate = Trace(path, "t", rate_hz=4.0)
    assert times(to_rate).tolist() == [0, 83_333_333, 500_000_000]
    assert to_rate.mean_rate_hz() == 4
    assert Trace(path, "t", time_scale=0.1).mean_rate_hz() == pytest.approx(2 / 0.15)
    assert times(Trace(path, "t", time_scale=0.1).scaled(2))[-1] == 75_000_000
    assert times(Trace(path, "t", limit=2)).tolist() == [0, 250_000_000]
    assert times(Trace(path, "t"), requests=1).tolist() == [0]
    with pytest.raises(ValueError, match="`rate` or `time_scale`, not both"):
        Trace(path, "t", time_scale=2.0, rate_hz=1.0)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=50), st.integers(1, 60))
@settings(deadline=None, max_examples=40)
def test_sorting_keeps_every_size_with_its_row(
    tmp_path_factory: pytest.TempPathFactory, rows: list[int], limit: int
) -> None:
    path = tmp_path_factory.mktemp("trace") / "trace.csv"
    write(path, "t,size", *(f"{t},{t + 1}" for t in rows))
    trace = Trace(path, "t", sort=True, items_column="size", limit=limit)
    used = sorted(rows[:limit])
    found = draw_workload(trace, None, seed=1)
    assert isinstance(found, Workload)
    assert found.arrival_ns.tolist() == [(t - used[0]) * NS_PER_S for t in used]
    assert found.items.tolist() == [t + 1 for t in used]


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.csv", "t", "0", "1")
    assert len(times(Trace(path, "t"))) == 2
    write(path, "t", "0", "1", "2")
    os.utime(path, ns=(1, 1))
    assert len(times(Trace(path, "t"))) == 3


@pytest.mark.parametrize("name", ["trace.csv", "trace.csv.gz"])
def test_lines_before_the_header_may_be_comments(tmp_path: Path, name: str) -> None:
    text = "# recorded in May\n#CC0, by us\nt\n0\n2\n"
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    assert times(Trace(path, "t")).tolist() == [0, 2_000_000_000]
    assert comments(path) == ("recorded in May", "CC0, by us")


@pytest.mark.parametrize("length", [6, 20, 40])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "trace.csv.gz"
    path.write_bytes(gzip.compress(b"# recorded in May\nt\n0\n2\n")[:length])
    with pytest.raises(TraceError, match=r"trace.csv.gz cannot be read"):
        column_names(path)


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ("t", "0", "2", "1", "3", "2"),
            "line 4, column t: earlier than the row before it, one of 2",
        ),
        (("t,s", "0,1", "", ",1", "3,1"), "line 4, column t: the value is missing"),
        (("# c", "# c", "t,s", "0,1", ",1"), "line 5, column t: the value is missing"),
        (("t,s", "2024-01-01 00:00:00,1", "n/a,1"), "line 3, column t: the value is missing"),
        (("t", "2024-01-01 00:00:00", "noon"), "line 3, column t: 'noon' is not a timestamp"),
        (("t", "1", "inf"), "line 3, column t: inf is no finite number"),
        (("t", "true", "false"), "column t: 'true' is not a timestamp"),
        (("time,s", "0,1"), "has no column 't'; it has time, s"),
        (("t",), "has no rows"),
        ((), "cannot be read"),
        (("t,s", "0,1", "1"), "cannot be read: CSV parse error: Expected 2 columns, got 1"),
        (("t", "0", "1e20"), "spans more than 146 years"),
    ],
)
def test_a_bad_trace_is_refused_with_its_place(
    tmp_path: Path, lines: tuple[str, ...], says: str
) -> None:
    path = write(tmp_path / "trace.csv", *lines)
    with pytest.raises(TraceError) as error:
        times(Trace(path, "t"))
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_seconds_that_are_text_and_missing_columns_are_named(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.csv", "stamp", "0.5", "1,5")
    with pytest.raises(TraceError, match="cannot be read"):
        times(Trace(path, "stamp", format="seconds"))
    path = write(tmp_path / "other.csv", "stamp", "0.5", "soon")
    with pytest.raises(TraceError, match=r"line 3, column stamp: 'soon' is not a number"):
        times(Trace(path, "stamp", format="seconds"))
    with pytest.raises(TraceError, match="did you mean stamp"):
        times(Trace(path, "stamps"))


def test_files_that_are_not_there_or_no_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        times(Trace(tmp_path / "none.csv", "t"))
    with pytest.raises(TraceError, match="cannot be read"):
        times(Trace(tmp_path, "t"))
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(TraceError, match="cannot be read"):
        times(Trace(tmp_path / "bad.parquet", "t"))
    (tmp_path / "bad.csv.gz").write_bytes(b"no gzip")
    with pytest.raises(TraceError, match="cannot be read"):
        times(Trace(tmp_path / "bad.csv.gz", "t"))


def test_rows_of_parquet_are_counted_as_rows(tmp_path: Path) -> None:
    pq.write_table(pa.table({"t": [0.0, 2.0, 1.0]}), tmp_path / "t.parquet")
    with pytest.raises(TraceError, match="row 3, column t: earlier"):
        times(Trace(tmp_path / "t.parquet", "t"))


def test_one_instant_has_no_rate(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.csv", "t", "5", "5")
    assert times(Trace(path, "t")).tolist() == [0, 0]
    with pytest.raises(TraceError, match="no rate to scale"):
        times(Trace(path, "t", rate_hz=10.0))


def test_sizes_come_from_one_place_only(tmp_path: Path) -> None:
    path = write(tmp_path / "trace.csv", "t,size", "2,3", "1,1")
    with pytest.raises(ValueError, match="not both"):
        draw_workload(Trace(path, "t", sort=True, items_column="size"), Column(path, "size"))
    with pytest.raises(ValueError, match="`items_column`"):
        draw_workload(Trace(path, "t", sort=True), Column(path, "size"))
    found = draw_workload(Trace(write(path, "t,size", "1,3", "2,1"), "t"), Column(path, "size"))
    assert found.items.tolist() == [3, 1]


def test_counts_are_read_from_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "counts.csv", "minute,requests", "0,3", "1,0", "2,2")
    found = times(Counts(1_000_000, path=path))
    assert (found // 1_000_000).tolist() == [0, 0, 0, 2, 2]
    write(path, "minute,requests", "0,3", "1,-1")
    with pytest.raises(TraceError, match=r"line 3, column requests: must be a whole number from 0"):
        times(Counts(1_000_000, path=path))


HEAD = "client,start_s,rate,cv,family,p1,p2"


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (("0,0,1,1,Gamma,1,1", "0,600,-1,1,Gamma,1,1"), "line 3, column rate: must be above 0"),
        (("0,0,1,1,Gamma,0,1", "0,600,1,1,Gamma,1,1"), "line 2, column p1: must be above 0"),
        (("0,0,1,1,Pareto,1,1", "0,600,1,1,Gamma,1,1"), "column family: must be Gamma or Weibull"),
        (("0,0,1,1,Gamma,1,1", "1,0,1,1,Gamma,1,1"), "how long windows are"),
        (("0.5,0,1,1,Gamma,1,1", "1,0,1,1,Gamma,1,1"), "column client: must be a whole number"),
    ],
)
def test_bad_windows_are_refused_with_their_place(
    tmp_path: Path, rows: tuple[str, ...], says: str
) -> None:
    path = write(tmp_path / "w.csv", HEAD, *rows)
    with pytest.raises(TraceError) as error:
        times(Windows(path))
    assert says in str(error.value)


def test_windows_are_chosen_by_start_number_and_clients(tmp_path: Path) -> None:
    path = write(
        tmp_path / "w.csv",
        HEAD,
        "0,0,1,1,Gamma,1,1",
        "1,0,4,1,Gamma,1,1",
        "0,600,2,1,Weibull,1,1",
        "1,1800,8,1,Gamma,1,1",
    )
    assert Windows(path).mean_rate_hz() == pytest.approx(15 / 4)
    assert Windows(path, clients=1).mean_rate_hz() == pytest.approx(12 / 4)
    assert Windows(path, start_ns=600 * NS_PER_S, windows=2).mean_rate_hz() == pytest.approx(1)
    assert times(Windows(path), requests=0).size == 0
    np.testing.assert_array_equal(times(Windows(path), requests=50), times(Windows(path))[:50])
    later = times(Windows(path, start_ns=700 * NS_PER_S))
    assert later[0] < 2 * NS_PER_S
    assert later[-1] < 600 * NS_PER_S
    with pytest.raises(TraceError, match=r"ends after 2400 s; `start` is 2400 s"):
        times(Windows(path, start_ns=2400 * NS_PER_S))


@pytest.mark.parametrize(
    ("draw", "shape"), [(_gamma, 0.1), (_gamma, 4.0), (_weibull, 0.4), (_weibull, 3.0)]
)
def test_a_window_has_its_rate_however_bursty(draw: object, shape: float) -> None:
    """Equilibrium: the mean count is rate x length exactly, and the first arrival comes after a wait
    of mean (1 + cv^2) / 2 gaps (the mean residual life).
    """
    assert callable(draw)
    generator = stream(1, 0, "window")
    found = [draw(generator, shape, 2.0, 15.0) for _ in range(3_000)]
    numbers = np.array([len(each) for each in found])
    assert numbers.mean() == pytest.approx(30, abs=4 * numbers.std() / math.sqrt(3_000))
    gaps = np.concatenate(
        [np.diff(each) for each in (draw(generator, shape, 2.0, 1e4) for _ in range(9))]
    )
    assert gaps.mean() == pytest.approx(0.5, rel=0.05)
    second = (
        1 + 1 / shape
        if draw is _gamma
        else math.gamma(1 + 2 / shape) / math.gamma(1 + 1 / shape) ** 2
    )
    assert (gaps**2).mean() / gaps.mean() ** 2 == pytest.approx(second, rel=0.15)
    first = np.array([draw(generator, shape, 2.0, 500.0)[0] for _ in range(3_000)])
    assert first.mean() == pytest.approx(second / 2 * 0.5, rel=0.12)


@needs_data
def test_the_azure_trace_is_read_to_the_nanosecond() -> None:
    trace = Trace(AZURE, "TIMESTAMP", items_column="GeneratedTokens", rate_hz=500.0)
    found = draw_workload(trace, None)
    assert isinstance(found, Workload)
    assert len(found) == 19_366
    assert found.items[:3].tolist() == [44, 109, 55]
    assert (len(found) - 1) / found.arrival_ns[-1] * NS_PER_S == pytest.approx(500)
    plain = times(Trace(AZURE, "TIMESTAMP"))
    assert plain[:2].tolist() == [0, 4_314_579_000]  # 18:15:46.680590 to 18:15:50.995169
    squeeze = Trace(AZURE, "TIMESTAMP").mean_rate_hz() / 500
    np.testing.assert_allclose(found.arrival_ns, plain * squeeze, rtol=0, atol=1)


@needs_data
def test_the_zozotown_log_is_three_campaigns_one_after_another() -> None:
    with pytest.raises(TraceError, match="line 10002, column timestamp: earlier"):
        times(Trace(ZOZOTOWN))
    found = times(Trace(ZOZOTOWN, sort=True))
    gaps = np.diff(found)
    assert len(found) == 30_000
    assert gaps.min() >= 0
    assert gaps.std() / gaps.mean() == pytest.approx(1.47, abs=0.01)
    assert len(times(Trace(ZOZOTOWN, limit=10_000))) == 10_000


@needs_data
@pytest.mark.parametrize("path", SERVEGEN, ids=lambda p: p.name.split("_")[1])
def test_servegen_windows_reproduce_their_counts(path: Path) -> None:
    """Each row's rate is its count over 600 s: hour by hour the total must come out again."""
    windows = Windows(path)
    found = times(windows)
    rows = windows._rows
    recorded = np.bincount((rows.start_s // 3600).astype(int), rows.rate_hz * 600, minlength=24)
    observed = np.bincount(found // (3600 * NS_PER_S), minlength=24)
    assert observed.sum() == pytest.approx(recorded.sum(), rel=0.02)
    assert np.abs(observed / recorded - 1).max() < 0.2
    assert times(windows.scaled(0.1)).size == pytest.approx(found.size / 10, rel=0.1)


@needs_data
@pytest.mark.parametrize("path", SERVEGEN, ids=lambda p: p.name.split("_")[1])
def test_servegen_shape_and_cv_agree(path: Path) -> None:
    """p1 is the shape: of Gamma rows, 1/sqrt(p1) is the recorded cv to the last digits."""
    import pyarrow.csv

    table = pyarrow.csv.read_csv(path).to_pylist()
    for row in table:
        if row["family"] == "Gamma":
            assert 1 / math.sqrt(row["p1"]) == pytest.approx(row["cv"], rel=1e-4)
