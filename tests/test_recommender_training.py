from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from executors.recommender import train as front
from executors.recommender.data import DataError
from executors.recommender.evaluation import (
    evaluation_from_json,
    ndcg,
    places_of,
    popular_lists,
    quality,
)
from executors.recommender.examples import CandidateLists, Examples
from executors.recommender.fitting import TrainingStep
from executors.recommender.folder import METADATA, MODELS
from executors.recommender.generated import generate_interactions
from executors.recommender.objectives import listwise_softmax, sampled_softmax
from executors.recommender.reference import recommend_one, reference_stages
from executors.recommender.training import Hyperparameters, Trained, train_cascade
from executors.recommender.users import user_table
from executors.recommender.weights import load

SMALL = generate_interactions(1, users=250, items=900, interactions_per_user=40, attributes=10)
QUICK = Hyperparameters(
    recall=replace(Hyperparameters().recall, epochs=5, batch=256),
    sequence=replace(Hyperparameters().sequence, epochs=4),
    prerank=replace(Hyperparameters().prerank, epochs=1),
    rank=replace(Hyperparameters().rank, epochs=1),
    sampled_items=256,
    examples=2000,
    negatives=16,
)
TINY = replace(
    QUICK,
    recall=replace(QUICK.recall, epochs=1),
    sequence=replace(QUICK.sequence, epochs=1),
    examples=300,
)


@pytest.fixture(scope="module")
def steps() -> list[TrainingStep]:
    return []


@pytest.fixture(scope="module")
def trained(steps: list[TrainingStep]) -> Trained:
    def record(step: TrainingStep) -> None:
        steps.append(step)

    return train_cascade(SMALL, 1, QUICK, record)


def test_every_stage_beats_popularity(trained: Trained) -> None:
    evaluation = trained.evaluation
    popular = evaluation.of("popularity")
    for system in ("recall", "sequence", "covisits", "merged", "prerank", "rank", "rerank"):
        assert evaluation.of(system).ndcg_10 > 1.3 * popular.ndcg_10
    for system in ("recall", "sequence", "merged", "prerank"):
        assert evaluation.of(system).recall_at[100] > 1.2 * popular.recall_at[100]
    assert 200 not in evaluation.of("prerank").recall_at
    with pytest.raises(KeyError, match="no system 'magic'"):
        evaluation.of("magic")
    assert evaluation_from_json(json.loads(json.dumps(evaluation.to_json()))) == evaluation


def test_service_starts_from_all_interactions(trained: Trained) -> None:
    assert len(trained.users.seen) == len(SMALL.items)
    assert trained.users.contexts.history[0, 0] == SMALL.items[SMALL.offsets[1] - 1]


def test_progress_tells_where_training_is(trained: Trained, steps: list[TrainingStep]) -> None:
    stages = dict.fromkeys((step.stages_done, step.stage) for step in steps)
    expected = ["recall", "sequence", "recall", "sequence", "prerank", "rank"]
    assert list(stages) == list(enumerate(expected))
    for number in range(6):
        own = [step.fraction for step in steps if step.stages_done == number]
        assert own == sorted(own)
        assert 0 < own[0] <= own[-1] <= 1
    assert {step.stages for step in steps} == {6}
    assert len({step.validation_ndcg for step in steps if step.stage == "recall"}) > 2


def test_a_stage_ends_no_worse_than_it_began(trained: Trained, steps: list[TrainingStep]) -> None:
    """Early stop keeps the best weights, so recall's best validation is at least its first."""
    recall = [step.validation_ndcg for step in steps if step.stage == "recall"]
    assert max(recall) > recall[0]


def test_equal_seeds_give_equal_weights_and_torch_is_left_alone() -> None:
    torch.manual_seed(5)
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    data = generate_interactions(1, users=30, items=150, interactions_per_user=20, attributes=5)
    first, again = train_cascade(data, 4, TINY), train_cascade(data, 4, TINY)
    other = train_cascade(data, 5, TINY)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    for name in ("recall", "prerank", "rank"):
        one, two = getattr(first.cascade, name), getattr(again.cascade, name)
        for key, value in one.state_dict().items():
            assert torch.equal(value, two.state_dict()[key])
    assert first.evaluation == again.evaluation
    assert not torch.equal(
        first.cascade.recall.embedding.weight, other.cascade.recall.embedding.weight
    )


