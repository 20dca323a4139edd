from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from executors.recommender.folder import METADATA, MODELS, TABLES, WeightsError, read_metadata
from executors.recommender.reference import recommend_one, reference_stages
from executors.recommender.weights import load
from tests.recommender_cases import KEEP, saved_recommender


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    saved_recommender(tmp_path / "weights")
    return tmp_path / "weights"


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    cascade = saved_recommender(tmp_path / "weights")
    found = load(tmp_path / "weights")
    for name in cascade.modules:
        kept, loaded = (
            getattr(cascade, name).state_dict(),
            getattr(found.cascade, name).state_dict(),
        )
        assert kept.keys() == loaded.keys()
        assert all(torch.equal(kept[key], loaded[key]) for key in kept)
    for name in ("neighbours", "weights", "start"):
        kept, loaded = (getattr(each.covisits, name) for each in (cascade, found.cascade))
        assert torch.equal(kept, loaded)
    assert torch.equal(cascade.rank.attributes, found.cascade.rank.attributes)
    assert found.fingerprint == "print"
    assert found.evaluation.of("popularity").recall_at.keys() == {10, 50, 100}
    assert (
        len(found.user_ids) == found.users.user_count == read_metadata(tmp_path / "weights").users
    )


def test_saving_twice_replaces_the_folder_and_leaves_nothing_beside_it(folder: Path) -> None:
    before = (folder / MODELS).read_bytes()
    saved_recommender(folder)
    assert (folder / MODELS).read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["weights"]


def test_a_folder_of_something_else_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(WeightsError, match="exists and is no weights folder; nothing in it was"):
        saved_recommender(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_write_that_fails_leaves_the_old_weights_and_nothing_else(folder: Path) -> None:
    before = (folder / MODELS).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(WeightsError, match=r"cannot write the weights \(\d+ bytes\): File too"):
            saved_recommender(folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (folder / MODELS).read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["weights"]
    recommend_one(reference_stages(folder, KEEP), 0)


def edit(name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / name)
        change(tensors)
        save_file(tensors, folder / name)

    return apply


def edit_metadata(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / METADATA).read_text())
        change(content)
        (folder / METADATA).write_text(json.dumps(content))

    return apply


def cut(name: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:-9])

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / METADATA).unlink(), "recommender.json: no such file"),
        (lambda f: (f / MODELS).unlink(), "models.safetensors: no such file; train again"),
        (lambda f: (f / TABLES).unlink(), "tables.safetensors: no such file; train again"),
        (cut(METADATA), "recommender.json: cannot be read as JSON"),
        (cut(MODELS), "models.safetensors: cannot be read as safetensors"),
        (cut(TABLES), "tables.safetensors: cannot be read as safetensors"),
        (
            edit_metadata(lambda m: m.update(format="delayline-recommender/9")),
            "format must be 'delayline-recommender/2', not 'delayline-recommender/9'",
        ),
        (edit_metadata(lambda m: m.pop("sizes")), "KeyError at 'sizes'"),
        (
            edit_metadata(lambda m: m.update(users=True)),
            "users, which must be a whole number of at least 1, not True",
        ),
        (edit_metadata(lambda m: m.update(evaluation={})), "evaluation is malformed: 'users'"),
        (
            edit(MODELS, lambda t: t.update({"rank.out.weight": torch.zeros(1, 7)})),
            "tensor 'rank.out.weight' must have shape [1, 183], by recommender.json, but has [1, 7]",
        ),
        (
            edit(MODELS, lambda t: t.pop("recall.bias")),
            "no tensor 'recall.bias'; expected one of shape [160]",
        ),
        (
            edit(MODELS, lambda t: t.update(extra=torch.zeros(1))),
            "unknown tensor 'extra'; the file is of another model",
        ),
        (
            edit(MODELS, lambda t: t.update({"recall.bias": t["recall.bias"].half()})),
            "tensor 'recall.bias' must be torch.float32, not torch.float16",
        ),
        (
            edit(MODELS, lambda t: t["recall.bias"].fill_(torch.nan)),
            "tensor 'recall.bias' holds NaN or infinity",
        ),
        (
            edit(TABLES, lambda t: t["history"].fill_(161)),
            "tensor 'history' must hold item numbers from 0 to 160, not 161 to 161",
        ),
        (
            edit(TABLES, lambda t: t["seen_offsets"].mul_(2)),
            "tensor 'seen_offsets' must rise from 0 to",
        ),
        (
            edit(TABLES, lambda t: t["profile"].fill_(0.3)),
            "tensor 'profile' must hold multiples of 0.0078125 from 0 to 4",
        ),
    ],
)
def test_damage_is_named(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(WeightsError) as caught:
        load(folder)
    assert message in str(caught.value)
    assert str(folder) in str(caught.value)
