"""Models in parts: the parts together are the model, and what cannot be cut is named."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from executors.exported import ExportedSource, like
from executors.partition.archive import ArchiveError, load_archive
from executors.partition.costs import CostKind, counted_ns, measured_ns
from executors.partition.errors import PartitionError
from executors.partition.partition import (
    Analysis,
    Partition,
    PartitionPlan,
    analyse,
    choose,
    partition,
)
from executors.partition.verify import TOLERANCE
from policies.partition.choices import Goal, Strategy
from tests import partition_models

HERE = "tests.partition_models"
PLAN = PartitionPlan(stages=3, cost=CostKind.COUNT, batch=8)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def looked_through(name: str) -> Analysis:
    """Exporting takes a second, so once for all tests."""
    return analyse(f"{HERE}:{name}", PLAN)


def cut_up(name: str, folder: Path, plan: PartitionPlan = PLAN) -> Partition:
    analysis = analyse(name, plan) if "/" in name else looked_through(name)
    return partition(analysis, choose(analysis, plan), plan, folder)


@pytest.mark.parametrize("name", ["dlrm", "dcn", "two_tower", "convolutions", "early"])
def test_the_parts_together_are_the_model_to_the_bit(name: str, tmp_path: Path) -> None:
    """Each part is loaded as its stage loads it; the check runs on random rows."""
    found = cut_up(name, tmp_path)
    assert len(found.parts) == 3
    assert found.equality.exact
    assert found.equality.rows == 16
    assert all(part.nodes for part in found.parts)


def test_an_encoder_is_cut_between_layers_and_its_shared_table_is_stored_once(
    tmp_path: Path,
) -> None:
    """The module takes a fused way that the graph has not, hence the tolerance."""
    found = cut_up("encoder", tmp_path)
    assert found.cut.exact
    assert found.equality.largest <= TOLERANCE
    assert found.shared == {"tokens.weight": ["part1", "part3"]}
    stored = load_file(tmp_path / "weights.safetensors")
    assert "head.weight" not in stored
    assert "positions" in stored
    whole, _ = partition_models.encoder()
    tensors = {p.data_ptr(): p.numel() for p in whole.parameters()}
    assert sum(t.numel() for t in stored.values()) == sum(tensors.values()) + 7


def test_stages_of_the_recommender_are_cut(tmp_path: Path, monkeypatch: Any) -> None:
    from tests.recommender_cases import saved_recommender

    weights = tmp_path / "weights"
    saved_recommender(weights)
    monkeypatch.setattr(partition_models, "RECOMMENDER", weights)
    found = cut_up("recommender", _made(tmp_path / "parts"))
    assert found.equality.exact
    assert found.parts[-1].outputs == ("candidates", "scores")
    assert "its size depends on the data" in found.analysis.graph.kept_whole[0]


def test_branches_of_a_dlrm_run_side_by_side_for_latency(tmp_path: Path) -> None:
    found = cut_up("dlrm", tmp_path, replace(PLAN, goal=Goal.LATENCY, hop_ns=0.0))
    assert found.analysis.structure.most_branches == 5
    first, second, last = found.parts
    assert (first.after, second.after, last.after) == ((), (), ("part1", "part2"))


def test_lookups_lie_apart_by_kind(tmp_path: Path) -> None:
    plan = replace(PLAN, strategy=Strategy.BY_OPERATOR_KIND, stages=None)
    found = cut_up("dlrm", tmp_path, plan)
    tables = {f"tables.{place}.weight" for place in range(4)}
    assert [set(part.weights) & tables for part in found.parts] == [tables, set(), set()]
    assert set(found.parts[0].weights) == tables


def test_parts_end_where_the_user_says(tmp_path: Path) -> None:
    plan = replace(PLAN, strategy=Strategy.MANUAL, cuts=("bottom,tables.0", "towers"), stages=None)
    found = cut_up("dlrm", tmp_path, plan)
    assert {w.split(".")[0] for w in found.parts[0].weights} == {"bottom", "tables"}
    assert {w.split(".")[0] for w in found.parts[1].weights} == {"tables", "towers"}
    assert {w.split(".")[0] for w in found.parts[2].weights} == {"top", "first", "second"}


def test_what_depends_on_the_data_stays_in_one_part_and_is_named(tmp_path: Path) -> None:
    found = cut_up("selecting", tmp_path)
    (kept,) = found.analysis.graph.kept_whole
    line = _line_of("torch.nonzero")
    assert kept.endswith(f"at partition_models.py:{line}: its size depends on the data")
    assert found.equality.exact


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("branching", "at partition_models.py:{if features.sum} `if features.sum() > 0:`: control"),
        ("counting", "add_ at partition_models.py:{self.calls.add_} writes in place to 'calls'"),
        ("overwriting", "mul_ at partition_models.py:{[:, 0].mul_} writes in place to its input"),
        ("mixing", "output 'output' of a row depends on the other rows of its batch"),
        ("fixed", "cannot be exported: the model fixes or limits the number of rows"),
        ("noisy", "rand_like at partition_models.py:{torch.rand_like} draws random numbers"),
        ("summing", "output 'output' at partition_models.py:{features.exp} has shape []; a stage"),
        ("misshaped", "cannot run its example inputs: mat1 and mat2 shapes cannot be multiplied"),
        ("uneven", "example input sparse has 7 rows where the first has 6"),
        ("constant", "example input input is int; all inputs must be tensors"),
        ("extra", "forward does not take its example inputs: too many positional arguments"),
        ("no_module", "must return (module, args) or (module, args, kwargs), not int"),
        ("raising", "raising raised RuntimeError: no weights here"),
        ("absent", "module tests.partition_models has no absent"),
        ("no.such:thing", "module no.such cannot be imported"),
        ("nothing", "is neither a .pt2 file that is there nor `package.module:factory`"),
    ],
)
def test_what_cannot_be_cut_is_named_with_its_line(name: str, message: str, tmp_path: Path) -> None:
    text = name if ":" in name or name == "nothing" else f"{HERE}:{name}"
    head, brace, rest = message.partition("{")
    if brace:
        code, _, tail = rest.partition("}")
        message = f"{head}{_line_of(code)}{tail}"
    plan = replace(PLAN, stages=1)

    def whole() -> None:
        analysis = analyse(text, plan)
        partition(analysis, choose(analysis, plan), plan, tmp_path)

    with pytest.raises(PartitionError) as caught:
        whole()
    assert message in str(caught.value)


def test_more_stages_than_can_be_apart_are_refused(tmp_path: Path) -> None:
    analysis = looked_through("selecting")
    with pytest.raises(
        PartitionError, match=r"5 nodes cannot be cut into 6 parts.*its 12 operators make 5 pieces"
    ):
        choose(analysis, replace(PLAN, stages=6))
    with pytest.raises(PartitionError, match=r"no node and no module of .* is called 'lost'"):
        choose(analysis, replace(PLAN, strategy=Strategy.MANUAL, cuts=("lost",)))
    with pytest.raises(PartitionError, match="needs to be told where: --cut NODE"):
        choose(analysis, replace(PLAN, strategy=Strategy.MANUAL))


def test_costs_are_counted_and_measured() -> None:
    graph = looked_through("dcn").graph
    counted = dict(zip((node.name for node in graph.nodes), counted_ns(graph), strict=True))
    assert counted["linear"] == 2 * 8 * 24 * 24 / 10
    assert counted["cat"] == 8 * 24 / 10
    measured = measured_ns(graph, "cpu", 1)
    assert len(measured) == len(counted)
    assert all(cost > 0 for cost in measured)


def exported(folder: Path, module: nn.Module, rows: Any = None, **inputs: torch.Tensor) -> Path:
    rows = torch.export.Dim("rows") if rows is None else rows
    shapes = {name: {0: rows} for name in inputs} if rows else None
    program = torch.export.export(module.eval(), (), dict(inputs), dynamic_shapes=shapes)
    torch.export.save(program, folder / "model.pt2")
    return folder / "model.pt2"


def test_an_archive_is_cut_like_its_module_and_serves_as_a_stage(tmp_path: Path) -> None:
    module, args = partition_models.dcn()
    features, items = args
    path = exported(tmp_path, module, features=features, items=items)
    found = cut_up(str(path), _made(tmp_path / "parts"))
    assert found.equality.exact
    source = ExportedSource(path)
    inputs = source.sample_inputs(np.random.default_rng(0), 5)
    model = source.load("cpu", None)
    batch = {name: torch.from_numpy(array) for name, array in inputs.items()}
    with torch.inference_mode():
        assert torch.equal(model(batch)["output"], module(batch["features"], batch["items"]))
    with pytest.raises(ArchiveError, match="leave out keep: 3"):
        source.load("cpu", 3)
    with pytest.raises(PartitionError, match="is a part of a partition; give the whole model"):
        analyse(str(tmp_path / "parts" / "part1.pt2"), PLAN)


def test_an_archive_of_fixed_rows_is_refused(tmp_path: Path) -> None:
    path = exported(tmp_path, nn.Linear(3, 2), rows=False, input=torch.ones(4, 3))
    with pytest.raises(PartitionError, match=r"input 'input' has the fixed shape \[4, 3\]"):
        analyse(str(path), PLAN)


def test_examples_may_be_given(tmp_path: Path) -> None:
    file, text = tmp_path / "rows.safetensors", f"{HERE}:early"
    save_file({"features": torch.full((3, 4), 2.0)}, file)
    assert analyse(text, PLAN, file).captured.examples["features"].tolist() == [[2.0] * 4] * 8
    save_file({"features": torch.ones(3, 5)}, file)
    with pytest.raises(PartitionError, match=r"'features' is float32 of shape \[5\] a row where"):
        analyse(text, PLAN, file)
    save_file({"rows": torch.ones(3, 4)}, file)
    with pytest.raises(PartitionError, match="has no tensor 'features', which the model takes"):
        analyse(text, PLAN, file)
    with pytest.raises(PartitionError, match="there is no file"):
        analyse(text, PLAN, tmp_path / "none.safetensors")


class Exploit:
    """What a pickle can do."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return (Path("/tmp/delayline-was-here").touch, ())  # noqa: S108


