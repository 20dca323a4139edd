"""How many candidates each stage passes on where nobody says otherwise."""

from __future__ import annotations

from typing import Literal, get_args

StageName = Literal["recall", "prerank", "rank", "rerank"]
STAGES: tuple[StageName, ...] = get_args(StageName)
"""In the order in which a request passes them."""

DEFAULT_KEEP: dict[StageName, int] = {"recall": 200, "prerank": 100, "rank": 50, "rerank": 10}


def default_keep(stage: StageName, unseen: int) -> int:
    """The default, or ``unseen``, the items that every user has left, where those are fewer."""
    return min(DEFAULT_KEEP[stage], unseen)
