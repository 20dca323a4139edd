"""Training: the ways of recall, then pre-rank and rank on the candidates that recall hands them.

Each stage learns to find an interaction of the training part from what came before it. What recall has
learned from, it ranks better than anything new, so pre-rank and rank must not learn from its lists there:
recall first learns from the beginnings of the sequences alone, and its lists for what comes after them are
what the rankers learn to order, as they will in service (stacking: Wolpert 1992). Then recall goes on with
the whole training part. Negatives come from these lists, less what the user meets at any time of the training
part.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from executors.recommender.calibration import calibrate
from executors.recommender.cascade import Cascade, new_cascade, padded, sizes_of
from executors.recommender.covisits import count_covisits
from executors.recommender.data import Interactions, Split, leave_last_out
from executors.recommender.evaluation import Evaluation, evaluate, ndcg, places_of, run_stages
from executors.recommender.evidence import Evidence, evidence_of
from executors.recommender.examples import CandidateLists, examples_of, windows_of
from executors.recommender.fitting import Progress, Schedule, StagePlace, fit
from executors.recommender.fusion import FusedRecall
from executors.recommender.keep import BRANCHES, STAGES, StageName, default_keep
from executors.recommender.mining import preranked, recalled
from executors.recommender.objectives import listwise_softmax, sampled_softmax
from executors.recommender.recall import TwoTowers
from executors.recommender.sequence import SelfAttention
from executors.recommender.stages import Users, build_stage
from executors.recommender.users import UserTable, user_table

_FITS = 6
"""Two ways of recall, twice, and two rankers."""
Stage = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
_RECALL = Schedule(epochs=6, batch=512, learning_rate=3e-3, weight_decay=0.01, patience=2)
_SEQUENCE = Schedule(epochs=6, batch=32, learning_rate=3e-3, weight_decay=0.01, patience=2)
_PRERANK = Schedule(epochs=4, batch=256, learning_rate=3e-3, weight_decay=0.01, patience=1)
_RANK = Schedule(epochs=3, batch=256, learning_rate=5e-4, weight_decay=0.01, patience=1)


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """Everything that decides what training makes of the data, besides the seed."""

    recall: Schedule = _RECALL
    sequence: Schedule = _SEQUENCE
    """Its batches are windows of a sequence, of up to 24 interactions."""
    prerank: Schedule = _PRERANK
    rank: Schedule = _RANK
    sampled_items: int = 512
    """Items drawn uniformly a batch for recall, besides the batch's own."""
    beginnings: float = 0.8
    """Share of each training sequence that recall has learned from when the rankers get its lists."""
    continued: float = 0.5
    """Epochs of recall on the whole training part, as a share of those on the beginnings."""
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
        fresh = new_cascade(
            sizes_of(interactions),
            padded(torch.from_numpy(interactions.attributes)),
            settings.trade,
        )
        generator = torch.Generator().manual_seed(seed)
        trainer = _Trainer(fresh, split, settings, generator, progress)
        trainer.run()
        cascade = trainer.cascade
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
            for model in (cascade.recall, cascade.sequence):
                model.bias.copy_(start - start.mean())

    def run(self) -> None:
        """Train recall, pre-rank and rank, in this order."""
        training, settings = self.split.training, self.settings
        sizes = self.cascade.sizes
        early = training.beginnings(settings.beginnings)
        self._recall(early, 1.0, 0)
        examples = examples_of(training, sizes, settings.examples, after=early)
        each = default_keep("recall", self.unseen)
        found = recalled(self.cascade, examples, self.known, each, each)
        evidence = evidence_of(copy.deepcopy(self.cascade))
        self._recall(training, settings.continued, 2)
        for model in (self.cascade.prerank, self.cascade.rank):
            model.embedding.load_state_dict(self.cascade.recall.embedding.state_dict())
        self._prerank(found)
        kept = default_keep("prerank", self.unseen)
        self._rank(preranked(self.cascade.prerank, found, kept), evidence)

    def _recall(self, interactions: Interactions, share: float, number: int) -> None:
        """All ways of recall, for this share of their epochs."""
        self._towers(interactions, share, number)
        self._sequence(interactions, share, number + 1)
        self.cascade = replace(
            self.cascade, covisits=count_covisits(interactions, self.cascade.sizes)
        )

    def _towers(self, interactions: Interactions, share: float, number: int) -> None:
        model, sizes = self.cascade.recall, self.cascade.sizes
        examples = examples_of(interactions, sizes)

        def loss(rows: Tensor) -> Tensor:
            users = model.users(examples.history[rows], examples.profile[rows])
            return self._sampled(model, users, examples.positives[rows])

        self._fit(model, len(examples), loss, "recall", self.settings.recall, share, number)

    def _sequence(self, interactions: Interactions, share: float, number: int) -> None:
        model, sizes = self.cascade.sequence, self.cascade.sizes
        windows = windows_of(interactions, sizes)

        def loss(rows: Tensor) -> Tensor:
            states = model.everywhere(windows.items[rows])
            following = windows.following[rows]
            counted = following >= 0
            return self._sampled(model, states[counted], following[counted])

        self._fit(model, len(windows), loss, "sequence", self.settings.sequence, share, number)

    def _sampled(
        self, model: TwoTowers | SelfAttention, users: Tensor, positives: Tensor
    ) -> Tensor:
        items, extra = self.cascade.sizes.items, self.settings.sampled_items
        drawn = torch.randint(items, (extra,), generator=self.generator)
        columns = torch.cat((positives, drawn))
        scores = users @ model.items(columns).t() + model.biases()[columns]
        expected = len(positives) * self.popularity + extra / items
        return sampled_softmax(scores, columns, positives, expected.log())

    def _prerank(self, lists: CandidateLists) -> None:
        model, examples = self.cascade.prerank, lists.examples

        def loss(rows: Tensor) -> Tensor:
            columns, places = lists.draw(rows, self.settings.negatives, self.generator)
            queries = model.queries(examples.history[rows], examples.profile[rows])
            tokens, biases = model.tokens(columns), model.biases()[columns]
            return listwise_softmax(model.score(queries, tokens, biases, places))

        self._fit(model, len(examples), loss, "prerank", self.settings.prerank, 1.0, 4)

    def _rank(self, lists: CandidateLists, evidence: Evidence) -> None:
        model, examples = self.cascade.rank, lists.examples
        calibrate(model, lists, evidence)

        def loss(rows: Tensor) -> Tensor:
            columns, earlier = lists.draw(rows, self.settings.negatives, self.generator)
            history, profile = examples.history[rows], examples.profile[rows]
            scores = model.score(
                history,
                profile,
                model.items(columns),
                model.attributes[columns],
                model.biases()[columns],
                earlier,
                evidence(history, profile, columns),
            )
            return listwise_softmax(scores)

        self._fit(model, len(examples), loss, "rank", self.settings.rank, 1.0, 5)

    def _lists_after(self, stage: StageName) -> list[Stage]:
        """What gives the list that the stage passes on, with the weights of the moment."""

        def built(name: StageName) -> Stage:
            return build_stage(self.cascade, self.known, name, default_keep(name, self.unseen))

        if stage in BRANCHES:
            return [built(stage)]
        merged = FusedRecall(
            [built(name) for name in BRANCHES], default_keep("recall", self.unseen)
        )
        return [merged, *(built(name) for name in STAGES[1 : STAGES.index(stage) + 1])]

    def _fit(
        self,
        model: torch.nn.Module,
        examples: int,
        loss_of: Callable[[Tensor], Tensor],
        stage: StageName,
        schedule: Schedule,
        share: float,
        number: int,
    ) -> None:
        """Train one stage; what is validated is the whole list that it passes on."""

        def validate() -> float:
            with torch.inference_mode():
                found = run_stages(self._lists_after(stage), len(self.split.validation_items))[-1]
            return ndcg(places_of(found, self.split.validation_items), found.shape[1])

        epochs = max(1, round(schedule.epochs * share))
        place = StagePlace(stage, number, _FITS)
        fit(
            model,
            examples,
            loss_of,
            validate,
            replace(schedule, epochs=epochs),
            self.generator,
            place,
            self.progress,
        )
