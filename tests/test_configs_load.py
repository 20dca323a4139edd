"""What a configuration means: defaults, short forms, the graph, and the shipped files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import sim.kinds  # noqa: F401
from configs.load import load_config, parse_config
from configs.model import Config
from configs.spellings import Warmup
from policies.fixed import Fixed
from policies.immediate import Immediate
from policies.load_adaptive import LoadAdaptive
from policies.pipeline import Discipline
from sim.arrivals.poisson import Poisson
from sim.items.constant import Constant
from sim.service.affine import Affine
from sim.service.deterministic import Deterministic
from sim.service.exponential import Exponential
from sim.service.table import Table

SHIPPED = Path(__file__).resolve().parents[1] / "configs"


def config_of(*stages: dict[str, Any], **parts: Any) -> Config:
    return parse_config({"stages": list(stages), **parts})


def test_the_minimal_config() -> None:
    config = load_config(SHIPPED / "mm1.yaml")
    assert (config.name, config.seed, config.replications) == ("mm1", 1, 1)
    assert config.workload.arrivals == Poisson(800.0)
    assert config.workload.requests == 200_000
    (server,) = config.stages
    assert (server.name, server.replicas, server.max_batch) == ("server", 1, 1)
    assert server.service == Exponential(1_000_000)
    assert server.policy == Immediate()


def test_the_short_form_of_the_literature() -> None:
    config = load_config(SHIPPED / "short.yaml")
    assert config.name == "short"
    assert [(stage.name, stage.policy) for stage in config.stages] == [
        ("input", Fixed(10_000_000)),
        ("processing", Fixed(20_000_000)),
        ("output", Fixed(30_000_000)),
    ]
    assert config.parents() == {"input": (), "processing": ("input",), "output": ("processing",)}
    assert config.workload.arrivals == Poisson(100.0)
    assert config.workload.requests == 10_000
    assert {stage.service for stage in config.stages} == {Deterministic(0)}


def test_the_benchmark_pipeline() -> None:
    config = load_config(SHIPPED / "pipeline4.yaml")
    assert config.workload.arrivals == Poisson(5000.0)
    assert config.workload.requests == 200_000
    assert [stage.name for stage in config.stages] == ["recall", "prerank", "rank", "rerank"]
    assert [stage.replicas for stage in config.stages] == [1, 1, 4, 1]
    assert {stage.max_batch for stage in config.stages} == {32}
    assert {stage.policy for stage in config.stages} == {Fixed(2_000_000)}
    assert {stage.service for stage in config.stages} == {Affine(1_000_000, 50_000)}


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_files_name_the_schema(path: Path) -> None:
    first, second = path.read_text(encoding="utf-8").splitlines()[:2]
    assert first == "# yaml-language-server: $schema=schema.json"
    assert second.startswith("# ")


@pytest.mark.parametrize("name", ["mm1", "short", "pipeline4", "dag", "feed_diurnal"])
def test_shipped_files_load(name: str) -> None:
    assert load_config(SHIPPED / f"{name}.yaml").name == name


def test_defaults() -> None:
    config = config_of({"name": "a"})
    assert config.name == "config"
    assert config.seed == 0
    assert config.objective is None
    assert config.warmup == Warmup()
    assert config.devices == {}
    assert config.workload.items is None
    assert config.workload.deadline_ns is None
    assert not config.workload.expire
    assert (config.estimates.window_ns, config.estimates.weight) == (100_000_000, 0.5)
    assert config.validate.loads == (0.3, 0.5, 0.7, 0.9)
    assert config.validate.duration_ns == 10_000_000_000
    (stage,) = config.stages
    assert (stage.replicas, stage.max_batch, stage.max_items) == (1, 32, None)
    assert (stage.discipline, stage.queue_bound, stage.keep) == (Discipline.FIFO, None, None)
    assert (stage.device, stage.after, stage.model) == ((), None, None)
    assert (stage.service, stage.policy) == (Deterministic(0), Immediate())


def test_short_forms_of_kinds() -> None:
    config = config_of(
        {"name": "a", "service": "3ms", "policy": "load_adaptive"},
        workload={"arrivals": "50/s", "items": 7, "duration": "1s"},
    )
    assert config.workload.arrivals == Poisson(50.0)
    assert config.workload.items == Constant(7)
    assert config.workload.requests is None
    assert config.stages[0].service == Deterministic(3_000_000)
    assert config.stages[0].policy == LoadAdaptive()


def test_default_arrivals_keep_the_bound_that_is_given() -> None:
    assert config_of({"name": "a"}, workload={"requests": 5}).workload.requests == 5
    timed = config_of({"name": "a"}, workload={"duration": "1s"}).workload
    assert (timed.requests, timed.duration_ns) == (None, 10**9)
    assert config_of({"name": "a"}, workload={"deadline": "1s"}).workload.requests == 10_000


def test_recorded_arrivals_need_no_bound() -> None:
    arrivals = {"kind": "counts", "interval": "1s", "counts": [3, 4]}
    assert config_of({"name": "a"}, workload={"arrivals": arrivals}).workload.requests is None


def test_a_stage_that_says_after_makes_a_graph() -> None:
    config = config_of(
        {"name": "a"},
        {"name": "b"},
        {"name": "c", "after": ["a", "b"]},
        {"name": "d", "after": "c"},
    )
    assert config.parents() == {"a": (), "b": (), "c": ("a", "b"), "d": ("c",)}


def test_an_empty_after_makes_a_graph_too() -> None:
    assert config_of({"name": "a"}, {"name": "b", "after": []}).parents() == {"a": (), "b": ()}


def test_units_inside_lists_and_mappings() -> None:
    config = config_of(
        {"name": "a", "service": {"kind": "table", "points": {1: "1ms", 8: "2.1ms"}}},
        workload={
            "arrivals": {"kind": "mmpp", "rates": ["10/s", "200/s"], "sojourn": ["1s", "100ms"]},
            "requests": 1e6,
        },
        validate={"holds": [0, "1ms"]},
    )
    assert config.stages[0].service == Table({1: 1_000_000, 8: 2_100_000})
    assert config.workload.arrivals.rates_hz == (10.0, 200.0)
    assert config.workload.arrivals.sojourn_ns == (10**9, 10**8)
    assert config.workload.requests == 1_000_000
    assert config.validate.holds_ns == (0, 1_000_000)


@pytest.mark.parametrize(
    ("written", "warmup", "cut_ns"),
    [
        ("10%", Warmup(percent=10), 100),
        ("0.5%", Warmup(percent=0.5), 5),
        ("2us", Warmup(duration_ns=2000), 2000),
        (0, Warmup(), 0),
    ],
)
def test_warmup(written: object, warmup: Warmup, cut_ns: int) -> None:
    config = config_of({"name": "a"}, warmup=written)
    assert config.warmup == warmup
    assert config.warmup.cut_ns(1000) == cut_ns


def test_one_device_serves_all_replicas_or_each_has_its_own() -> None:
    devices = {"gpu0": {}, "gpu1": {"slots": 2, "cuda": 1}, "cpu": {"cores": [0, 1]}}
    config = config_of(
        {"name": "a", "device": "gpu0", "replicas": 3},
        {"name": "b", "device": ["gpu0", "gpu1"], "replicas": 2},
        devices=devices,
    )
    assert [stage.device for stage in config.stages] == [("gpu0",), ("gpu0", "gpu1")]
    assert config.devices["gpu1"].slots == 2
    assert config.devices["cpu"].cores == (0, 1)


def test_a_stage_is_found_by_name() -> None:
    config = config_of({"name": "a"}, {"name": "b"})
    assert config.stage("b") is config.stages[1]
    with pytest.raises(KeyError):
        config.stage("c")


def test_reading_a_configuration_needs_no_engine() -> None:
    code = (
        "import sys, configs.load, configs.dump, configs.json_schema, configs.pipeline, configs.tuning;"
        "engines = {'torch', 'simpy', 'numba', 'scipy', 'pyarrow', 'sim', 'executors', 'reports'};"
        "print(sorted(engines & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[]\n", "")
