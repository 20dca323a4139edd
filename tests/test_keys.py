"""Keys of requests: distributions against theory, and their way through both drivers to the records."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import delayline
import sim.kinds  # noqa: F401
from configs.errors import ConfigError
from configs.load import parse_config
from configs.model import Config
from configs.yaml_text import parse_yaml
from policies.requests import RequestTable
from policies.runlog import Int64
from policies.workload import ClosedWorkload, Workload
from sim.columns import TraceError
from sim.keys.base import Keys
from sim.keys.column import KeyColumn
from sim.keys.uniform import UniformKeys
from sim.keys.zipf import Zipf
from sim.simulate import open_workload, replay, simulate, workload_of
from sim.streams import stream
from sim.tuning.evaluate import first_part

KEYED = """
name: keyed
workload: {arrivals: 900/s, requests: 400, keys: {kind: zipf, count: 50}}
stages: [{name: rank, max_batch: 8, service: {kind: affine, base: 1ms, per_request: 50us}}]
"""


def keyed(*overrides: str) -> Config:
    return parse_config(parse_yaml(KEYED, "keyed.yaml"), file="/keyed.yaml", overrides=overrides)


def drawn(keys: Keys, count: int = 100_000, seed: int = 1) -> Int64:
    return keys.draw(stream(seed, 0, "keys"), count)


@pytest.mark.parametrize("exponent", [0.0, 0.7, 1.0, 1.1, 2.5])
def test_zipf_keys_come_by_the_power_of_their_rank(exponent: float) -> None:
    found = drawn(Zipf(40, exponent))
    weights = np.arange(1.0, 41.0) ** -exponent
    seen = np.bincount(found, minlength=40)
    assert stats.chisquare(seen, weights / weights.sum() * len(found)).pvalue > 0.001


def test_uniform_keys_are_all_as_likely() -> None:
    seen = np.bincount(drawn(UniformKeys(25)), minlength=25)
    assert len(seen) == 25
    assert stats.chisquare(seen).pvalue > 0.001


@given(
    st.one_of(
        st.builds(Zipf, st.integers(1, 10**6), st.floats(0, 20)),
        st.builds(UniformKeys, st.integers(1, 10**8)),
    ),
    st.integers(0, 2**32),
)
@settings(deadline=None, max_examples=50)
def test_keys_are_whole_numbers_below_their_count_and_follow_the_seed(
    keys: Zipf | UniformKeys, seed: int
) -> None:
    found = drawn(keys, 50, seed)
    assert found.dtype == np.int64
    assert 0 <= found.min() <= found.max() < keys.count
    np.testing.assert_array_equal(found, drawn(keys, 50, seed))


def test_a_column_keeps_whole_numbers_and_numbers_names(tmp_path: Path) -> None:
    path = tmp_path / "asked.csv"
    path.write_text("user,item\nann,9000000000000000001\nbob,-3\nann,7\n")
    assert drawn(KeyColumn(path, "user"), 3).tolist() == [0, 1, 0]
    assert drawn(KeyColumn(path, "item"), 3).tolist() == [9_000_000_000_000_000_001, -3, 7]
    with pytest.raises(TraceError, match="4 requests need a key each, the file has 3 rows"):
        drawn(KeyColumn(path, "user"), 4)


def test_integers_beyond_64_bits_with_a_sign_are_numbered(tmp_path: Path) -> None:
    path = tmp_path / "asked.parquet"
    pq.write_table(pa.table({"hash": pa.array([2**64 - 1, 5, 2**64 - 1], pa.uint64())}), path)
    assert drawn(KeyColumn(path, "hash"), 3).tolist() == [0, 1, 0]


def test_a_missing_key_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "asked.csv"
    path.write_text("at,user\n0,4\n1,\n")
    with pytest.raises(TraceError, match="line 3, column user: the value is missing"):
        drawn(KeyColumn(path, "user"), 2)


def test_keys_of_a_trace_that_is_sorted_on_reading_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "asked.csv"
    path.write_text("at,user\n1,4\n0,5\n")
    arrivals = f"{{kind: trace, path: {path}, column: at, sort: true}}"
    keys = f"{{kind: column, path: {path}, column: user}}"
    config = keyed(f"workload={{arrivals: {arrivals}, keys: {keys}}}")
    with pytest.raises(ValueError, match="sort the file once and leave `sort` out"):
        workload_of(config)


def test_both_drivers_log_the_keys_and_meet_the_arrivals_of_a_run_without() -> None:
    config = keyed()
    asked = workload_of(config)
    logs = [simulate(config, engine=engine) for engine in ("simpy", "compiled")]
    for log in logs:
        np.testing.assert_array_equal(log.requests.keys, asked.keys)
    bare = simulate(replace(config, workload=replace(config.workload, keys=None)))
    assert bare.requests.keys is None
    np.testing.assert_array_equal(bare.requests.ended_ns, logs[0].requests.ended_ns)


def test_records_have_the_column_where_there_are_keys_only(tmp_path: Path) -> None:
    config = keyed()
    bare = replace(config, workload=replace(config.workload, keys=None))
    for name, each in (("keyed", config), ("bare", bare)):
        delayline.write_run(tmp_path / name, delayline.run_of(each, simulate(each)))
    assert "key" not in pq.read_schema(tmp_path / "bare/requests.parquet").names
    assert pq.read_schema(tmp_path / "keyed/requests.parquet").names[-1] == "key"
    read = delayline.read_run(tmp_path / "keyed").log
    np.testing.assert_array_equal(read.requests.keys, workload_of(config).keys)
    assert delayline.read_run(tmp_path / "bare").log.requests.keys is None
    again = replay(config, read)
    np.testing.assert_array_equal(again.requests.keys, read.requests.keys)
    np.testing.assert_array_equal(again.requests.ended_ns, read.requests.ended_ns)


def test_a_closed_loop_sends_its_keys_on_the_reference_driver() -> None:
    config = keyed("workload.arrivals={kind: closed, clients: 3, think: 2ms}")
    asked = workload_of(config)
    assert isinstance(asked, ClosedWorkload)
    log = simulate(config)
    assert log.info["engine_reason"] == "the clients of a closed loop send keys"
    assert log.requests.keys is not None
    assert asked.keys is not None
    assert sorted(log.requests.keys) == sorted(asked.keys)


def test_a_part_of_a_workload_keeps_its_keys() -> None:
    whole = workload_of(keyed())
    part = first_part(whole, 4)
    assert isinstance(whole, Workload)
    assert isinstance(part, Workload)
    np.testing.assert_array_equal(part.keys, whole.keys[:100] if whole.keys is not None else None)
    assert open_workload(simulate(keyed())).keys is not None


def test_a_table_takes_a_key_from_all_or_from_none() -> None:
    table = RequestTable()
    assert table.append(0, 1, 1, 0, 7) == 0
    assert list(table.keys or ()) == [7]
    with pytest.raises(ValueError, match="give every request a key, or none of them"):
        table.append(0, 1, 1, 0)
    bare = RequestTable()
    bare.append(0, 1, 1, 0)
    with pytest.raises(ValueError, match="give every request a key, or none of them"):
        bare.append(0, 1, 1, 0, 7)


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ("{kind: zipf, count: 0}", "workload.keys.count: must be at least 1, not 0"),
        (
            "{kind: zipf, count: 5, exponent: -1}",
            "workload.keys.exponent: must be at least 0, not -1",
        ),
        ("{kind: zipff, count: 5}", "there is no keys kind 'zipff'; did you mean `zipf`?"),
        ("7", "workload.keys: must be a kind such as {kind: zipf, ...}, not 7"),
    ],
)
def test_knobs_out_of_bounds_are_named(keys: str, says: str) -> None:
    with pytest.raises(ConfigError) as told:
        keyed(f"workload.keys={keys}")
    assert says in str(told.value)
