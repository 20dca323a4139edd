"""A trained recommender to and from its folder, by safetensors."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from executors.recommender.cascade import Cascade, new_cascade, padded
from executors.recommender.covisits import LIKENESS, SCORE_BITS, Covisits
from executors.recommender.data import Interactions
from executors.recommender.evaluation import Evaluation, evaluation_from_json
from executors.recommender.folder import (
    METADATA,
    MODELS,
    TABLES,
    Metadata,
    WeightsError,
    read_metadata,
    write_folder,
)
from executors.recommender.sizes import Sizes
from executors.recommender.training import Trained
from executors.recommender.users import PROFILE_STEP, Contexts, UserTable, user_table


@dataclass(frozen=True, slots=True)
class Recommender:
    """What a weights folder holds, ready to serve."""

    cascade: Cascade
    users: UserTable
    user_ids: NDArray[np.int64]
    """(users,): the data's own id of each user."""
    item_ids: NDArray[np.int64]
    """(items,): the data's own id of each item."""
    evaluation: Evaluation
    fingerprint: str

    @property
    def held_out(self) -> NDArray[np.int64]:
        """(users,): each user's last interaction."""
        return self.users.seen[self.users.seen_offsets[1:] - 1].astype(np.int64)

    @property
    def users_before(self) -> UserTable:
        """The users as they were before it."""
        users = self.users
        known = Interactions(
            offsets=users.seen_offsets,
            items=users.seen.astype(np.int64),
            attributes=self.cascade.recall.attributes[:-1].numpy(),
            user_ids=self.user_ids,
            item_ids=self.item_ids,
        )
        return user_table(known.without_last(1), self.cascade.sizes)


def save(folder: Path, trained: Trained, interactions: Interactions, fingerprint: str) -> None:
    """Write the folder whole or not at all; raises WeightsError where it cannot."""
    cascade, users = trained.cascade, trained.users
    metadata = Metadata(
        sizes=cascade.sizes,
        users=users.user_count,
        trade=cascade.trade,
        fingerprint=fingerprint,
        evaluation=trained.evaluation.to_json(),
    )
    tables = {
        "history": users.contexts.history,
        "profile": users.contexts.profile,
        "seen_offsets": users.seen_offsets,
        "seen": users.seen,
        "attributes": interactions.attributes,
        "user_ids": interactions.user_ids,
        "item_ids": interactions.item_ids,
        "neighbours": cascade.covisits.neighbours.numpy().astype(np.int32),
        "together": cascade.covisits.weights.numpy(),
        "start": cascade.covisits.start.numpy(),
    }
    models = {name: tensor.contiguous() for name, tensor in _models(cascade).state_dict().items()}
    arrays = {name: torch.from_numpy(array).contiguous() for name, array in tables.items()}
    write_folder(
        folder,
        {
            MODELS: save_tensors(models),
            TABLES: save_tensors(arrays),
            METADATA: (json.dumps(metadata.to_json(), indent=2) + "\n").encode(),
        },
    )


def load(folder: Path) -> Recommender:
    """Read a folder onto the CPU, models in ``eval()``.

    Raises WeightsError naming the file, the tensor, the shape expected and the shape found.
    """
    metadata = read_metadata(folder)
    sizes = metadata.sizes
    tables = _read(folder / TABLES, _tables(sizes, metadata.users))
    array = {name: tensor.numpy() for name, tensor in tables.items()}
    _check_tables(folder / TABLES, array, sizes)
    with torch.random.fork_rng(devices=[]):
        cascade = new_cascade(sizes, padded(tables["attributes"]), metadata.trade)
    models = _models(cascade)
    expected = {
        name: (tuple(value.shape), value.dtype) for name, value in models.state_dict().items()
    }
    models.load_state_dict(_read(folder / MODELS, expected))
    models.requires_grad_(False).eval()
    cascade = replace(
        cascade,
        covisits=Covisits(tables["neighbours"].long(), tables["together"], tables["start"]),
    )
    try:
        evaluation = evaluation_from_json(dict(metadata.evaluation))
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{folder / METADATA}: evaluation is malformed: {error}") from error
    return Recommender(
        cascade=cascade,
        users=UserTable(
            contexts=Contexts(array["history"], array["profile"]),
            seen_offsets=array["seen_offsets"],
            seen=array["seen"],
        ),
        user_ids=array["user_ids"],
        item_ids=array["item_ids"],
        evaluation=evaluation,
        fingerprint=metadata.fingerprint,
    )