def _with(path: Path, change: Callable[[str, bytes], bytes], extra: dict[str, bytes]) -> Path:
    """A copy of an archive with entries changed and added."""
    changed = path.with_name("changed.pt2")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(changed, "w") as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
        for name, content in extra.items():
            new.writestr(f"model/{name}", content)
    return changed


def _json(edit: Callable[[dict[str, Any]], None]) -> Callable[[bytes], bytes]:
    def changed(raw: bytes) -> bytes:
        document = json.loads(raw)
        edit(document)
        return json.dumps(document).encode()

    return changed


def _pickled(document: dict[str, Any]) -> None:
    next(iter(document["config"].values()))["use_pickle"] = True


def _sympy(document: dict[str, Any]) -> None:
    values = document["graph_module"]["graph"]["tensor_values"]
    values["input"]["sizes"][0]["as_expr"]["expr_str"] = "__import__('os').getcwd()"


def _call(document: dict[str, Any]) -> None:
    document["graph_module"]["graph"]["nodes"][0]["target"] = "torch.hub.load"


@pytest.mark.parametrize(
    ("entry", "edit", "message"),
    [
        ("data/weights/model_weights_config.json", _json(_pickled), "weight is pickled"),
        ("models/model.json", _json(_sympy), "the graph holds \"__import__('os').getcwd()\""),
        ("models/model.json", _json(_call), "the graph holds 'torch.hub.load'"),
        ("data/sample_inputs/model.pt", lambda _: _saved(Exploit()), "are more than tensors"),
    ],
)
def test_archives_that_could_run_code_are_refused(
    entry: str, edit: Callable[[bytes], bytes], message: str, tmp_path: Path
) -> None:
    path = exported(tmp_path, nn.Linear(3, 2), input=torch.ones(4, 3))

    def change(name: str, raw: bytes) -> bytes:
        return edit(raw) if name.endswith(entry) else raw

    with pytest.raises(ArchiveError) as caught:
        load_archive(_with(path, change, {}))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["data/aotinductor/model/lib.so", "data/weights/model.pt", "data/constants/custom_obj_0"],
)
def test_archives_with_code_or_pickles_are_refused(name: str, tmp_path: Path) -> None:
    path = exported(tmp_path, nn.Linear(3, 2), input=torch.ones(4, 3))
    bad = _with(path, lambda _, raw: raw, {name: pickle.dumps(Exploit())})
    with pytest.raises(ArchiveError, match=r"holds .*, which could run code when loaded"):
        load_archive(bad)


