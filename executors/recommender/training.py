"""Training: recall by sampled softmax, then pre-rank and rank on the candidates of the stage before.

Each stage learns to find an interaction of the training part from what came before it. Pre-rank and
rank see the lists that they will see in service: negatives come from the candidates that the trained
stage before hands them, less what the user meets at any time of the training part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from executors.recommender.cascade import Cascade, new_cascade, padded, sizes_of
from executors.recommender.data import Interactions, Split, leave_last_out
from executors.recommender.evaluation import Evaluation, evaluate, ndcg, places_of, run_stages
from executors.recommender.examples import CandidateLists, examples_of
from executors.recommender.fitting import Progress, Schedule, StagePlace, fit
from executors.recommender.keep import default_keep
from executors.recommender.mining import preranked, recalled
from executors.recommender.objectives import listwise_softmax, sampled_softmax
from executors.recommender.stages import PrerankStage, RankStage, RecallStage, Users
from executors.recommender.users import UserTable, user_table

Stage = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
_RECALL = Schedule(epochs=6, batch=512, learning_rate=3e-3, weight_decay=0.01, patience=2)
_PRERANK = Schedule(epochs=4, batch=256, learning_rate=3e-3, weight_decay=0.01, patience=1)
_RANK = Schedule(epochs=3, batch=256, learning_rate=2e-3, weight_decay=0.01, patience=1)


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Everything that decides what training makes of the data, besides the seed."""

    recall: Schedule = _RECALL
    prerank: Schedule = _PRERANK
    rank: Schedule = _RANK
    sampled_items: int = 1024
    """Items drawn uniformly a batch for recall, besides the batch's own."""
    examples: int = 8000
    """Training interactions, the latest of each user first, that pre-rank and rank learn from."""
    negatives: int = 32
    """Candidates drawn an example and epoch for pre-rank and rank."""
    trade: float = 0.9
    """MMR's weight of relevance against diversity."""

    def to_json(self) -> dict[str, Any]:
        """For the weights' metadata and fingerprint."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Trained:
    """What training makes."""

    cascade: Cascade
    users: UserTable
    """Every user after all interactions, the held-out ones included: what service starts from."""
    evaluation: Evaluation
    """On the test interactions, which no stage has seen."""


def train_cascade(
    interactions: Interactions,
    seed: int,
    settings: Hyperparameters | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Train all stages; equal arguments give equal weights on a kind of processor.

    Raises DataError where the data is too small for its split. Torch's random state and thread
    count are afterwards as they were.
    """
    settings = settings or Hyperparameters()
    split = leave_last_out(interactions)
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(seed)
        cascade = new_cascade(
            sizes_of(interactions),
            padded(torch.from_numpy(interactions.attributes)),
            settings.trade,
        )
        generator = torch.Generator().manual_seed(seed)
        _Trainer(cascade, split, settings, generator, progress).run()
        known = user_table(split.before_test, cascade.sizes)
        evaluation = evaluate(cascade, known, split.test_items)
    return Trained(cascade, user_table(interactions, cascade.sizes), evaluation)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums over threads depend on how many there are, and at these sizes a second gains little."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class _Trainer:
    """One training run: the stages one after the other, each on the candidates of the last."""

    def __init__(
        self,
        cascade: Cascade,
        split: Split,
        settings: Hyperparameters,
        generator: torch.Generator,
        progress: Progress | None,
    ) -> None:
        self.cascade, self.split, self.settings = cascade, split, settings
        self.generator, self.progress = generator, progress
        table = user_table(split.training, cascade.sizes)
        self.known = Users(table)
        self.unseen = table.unseen(cascade.sizes.items)
        met = np.bincount(split.training.items, minlength=cascade.sizes.items)
        self.popularity = torch.from_numpy(met / met.sum()).float()
        start = torch.from_numpy(np.log1p(met)).float()
        with torch.no_grad():
            cascade.recall.bias.copy_(start - start.mean())

    def run(self) -> None:
        """Train recall, pre-rank and rank, in this order."""
        self._recall()
        for model in (self.cascade.prerank, self.cascade.rank):
            model.embedding.load_state_dict(self.cascade.recall.embedding.state_dict())
        sizes = self.cascade.sizes
        examples = examples_of(self.split.training, sizes, self.settings.examples)
        found = recalled(
            self.cascade.recall, examples, self.known, default_keep("recall", self.unseen)
        )
        self._prerank(found)
        self._rank(preranked(self.cascade.prerank, found, default_keep("prerank", self.unseen)))

    def _recall(self) -> None:
        model, items = self.cascade.recall, self.cascade.sizes.items
        examples, extra = (
            examples_of(self.split.training, self.cascade.sizes),
            self.settings.sampled_items,
        )

        def loss(rows: Tensor) -> Tensor:
            users = model.users(examples.history[rows], examples.profile[rows])
            positives = examples.positives[rows]
            drawn = torch.randint(items, (extra,), generator=self.generator)
            columns = torch.cat((positives, drawn))
            scores = users @ model.items(columns).t() + model.biases()[columns]
            expected = len(rows) * self.popularity + extra / items
            return sampled_softmax(scores, columns, positives, expected.log())

        place = StagePlace("recall", 0, 3)
        self._fit(model, len(examples), loss, self._stages(1), self.settings.recall, place)

    def _prerank(self, lists: CandidateLists) -> None:
        model, examples = self.cascade.prerank, lists.examples

        def loss(rows: Tensor) -> Tensor:
            columns, earlier = lists.draw(rows, self.settings.negatives, self.generator)
            queries = model.queries(examples.history[rows], examples.profile[rows])
            tokens, biases = model.tokens(columns), model.biases()[columns]
            return listwise_softmax(model.score(queries, tokens, biases, earlier))

        place = StagePlace("prerank", 1, 3)
        self._fit(model, len(examples), loss, self._stages(2), self.settings.prerank, place)

    def _rank(self, lists: CandidateLists) -> None:
        model, examples = self.cascade.rank, lists.examples

        def loss(rows: Tensor) -> Tensor:
            columns, earlier = lists.draw(rows, self.settings.negatives, self.generator)
            scores = model.score(
                examples.history[rows],
                examples.profile[rows],
                model.items(columns),
                model.attributes[columns],
                model.biases()[columns],
                earlier,
            )
            return listwise_softmax(scores)

        place = StagePlace("rank", 2, 3)
        self._fit(model, len(examples), loss, self._stages(3), self.settings.rank, place)

    def _stages(self, count: int) -> Callable[[], list[Stage]]:
        """The first ``count`` stages with the weights of the moment of the call."""
        users = self.known

        def build() -> list[Stage]:
            makers: list[Callable[[], Stage]] = [
                lambda: RecallStage(
                    self.cascade.recall, users, default_keep("recall", self.unseen)
                ),
                lambda: PrerankStage(
                    self.cascade.prerank, users, default_keep("prerank", self.unseen)
                ),
                lambda: RankStage(self.cascade.rank, users, default_keep("rank", self.unseen)),
            ]
            return [make() for make in makers[:count]]

        return build

    def _fit(
        self,
        model: torch.nn.Module,
        examples: int,
        loss_of: Callable[[Tensor], Tensor],
        stages: Callable[[], list[Stage]],
        schedule: Schedule,
        place: StagePlace,
    ) -> None:
        """Train one stage; what is validated is the whole list that it passes on."""

        def validate() -> float:
            with torch.inference_mode():
                found = run_stages(stages(), len(self.split.validation_items))[-1]
            return ndcg(places_of(found, self.split.validation_items), found.shape[1])

        fit(model, examples, loss_of, validate, schedule, self.generator, place, self.progress)
