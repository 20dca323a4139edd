"""How many candidates each stage passes on where nobody says otherwise."""

from __future__ import annotations

from typing import Literal, get_args

Branch = Literal["recall", "sequence", "covisits"]
StageName = Literal["recall", "sequence", "covisits", "prerank", "rank", "rerank"]
BRANCHES: tuple[Branch, ...] = get_args(Branch)
"""Ways of recall: two towers, self-attention over the history, items that go together."""
STAGES: tuple[StageName, ...] = ("recall", "prerank", "rank", "rerank")
"""In the order in which a request passes them, where recall is the two towers alone."""

DEFAULT_KEEP: dict[StageName, int] = {
    "recall": 200,
    "sequence": 200,
    "covisits": 200,
    "prerank": 100,
    "rank": 50,
    "rerank": 10,
}


def default_keep(stage: StageName, unseen: int) -> int:
    """The default, or ``unseen``, the items that every user has left, where those are fewer."""
    return min(DEFAULT_KEEP[stage], unseen)
