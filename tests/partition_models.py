"""Models to be cut into stages: each factory returns the module and its example inputs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from executors.stage_model import StageModel

Made = tuple[nn.Module, tuple[Tensor, ...]]
ROWS = 6
TABLE = 50
RECOMMENDER = Path()
"""Where a test has put the weights of one."""


def _mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for ins, outs in pairwise(widths):
        layers += [nn.Linear(ins, outs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Dlrm(nn.Module):
    """Naumov et al. 2019: dense features and lookups, pairwise dot products, dense layers on top."""

    first: Tensor
    second: Tensor

    def __init__(self, branches: int = 4, width: int = 16) -> None:
        super().__init__()
        self.bottom = _mlp(8, width, width)
        self.tables = nn.ModuleList(nn.Embedding(TABLE, width) for _ in range(branches))
        self.towers = nn.ModuleList(_mlp(width, width, width) for _ in range(branches))
        pairs = torch.tril_indices(branches + 1, branches + 1, -1)
        self.register_buffer("first", pairs[0])
        self.register_buffer("second", pairs[1])
        self.top = _mlp(width + pairs.shape[1], width, 1)

    def forward(self, dense: Tensor, sparse: Tensor) -> Tensor:
        bottom = self.bottom(dense)
        vectors = [bottom]
        for place, (table, tower) in enumerate(zip(self.tables, self.towers, strict=True)):
            vectors.append(tower(table(sparse[:, place])))
        stacked = torch.stack(vectors, dim=1)
        products = torch.bmm(stacked, stacked.transpose(1, 2))[:, self.first, self.second]
        return torch.sigmoid(self.top(torch.cat((bottom, products), dim=1))).squeeze(1)


def dlrm() -> Made:
    torch.manual_seed(1)
    return Dlrm(), (torch.randn(ROWS, 8), torch.randint(0, TABLE, (ROWS, 4)))


class Dcn(nn.Module):
    """Wang et al. 2021 in stacked form: a sequence of cross layers, then dense ones."""

    def __init__(self, width: int = 24, layers: int = 3) -> None:
        super().__init__()
        self.embedding = nn.Embedding(TABLE, 8)
        self.cross = nn.ModuleList(nn.Linear(width, width) for _ in range(layers))
        self.deep = _mlp(width, 32, 1)

    def forward(self, features: Tensor, items: Tensor) -> Tensor:
        first = torch.cat((features, self.embedding(items).flatten(1)), dim=1)
        crossed = first
        for layer in self.cross:
            crossed = first * layer(crossed) + crossed
        return cast("Tensor", self.deep(crossed))


def dcn() -> Made:
    torch.manual_seed(2)
    return Dcn(), (torch.randn(ROWS, 8), torch.randint(0, TABLE, (ROWS, 2)))


class TwoTower(nn.Module):
    """Users and items that share one table of words; answers by name, one of them an inner vector."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(TABLE, 12)
        self.user, self.item = _mlp(12, 16, 8), _mlp(12, 16, 8)

    def forward(self, *, user: Tensor, item: Tensor) -> dict[str, Tensor]:
        left = self.user(self.words(user).mean(dim=1))
        right = self.item(self.words(item).mean(dim=1))
        return {"score": (left * right).sum(dim=1), "user": left}


def two_tower() -> tuple[nn.Module, tuple[()], dict[str, Tensor]]:
    torch.manual_seed(3)
    words = torch.randint(0, TABLE, (2, ROWS, 5))
    return TwoTower(), (), {"user": words[0], "item": words[1]}


class Encoder(nn.Module):
    """A transformer encoder over tokens (Vaswani et al. 2017), whose ends share a table."""

    positions: Tensor

    def __init__(self, width: int = 16, layers: int = 3) -> None:
        super().__init__()
        self.tokens = nn.Embedding(TABLE, width)
        self.places = nn.Embedding(7, width)
        self.register_buffer("positions", torch.arange(7), persistent=False)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, 2, 32, batch_first=True) for _ in range(layers)
        )
        self.head = nn.Linear(width, TABLE)
        self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        values = self.tokens(tokens) + self.places(self.positions)
        for layer in self.layers:
            values = layer(values)
        return cast("Tensor", self.head(values[:, -1]))


def encoder() -> Made:
    torch.manual_seed(4)
    return Encoder(), (torch.randint(0, TABLE, (ROWS, 7)),)