def test_weights_are_reused_only_where_training_would_make_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = generate_interactions(1, users=30, items=150, interactions_per_user=20, attributes=5)
    monkeypatch.setattr(front, "interactions_of", lambda source, seed: data)
    out = tmp_path / "weights"
    first = front.train_or_reuse(None, out, 1, settings=TINY)
    again = front.train_or_reuse(None, out, 1, settings=TINY)
    assert (first.reused, again.reused) == (False, True)
    assert again.evaluation == first.evaluation
    assert not front.train_or_reuse(None, out, 2, settings=TINY).reused
    assert not front.train_or_reuse(None, out, 2, settings=replace(TINY, negatives=8)).reused
    (out / MODELS).write_bytes((out / MODELS).read_bytes()[:-5])
    assert not front.train_or_reuse(None, out, 2, settings=replace(TINY, negatives=8)).reused
    assert not front.train(None, out, 2, settings=replace(TINY, negatives=8)).reused
    kept = {"recall": 30, "prerank": 20, "rank": 15, "rerank": 5}
    assert len(recommend_one(reference_stages(out, kept), 3)) == 5  # type: ignore[arg-type]
    assert (out / METADATA).is_file()
    assert load(out).evaluation.users == 30


def test_an_exception_in_progress_stops_training_and_writes_nothing(tmp_path: Path) -> None:
    def stop(step: TrainingStep) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        front.train(None, tmp_path / "weights", 1, stop, TINY)
    assert not list(tmp_path.iterdir())


def test_missing_interactions_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ratings.csv: no such file"):
        front.train(tmp_path, tmp_path / "weights", 1)


def test_sampled_softmax_is_the_corrected_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.normal(size=(3, 5)))
    columns, positives = torch.tensor([7, 8, 7, 9, 8]), torch.tensor([7, 8, 7])
    log_expected = torch.from_numpy(rng.normal(size=10))
    losses = []
    for row in range(3):
        logits = scores[row] - log_expected[columns]
        others = [c for c in range(5) if c == row or columns[c] != positives[row]]
        losses.append(torch.logsumexp(logits[others], 0) - logits[row])
    expected = torch.stack(losses).mean()
    found = sampled_softmax(scores, columns, positives, log_expected)
    assert torch.allclose(found, expected)


def test_listwise_softmax_is_least_where_the_first_column_leads() -> None:
    assert float(listwise_softmax(torch.zeros(4, 8))) == pytest.approx(np.log(8))
    assert listwise_softmax(torch.tensor([[9.0, 0.0]])) < listwise_softmax(
        torch.tensor([[0.0, 9.0]])
    )


@given(st.integers(0, 2**31), st.integers(2, 9))
def test_drawn_negatives_are_never_the_positive(seed: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(count, (6,), generator=generator)
    candidates = torch.stack([torch.randperm(count, generator=generator) for _ in range(6)])
    positives = candidates.gather(1, places[:, None]).squeeze(1)
    empty = torch.zeros(6)
    lists = CandidateLists(
        Examples(empty, empty, empty, positives), candidates, candidates.float(), places
    )
    rows = torch.tensor([4, 1])
    items, scores = lists.draw(rows, 7, generator)
    assert torch.equal(items[:, 0], positives[rows])
    assert not (items[:, 1:] == items[:, :1]).any()
    assert torch.equal(scores, items.float())


def test_metrics_by_hand() -> None:
    lists = np.array([[4, 5, 6], [4, 5, 6], [4, 5, 6]])
    places = places_of(lists, np.array([4, 6, 9]))
    assert places.tolist() == [0, 2, 3]
    assert ndcg(places, 3) == pytest.approx((1 + 0.5 + 0) / 3)
    assert ndcg(places, 2) == pytest.approx(1 / 3)
    wide = np.tile(np.arange(60), (2, 1))
    found = quality("x", wide, np.array([10, 49]))
    assert found.recall_at == {10: 0.0, 50: 1.0}
    assert found.ndcg_10 == 0.0


def test_popularity_counts_and_leaves_out_what_was_seen(trained: Trained) -> None:
    table = user_table(SMALL, trained.cascade.sizes)
    counts = np.bincount(SMALL.items, minlength=SMALL.item_count)
    found = popular_lists(table, SMALL.item_count)[3]
    seen = set(SMALL.items[SMALL.offsets[3] : SMALL.offsets[4]].tolist())
    unseen = [item for item in range(SMALL.item_count) if item not in seen]
    assert found.tolist() == sorted(unseen, key=lambda item: (-counts[item], item))[: len(found)]
