from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from configs.kinds import kinds
from executors.recommender.folder import WeightsError
from executors.recommender.keep import STAGES, StageName
from executors.recommender.reference import recommend_one, reference_stages
from executors.recommender.source import RecommenderSource
from executors.stage_model import StageModel, TensorSpec
from tests.recommender_cases import KEEP, interactions, saved_recommender


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recommender") / "weights"
    saved_recommender(path)
    return path


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(stages: tuple[StageModel, ...], users: torch.Tensor) -> dict[str, torch.Tensor]:
    batch = {"user": users}
    with torch.inference_mode():
        for stage in stages:
            assert set(stage.inputs) <= set(batch)
            found = stage(batch)
            for name, spec in stage.outputs.items():
                assert tuple(found[name].shape) == (len(users), *spec.shape)
                assert str(found[name].dtype) == f"torch.{spec.dtype}"
            batch |= found
    return batch


def test_the_batched_cascade_gives_the_reference_lists(folder: Path) -> None:
    stages = reference_stages(folder, KEEP)
    found = run(stages, torch.arange(40))["candidates"]
    assert found.tolist() == [recommend_one(stages, user) for user in range(40)]


def test_lists_hold_distinct_items_that_the_user_has_not_seen(folder: Path) -> None:
    stages, data = reference_stages(folder, KEEP), interactions()
    for user in range(40):
        found = recommend_one(stages, user)
        seen = data.items[data.offsets[user] : data.offsets[user + 1]]
        assert len(set(found)) == KEEP["rerank"]
        assert not set(found) & set(seen.tolist())


def test_stages_say_what_they_take_and_give(folder: Path) -> None:
    stages = reference_stages(folder, KEEP)
    listed = {"candidates": TensorSpec((-1,), "int64"), "scores": TensorSpec((-1,), "float32")}
    user = {"user": TensorSpec((), "int64")}
    assert [dict(stage.inputs) for stage in stages] == [
        user,
        user | listed,
        user | listed,
        listed,
    ]
    assert [stage.outputs["candidates"].shape for stage in stages] == [(60,), (40,), (25,), (7,)]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_can_be_served_alone(folder: Path, stage: StageName) -> None:
    source = RecommenderSource(folder, stage)
    model = source.load("cpu", 5)
    drawn = source.sample_inputs(np.random.default_rng(1), 9)
    assert drawn.keys() == model.inputs.keys()
    for name, array in drawn.items():
        assert array.dtype == np.dtype(model.inputs[name].dtype)
        assert len(array) == 9
    if "candidates" in drawn:
        assert all(len(set(row)) == len(row) for row in drawn["candidates"].tolist())
    with torch.inference_mode():
        found = model({name: torch.from_numpy(array) for name, array in drawn.items()})
    assert found["candidates"].shape == (9, 5)


def test_sampled_users_exist_and_follow_the_generator(folder: Path) -> None:
    source = RecommenderSource(folder, "recall")
    first = source.sample_inputs(np.random.default_rng(4), 500)["user"]
    assert set(first.tolist()) == set(range(40))
    assert np.array_equal(first, source.sample_inputs(np.random.default_rng(4), 500)["user"])


def test_keep_that_cannot_be_had_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"recall cannot keep 150 candidates: of 160 items some"):
        RecommenderSource(folder, "recall").load("cpu", 150)
    with pytest.raises(ValueError, match=r"rank must keep from 1 to 160 candidates .*, not 0"):
        RecommenderSource(folder, "rank").load("cpu", 0)
    stages = reference_stages(folder, KEEP | {"rank": 50})
    with pytest.raises(
        ValueError, match=r"rank keeps 50 candidates but the stage before passes on 40"
    ):
        recommend_one(stages, 0)


def test_a_source_is_small_and_complains_about_its_folder(tmp_path: Path, folder: Path) -> None:
    source = RecommenderSource(folder, "rank")
    assert pickle.loads(pickle.dumps(source)) == source  # noqa: S301  (what we pickled ourselves)
    missing = RecommenderSource(tmp_path / "none", "recall")
    with pytest.raises(WeightsError, match="delayline train"):
        missing.sample_inputs(np.random.default_rng(0), 1)
    with pytest.raises(WeightsError, match="delayline train"):
        missing.load("cpu", None)


def test_kinds_are_registered_without_torch() -> None:
    code = "import sys, executors.kinds; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    import executors.kinds  # noqa: F401

    assert {"recommender", "mlp", "factory"} <= kinds("model").keys()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_gives_the_same_lists(folder: Path) -> None:
    on_cpu, on_gpu = reference_stages(folder, KEEP), reference_stages(folder, KEEP, "cuda:0")
    for user in range(40):
        assert recommend_one(on_gpu, user, "cuda:0") == recommend_one(on_cpu, user)