def test_guards_are_not_kept(tmp_path: Path) -> None:
    """They are Python text that torch would compile."""
    path = exported(tmp_path, nn.Linear(3, 2), input=torch.ones(4, 3))

    def edit(document: dict[str, Any]) -> None:
        document["guards_code"] = ["__import__('os').abort()"]

    def change(name: str, raw: bytes) -> bytes:
        return _json(edit)(raw) if name.endswith("models/model.json") else raw

    changed = _with(path, change, {})
    assert analyse(str(changed), replace(PLAN, stages=1)).graph.nodes


def test_files_that_are_no_archives(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="there is no file"):
        load_archive(tmp_path / "none.pt2")
    (tmp_path / "text.pt2").write_text("not a zip")
    with pytest.raises(ArchiveError, match=r"is no torch\.export archive"):
        load_archive(tmp_path / "text.pt2")


def test_a_part_needs_the_weights_of_its_own_partition(tmp_path: Path) -> None:
    cut_up("dcn", tmp_path, replace(PLAN, stages=2))
    file = tmp_path / "weights.safetensors"
    stored = load_file(file)
    save_file({name: tensor[..., :1].contiguous() for name, tensor in stored.items()}, file)
    with pytest.raises(ArchiveError, match="they are of different partitions"):
        ExportedSource(tmp_path / "part1.pt2").load("cpu", None)
    file.unlink()
    with pytest.raises(ArchiveError, match="which holds the weights of its parts"):
        ExportedSource(tmp_path / "part1.pt2").load("cpu", None)


def test_random_inputs_are_like_the_examples() -> None:
    rng = np.random.default_rng(0)
    whole = like(np.array([[1, 5], [3, 5]]), rng, 50)
    assert set(whole[:, 0].tolist()) == {1, 2, 3}
    assert set(whole[:, 1].tolist()) == {5}
    floats = like(np.array([[10.0], [12.0]], np.float32), rng, 2000)
    assert floats.dtype == np.float32
    assert floats.mean() == pytest.approx(11, abs=0.1)
    assert like(np.array([True, True]), rng, 9).all()


def _saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(((value,), {}), buffer)
    return buffer.getvalue()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _line_of(code: str) -> int:
    lines = Path(partition_models.__file__).read_text(encoding="utf-8").splitlines()
    (found,) = [number for number, line in enumerate(lines, 1) if code in line]
    return found
