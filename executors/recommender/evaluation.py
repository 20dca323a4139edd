"""Quality on the held-out interaction: NDCG and recall after each stage, beside popularity.

Full ranking (no sampled candidates: Krichene and Rendle 2020), items seen before excluded. With one
relevant item at place r (from 1) of a list, NDCG@k = 1 / log2(1 + r) where r <= k, else 0 (Jarvelin and
Kekalainen 2002), and recall@k = 1 where r <= k, else 0; both are means over users.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from executors.recommender.cascade import Cascade
from executors.recommender.fusion import FusedRecall
from executors.recommender.keep import BRANCHES, STAGES, StageName, default_keep
from executors.recommender.stages import Users, build_stage
from executors.recommender.users import UserTable

RECALL_AT = (10, 50, 100, 200)
_BATCH = 64


@dataclass(frozen=True, slots=True)
class Quality:
    """What one list achieves over all users."""

    system: str
    """``popularity``, a way of recall, ``chain``, ``merged``, or the last stage that that went through.

    The chain is the final list where the towers' candidates go through the stages alone.
    """
    ndcg_10: float
    recall_at: dict[int, float]
    """k to recall@k, for each k of RECALL_AT that the list is long enough for."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Popularity, each way of recall alone, all fused, and the list after each stage, in that order."""

    users: int
    systems: tuple[Quality, ...]

    def of(self, system: str) -> Quality:
        """The line of one system; raises KeyError for an unknown name."""
        for quality in self.systems:
            if quality.system == system:
                return quality
        raise KeyError(f"no system {system!r}; there are {[q.system for q in self.systems]}")

    def to_json(self) -> dict[str, Any]:
        """For metadata and ``--json``; the keys of ``recall_at`` become strings in JSON."""
        return asdict(self)


def evaluation_from_json(value: dict[str, Any]) -> Evaluation:
    """The inverse of ``Evaluation.to_json``, after a way through JSON."""
    return Evaluation(
        users=int(value["users"]),
        systems=tuple(
            Quality(
                system=str(line["system"]),
                ndcg_10=float(line["ndcg_10"]),
                recall_at={int(k): float(v) for k, v in line["recall_at"].items()},
            )
            for line in value["systems"]
        ),
    )


def places_of(lists: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Place from 0 of each target (users,) in its list (users, k); k where it is absent."""
    hits = lists == targets[:, None]
    found: NDArray[np.int64] = np.where(hits.any(axis=1), hits.argmax(axis=1), lists.shape[1])
    return found


def ndcg(places: NDArray[np.int64], k: int) -> float:
    """Mean NDCG@k of targets at places from 0."""
    return float(np.where(places < k, 1.0 / np.log2(2.0 + places), 0.0).mean())


def quality(system: str, lists: NDArray[np.int64], targets: NDArray[np.int64]) -> Quality:
    """NDCG@10 and recall of one list a user (users, k)."""
    places = places_of(lists, targets)
    return Quality(
        system=system,
        ndcg_10=ndcg(places, 10),
        recall_at={k: float((places < k).mean()) for k in RECALL_AT if k <= lists.shape[1]},
    )


def evaluate(cascade: Cascade, table: UserTable, targets: NDArray[np.int64]) -> Evaluation:
    """All systems on the users' held-out ``targets`` (users,), with what ``table`` knows before them."""
    unseen = table.unseen(cascade.sizes.items)
    with torch.inference_mode():
        users = Users(table)
        names: tuple[StageName, ...] = (*BRANCHES, *STAGES[1:])
        stages = {
            name: build_stage(cascade, users, name, default_keep(name, unseen)) for name in names
        }
        branches = [stages[name] for name in BRANCHES]
        merged = FusedRecall(branches, default_keep("recall", unseen))
        alone = {name: run_stages([stages[name]], table.user_count)[0] for name in BRANCHES}
        chain = run_stages([stages[name] for name in STAGES], table.user_count)
        after = run_stages([merged, *(stages[name] for name in STAGES[1:])], table.user_count)
    lists: dict[str, NDArray[np.int64]] = {
        "popularity": popular_lists(table, cascade.sizes.items),
        **{str(name): found for name, found in alone.items()},
        "chain": chain[-1],
        **dict(zip(("merged", *STAGES[1:]), after, strict=True)),
    }
    return Evaluation(
        users=table.user_count,
        systems=tuple(quality(name, found, targets) for name, found in lists.items()),
    )


def run_stages(
    stages: Sequence[Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]], users: int
) -> list[NDArray[np.int64]]:
    """Each stage's lists (users, keep) for users 0 to ``users`` - 1, who pass through one after another."""
    lists: list[list[Tensor]] = [[] for _ in stages]
    for numbers in torch.split(torch.arange(users), _BATCH):
        batch: dict[str, Tensor] = {"user": numbers}
        for found, stage in zip(lists, stages, strict=True):
            batch |= stage(batch)
            found.append(batch["candidates"])
    return [torch.cat(found).numpy() for found in lists]


def popular_lists(table: UserTable, items: int) -> NDArray[np.int64]:
    """(users, k): the most met items that each user has not seen, the lower number first of equals."""
    counts = np.bincount(table.seen, minlength=items)
    order = np.argsort(-counts, kind="stable")
    keep = default_keep("recall", table.unseen(items))
    lists = np.empty((table.user_count, keep), dtype=np.int64)
    for user in range(table.user_count):
        seen = table.seen[table.seen_offsets[user] : table.seen_offsets[user + 1]]
        unseen = np.ones(items, dtype=bool)
        unseen[seen] = False
        lists[user] = order[unseen[order]][:keep]
    return lists