_Expected = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


def _models(cascade: Cascade) -> nn.ModuleDict:
    return nn.ModuleDict(cascade.modules)


def _tables(sizes: Sizes, users: int) -> _Expected:
    """-1 is any length."""
    return {
        "history": ((users, sizes.history), torch.int32),
        "profile": ((users, sizes.profile), torch.float32),
        "seen_offsets": ((users + 1,), torch.int64),
        "seen": ((-1,), torch.int32),
        "attributes": ((sizes.items, sizes.attributes), torch.float32),
        "user_ids": ((users,), torch.int64),
        "item_ids": ((sizes.items,), torch.int64),
        "neighbours": ((sizes.items + 1, sizes.neighbours), torch.int32),
        "together": ((sizes.items + 1, sizes.neighbours), torch.float32),
        "start": ((sizes.items,), torch.float32),
    }


def _read(path: Path, expected: _Expected) -> dict[str, Tensor]:
    """The file's tensors, which must be those expected and no others."""
    try:
        found: dict[str, Tensor] = load_tensors(path.read_bytes())
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; train again") from None
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: cannot be read as safetensors: {error}; train again"
        ) from error
    for name, (shape, dtype) in expected.items():
        if name not in found:
            raise WeightsError(f"{path}: no tensor {name!r}; expected one of shape {list(shape)}")
        tensor = found[name]
        fits = len(shape) == tensor.ndim and all(
            size in (-1, length) for size, length in zip(shape, tensor.shape, strict=True)
        )
        if not fits:
            raise WeightsError(
                f"{path}: tensor {name!r} must have shape {list(shape)}, by {METADATA}, "
                f"but has {list(tensor.shape)}"
            )
        if tensor.dtype != dtype:
            raise WeightsError(f"{path}: tensor {name!r} must be {dtype}, not {tensor.dtype}")
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise WeightsError(f"{path}: tensor {name!r} holds NaN or infinity; train again")
    unknown = sorted(found.keys() - expected.keys())
    if unknown:
        raise WeightsError(f"{path}: unknown tensor {unknown[0]!r}; the file is of another model")
    return found


def _check_tables(path: Path, array: Mapping[str, NDArray[Any]], sizes: Sizes) -> None:
    """Numbers beyond a table would crash a worker; values off their grid would make sums inexact."""
    offsets = array["seen_offsets"]
    ordered = bool((np.diff(offsets) >= 0).all()) and offsets[0] == 0
    if not ordered or offsets[-1] != len(array["seen"]):
        raise WeightsError(
            f"{path}: tensor 'seen_offsets' must rise from 0 to {len(array['seen'])}, the length of 'seen'"
        )
    tops = {"history": sizes.items, "seen": sizes.items - 1, "neighbours": sizes.items - 1}
    for name, top in tops.items():
        values = array[name]
        if values.size and (values.min() < 0 or values.max() > top):
            raise WeightsError(
                f"{path}: tensor {name!r} must hold item numbers from 0 to {top}, "
                f"not {values.min()} to {values.max()}"
            )
    for name, step, highest in (
        ("attributes", 1.0, 1.0),
        ("profile", PROFILE_STEP, 4.0),
        ("together", 2.0**-LIKENESS.bits, LIKENESS.bound),
        ("start", 2.0**-SCORE_BITS, 2.0**-LIKENESS.bits),
    ):
        steps = array[name] / step
        if (steps != np.round(steps)).any() or steps.min() < 0 or steps.max() > highest / step:
            raise WeightsError(
                f"{path}: tensor {name!r} must hold multiples of {step:g} from 0 to {highest:g}"
            )
