"""Records: what is written is read back, and nothing half-written is taken for whole."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reports import record_tables, records
from reports.records import RecordsError
from reports.run import Objective, Run
from tests.run_maker import Maker, MakerStage, arrivals, chain, diamond


def assert_equal(found: Any, expected: Any) -> None:
    """Equality of values that hold arrays, with dtypes."""
    if dataclasses.is_dataclass(expected):
        assert type(found) is type(expected)
        for field in dataclasses.fields(expected):
            assert_equal(getattr(found, field.name), getattr(expected, field.name))
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.tolist() == expected.tolist()
    elif isinstance(expected, tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_equal(one, other)
    else:
        assert found == expected


@pytest.fixture
def run() -> Run:
    return Run(
        name="mm1",
        log=diamond(5, loss=0.2, bound=4),
        objective=Objective(50_000_000, 99.0),
        warmup_ns=3,
        config={"name": "mm1", "seed": 7, "stages": [{"name": "a", "delay": "2ms"}]},
    )


def test_a_run_survives_the_disk(tmp_path: Path, run: Run) -> None:
    records.write(tmp_path / "deep" / "run", run)
    found = records.read(tmp_path / "deep" / "run")
    assert_equal(found.log, run.log)
    assert (found.name, found.objective, found.warmup_ns) == ("mm1", run.objective, 3)
    assert found.config == run.config
    assert found.created.startswith("20")
    assert {"python", "numpy"} <= set(found.versions)
    records.write(tmp_path / "again", found)
    assert_equal(records.read(tmp_path / "again"), found)


names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 40),
    loss=st.sampled_from([0.0, 0.4]),
    stage_names=st.lists(names, min_size=2, max_size=2, unique=True),
    info=st.dictionaries(names, st.integers(-(2**63), 2**63) | names | st.booleans() | st.none()),
)
def test_every_run_survives_the_disk(
    seed: int, count: int, loss: float, stage_names: list[str], info: dict[str, object]
) -> None:
    first, second = stage_names
    stages = [
        MakerStage(first, devices=(0, 0), queue_bound=3),
        MakerStage(second, (first,), (0,), branch=first),
    ]
    maker = Maker(stages, (2,), arrivals(seed, count, 6.0), seed=seed, loss=loss)
    log = dataclasses.replace(maker.run(), info=info)
    with tempfile.TemporaryDirectory() as folder:
        records.write(Path(folder) / "run", Run(name=first, log=log))
        assert_equal(records.read(Path(folder) / "run").log, log)


def test_tables_are_written_in_chunks(
    tmp_path: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_tables, "CHUNK_ROWS", 7)
    records.write(tmp_path / "run", run)
    assert pq.ParquetFile(tmp_path / "run" / "requests.parquet").num_row_groups > 20
    assert_equal(records.read(tmp_path / "run").log, run.log)


def test_the_tables_say_what_the_design_says(tmp_path: Path, run: Run) -> None:
    records.write(tmp_path / "run", run)
    requests = pq.read_table(tmp_path / "run" / "requests.parquet").to_pylist()
    outcomes = {row["outcome"] for row in requests}
    assert outcomes <= {"completed", "shed", "expired", "failed"}
    assert len(outcomes) > 1
    for row in requests:
        answered = row["outcome"] == "completed"
        assert (row["completed_ns"] is not None) == answered
        assert (row["reason"] is None) == answered
    visits = pq.read_table(tmp_path / "run" / "visits.parquet").to_pylist()
    batches = pq.read_table(tmp_path / "run" / "batches.parquet").to_pylist()
    by_stage: dict[str, list[dict[str, Any]]] = {}
    for row in batches:
        by_stage.setdefault(row["stage"], []).append(row)
    for row in visits:
        if row["batch"] is None:
            assert row["dispatched_ns"] is None
            assert row["finished_ns"] is None
            continue
        batch = by_stage[row["stage"]][row["row"]]
        for name in ("batch", "dispatched_ns", "finished_ns"):
            assert row[name] == batch[name]
    no_deadline = tmp_path / "chain"
    records.write(no_deadline, Run("chain", chain(count=5)))
    table = pq.read_table(no_deadline / "requests.parquet")
    assert table["deadline_ns"].null_count == 5


def test_run_json_tells_what_ran(tmp_path: Path, run: Run) -> None:
    records.write(tmp_path / "run", run)
    document = json.loads((tmp_path / "run" / "run.json").read_text())
    assert document["format"] == "delayline-run/1"
    assert (document["engine"], document["seed"]) == ("maker", 7)
    assert document["end_ns"] == run.log.end_ns
    assert document["stages"][3]["parents"] == ["left", "right"]
    assert document["devices"][3] == {"name": "dev3", "slots": 2}


def test_a_run_folder_is_replaced_and_its_report_kept(tmp_path: Path, run: Run) -> None:
    records.write(tmp_path / "run", run)
    (tmp_path / "run" / "report.html").write_text("old report")
    records.write(tmp_path / "run", dataclasses.replace(run, name="second"))
    assert records.read(tmp_path / "run").name == "second"
    assert (tmp_path / "run" / "report.html").read_text() == "old report"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_an_empty_folder_may_be_used(tmp_path: Path, run: Run) -> None:
    (tmp_path / "run").mkdir()
    records.write(tmp_path / "run", run)
    assert records.is_run(tmp_path / "run")


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, run: Run) -> None:
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "chapter1.tex").write_text("words")
    with pytest.raises(RecordsError, match=r"not the folder of a run \(it holds chapter1.tex\)"):
        records.write(target, run)
    (target / "run.json").write_text("{}")
    with pytest.raises(RecordsError, match=r"chapter1\.tex"):
        records.write(target, run)
    assert (target / "chapter1.tex").read_text() == "words"
    with pytest.raises(RecordsError, match="is a file"):
        records.write(target / "chapter1.tex", run)


def test_what_is_missing_is_named(tmp_path: Path, run: Run) -> None:
    with pytest.raises(RecordsError, match=r"no run is recorded in .* \(run.json is missing\)"):
        records.read(tmp_path)
    records.write(tmp_path / "run", run)
    (tmp_path / "run" / "visits.parquet").unlink()
    with pytest.raises(RecordsError, match=r"visits.parquet is missing"):
        records.read(tmp_path / "run")


@pytest.mark.parametrize("name", ["requests", "visits", "batches"])
def test_a_table_that_was_cut_short_is_refused(tmp_path: Path, run: Run, name: str) -> None:
    records.write(tmp_path / "run", run)
    path = tmp_path / "run" / f"{name}.parquet"
    data = path.read_bytes()
    for length in (0, 3, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:length])
        with pytest.raises(RecordsError, match=rf"{name}.parquet is damaged"):
            records.read(tmp_path / "run")


def test_tables_of_another_run_are_refused(tmp_path: Path, run: Run) -> None:
    records.write(tmp_path / "run", run)
    records.write(tmp_path / "other", Run("other", chain(count=9)))
    shutil.copy(tmp_path / "other" / "requests.parquet", tmp_path / "run" / "requests.parquet")
    with pytest.raises(RecordsError, match=r"has 9 rows, run.json says 200"):
        records.read(tmp_path / "run")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "delayline-run/99"}, r"format 'delayline-run/99', this version reads"),
        ({"stages": [{"name": "split"}]}, r"do not fit together"),
        ({"devices": 3}, r"do not fit together"),
        ({"rows": {}}, r"has 200 rows, run.json says None"),
    ],
)
def test_another_run_json_is_refused(
    tmp_path: Path, run: Run, change: dict[str, object], message: str
) -> None:
    records.write(tmp_path / "run", run)
    path = tmp_path / "run" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RecordsError, match=message):
        records.read(tmp_path / "run")


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\0"])
def test_a_run_json_that_is_none_is_refused(tmp_path: Path, run: Run, text: str) -> None:
    records.write(tmp_path / "run", run)
    (tmp_path / "run" / "run.json").write_text(text)
    with pytest.raises(RecordsError, match=r"run.json"):
        records.read(tmp_path / "run")


_WRITE = """
import sys
from pathlib import Path
from reports import records
from reports.run import Run
from tests.run_maker import diamond
{setup}
run = Run("big", diamond(count=3000))
try:
    records.write(Path(sys.argv[1]), run)
except records.RecordsError as error:
    print(error)
"""


def _write_elsewhere(target: Path, setup: str = "") -> str:
    code = _WRITE.format(setup=setup)
    root = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=root, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_that_may_not_grow_leaves_nothing_behind(tmp_path: Path, run: Run) -> None:
    records.write(tmp_path / "run", run)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))"
    message = _write_elsewhere(tmp_path / "run", limit)
    assert message.startswith(f"cannot write the records to {tmp_path / 'run'}: File too large")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert_equal(records.read(tmp_path / "run").log, run.log)


def test_a_full_disk_is_named_and_left_clean(tiny_disk: Path) -> None:
    message = _write_elsewhere(tiny_disk / "run")
    assert message.startswith(f"no space for the records in {tiny_disk / 'run'}: they need up to ")
    assert "0.0 MB are free; make room" in message
    assert list(tiny_disk.iterdir()) == []


def test_a_write_that_breaks_off_leaves_the_run_that_was_there(tmp_path: Path, run: Run) -> None:
    records.write(tmp_path / "run", run)

    broken = dataclasses.replace(run, config={"not json": object()})
    with pytest.raises(TypeError):
        records.write(tmp_path / "run", broken)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert_equal(records.read(tmp_path / "run").log, run.log)