class Residual(nn.Module):
    """A basic block of He et al. 2016, which adds in place as usual implementations do."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(2))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, values: Tensor) -> Tensor:
        inner = self.relu(self.norms[0](self.first(values)))
        inner = self.norms[1](self.second(inner))
        inner += values
        return cast("Tensor", self.relu(inner))


class Convolutions(nn.Module):
    """A stem, residual blocks, pooling, and a classifier."""

    def __init__(self, blocks: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.blocks = nn.Sequential(*(Residual(8) for _ in range(blocks)))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 5)

    def forward(self, image: Tensor) -> Tensor:
        return cast("Tensor", self.head(self.pool(self.blocks(self.stem(image))).flatten(1)))


def convolutions() -> Made:
    torch.manual_seed(5)
    return Convolutions(), (torch.randn(ROWS, 3, 16, 16),)


class Stages(nn.Module):
    """The shipped recommender's stages, one after another."""

    def __init__(self, stages: Sequence[StageModel]) -> None:
        super().__init__()
        self.stages = stages

    def forward(self, user: Tensor) -> dict[str, Tensor]:
        batch = {"user": user}
        for stage in self.stages:
            batch = {**batch, **stage(batch)}
        return {name: batch[name] for name in ("candidates", "scores")}


def recommender() -> Made:
    """Of the weights in ``RECOMMENDER``, picking two."""
    from executors.recommender.keep import STAGES
    from executors.recommender.stages import Users, build_stage
    from executors.recommender.weights import load
    from tests.recommender_cases import KEEP

    kept = {**KEEP, "rerank": 2}
    found = load(RECOMMENDER)
    users = Users(found.users)
    stages = [build_stage(found.cascade, users, name, kept[name]) for name in STAGES]
    return Stages(stages), (torch.arange(0, 40, 7),)


class Early(nn.Module):
    """Three answers, of which the first is known early and the second is the input."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(4))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        first = self.layers[0](features)
        last = first
        for layer in list(self.layers)[1:]:
            last = torch.relu(layer(last))
        return first, features, last


def early() -> Made:
    torch.manual_seed(6)
    return Early(), (torch.randn(ROWS, 4),)


class Selecting(nn.Module):
    """Takes out what is positive, whose number depends on the data, and puts it back."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, features: Tensor) -> Tensor:
        values = self.first(features)
        rows, columns = torch.nonzero(values > 0, as_tuple=True)
        kept = torch.zeros_like(values).index_put((rows, columns), values[rows, columns])
        return cast("Tensor", self.last(kept))


def selecting() -> Made:
    torch.manual_seed(7)
    return Selecting(), (torch.randn(ROWS, 3),)


class Branching(nn.Module):
    """Chooses its way by the data."""

    def forward(self, features: Tensor) -> Tensor:
        if features.sum() > 0:
            return features * 2
        return features - 1


def branching() -> Made:
    return Branching(), (torch.ones(ROWS, 3),)


class Counting(nn.Module):
    """Counts its calls in a buffer."""

    calls: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, features: Tensor) -> Tensor:
        self.calls.add_(1)
        return features * self.calls


def counting() -> Made:
    return Counting(), (torch.ones(ROWS, 3),)


class Overwriting(nn.Module):
    """Writes to a view of its input."""

    def forward(self, features: Tensor) -> Tensor:
        features[:, 0].mul_(2)
        return features + 1


def overwriting() -> Made:
    return Overwriting(), (torch.ones(ROWS, 3),)


class Mixing(nn.Module):
    """Centres a batch, so that a row's answer depends on the others."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.relu(torch.exp(features) - features.mean(dim=0))


def mixing() -> Made:
    torch.manual_seed(8)
    return Mixing(), (torch.randn(ROWS, 3),)


class Fixed(nn.Module):
    """Knows how many rows there are."""

    def forward(self, features: Tensor) -> Tensor:
        return features.reshape(8, 3) + 1


def fixed() -> Made:
    return Fixed(), (torch.ones(8, 3),)


class Noisy(nn.Module):
    """Draws random numbers."""

    def forward(self, features: Tensor) -> Tensor:
        return features + torch.rand_like(features)


def noisy() -> Made:
    return Noisy(), (torch.ones(ROWS, 3),)


class Summing(nn.Module):
    """One answer for all rows."""

    def forward(self, features: Tensor) -> Tensor:
        return features.exp().sum()


def summing() -> Made:
    return Summing(), (torch.ones(ROWS, 3),)


def misshaped() -> Made:
    """Example inputs that the module cannot take."""
    return nn.Sequential(nn.Linear(8, 4)), (torch.ones(ROWS, 3),)


def uneven() -> Made:
    """Example inputs with different numbers of rows."""
    return Dlrm(), (torch.randn(ROWS, 8), torch.randint(0, TABLE, (ROWS + 1, 4)))


def constant() -> Any:
    """An example input that is no tensor."""
    return nn.Linear(3, 3), (3,)


def extra() -> Any:
    """More example inputs than arguments."""
    return nn.Linear(3, 3), (torch.ones(ROWS, 3), torch.ones(ROWS, 3))


def no_module() -> Any:
    """Not what a factory returns."""
    return 3


def raising() -> Any:
    """Cannot make its model."""
    raise RuntimeError("no weights here")
