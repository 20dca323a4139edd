"""``delayline partition`` from end to end: cut, simulate, plan, and run on workers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from delayline.loading import load_config
from delayline.partitioned import parse_device
from delayline.real import brought_up
from policies.workload import Workload
from tests.command_line import Run, runner
from tests.partition_models import dlrm

HERE = "tests.partition_models"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    return runner(capsys)


def test_a_model_is_cut_simulated_planned_and_run(run: Run, tmp_path: Path) -> None:
    """The workers' answers are those of the whole model, in batches of whatever sizes came up."""
    out = tmp_path / "parts"
    words = ("--stages", 3, "--goal", "latency", "--cost", "count", "--batch", 8, "--hop", "1us")
    cut = run("partition", f"{HERE}:dlrm", *words, "--workers", 4, "--out", out, "--json")
    assert cut.code == 0, cut.err
    assert cut.object["bit_equal"]
    assert [stage["after"] for stage in cut.object["stages"]] == [[], [], ["part1", "part2"]]
    assert sum(stage["replicas"] for stage in cut.object["stages"]) == 4
    (out / "notes.txt").write_text("mine")
    again = run("partition", f"{HERE}:dlrm", *words, "--out", out, "--device", "cpu")
    assert "recombined: bit-equal to the whole model on 16 random rows" in again.out, again.err
    assert (out / "notes.txt").read_text() == "mine"

    config = out / "pipeline.yaml"
    simulated = run("simulate", config, "--quiet", "--json")
    assert simulated.code == 0, simulated.err
    planned = run("plan", config, "--rate", "200/s", "--requests", 2000, "--quiet", "--json")
    assert planned.code == 0, planned.err

    model, _ = dlrm()
    count = 40
    with brought_up(load_config(config)) as executor:
        inputs = executor.sample_inputs(count)
        whole = np.arange(count, dtype=np.int64) * 100_000
        result = executor.run(Workload.of(whole), inputs)
    with torch.inference_mode():
        expected = model(*(torch.from_numpy(inputs[name]) for name in ("dense", "sparse")))
    np.testing.assert_allclose(result.answers["output"], expected.numpy(), rtol=1e-5)


def test_looking_first_writes_nothing(run: Run, tmp_path: Path) -> None:
    said = run("partition", f"{HERE}:early", "--list", "--cost", "count")
    assert said.code == 0
    assert "layers.3: linear_3" in said.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--stages", 3), "give the folder for the parts with --out DIR, or --list to look first"),
        (("--out", "FILE"), "is a file; give a folder"),
        (("--out", "FULL"), "holds the folder inner, which is no part of a partition"),
        (("--out", "DIR", "--cost", "guess"), "--cost guess must be measure or count"),
        (("--out", "DIR", "--hop", "3"), "--hop 3: must be a duration such as 2ms"),
        (("--out", "DIR", "--device", "tpu:0"), "--device tpu:0 must read cpu, cpu:CORE,..."),
        (
            ("--out", "DIR", "--device", "cuda:99", "--cost", "measure"),
            "there is no cuda:99 to measure on",
        ),
        (("--out", "DIR", "--stages", 9), "7 nodes cannot be cut into 9 parts; ask for 1 to 7"),
        (("--out", "DIR", "--workers", 1), "--workers: 2 stages need a worker each"),
        (("--out", "DIR", "--cut", "lost"), "no node and no module of"),
        (
            ("--out", "DIR", "--cut", "layers.0", "--strategy", "by_operator_kind"),
            "--cut is for the manual strategy",
        ),
    ],
)
def test_bad_input_is_told_in_a_line_and_leaves_nothing(
    words: tuple[object, ...], message: str, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full" / "inner").mkdir(parents=True)
    places = {"FILE": tmp_path / "file", "FULL": tmp_path / "full", "DIR": tmp_path / "parts"}
    given = [places.get(str(word), word) for word in words]
    cost = () if "--cost" in given else ("--cost", "count")
    assert message in run("partition", f"{HERE}:early", *given, *cost).error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_models_that_cannot_be_cut_exit_with_2(run: Run, tmp_path: Path) -> None:
    for name in ("branching", "misshaped", "counting"):
        said = run("partition", f"{HERE}:{name}", "--out", tmp_path / "parts")
        assert said.error.startswith(f"{HERE}:{name} can")


def test_a_cascade_is_no_model_to_cut(run: Run, tmp_path: Path) -> None:
    said = run(
        "partition", "configs/feed.yaml", "--strategy", "balanced", "--out", tmp_path / "parts"
    )
    assert said.error.startswith(
        "configs/feed.yaml is a pipeline, whose stages are models of their own"
    )
    assert "`delayline tune configs/feed.yaml`" in said.error
    assert not (tmp_path / "parts").exists()


def test_devices_by_name() -> None:
    cores = parse_device("cpu:0,2")
    assert (cores.name, cores.settings["cores"], cores.threads) == ("cpu_0_2", [0, 2], 2)
    assert parse_device("cuda:1").settings == {"slots": 1, "cuda": 1}
    assert parse_device("cpu").settings == {"slots": 1}
