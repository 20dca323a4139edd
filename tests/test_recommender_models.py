from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from executors.exact import (
    ACTIVATION,
    EMBEDDING,
    EXACT_UNITS,
    ExactLinear,
    Grid,
    check_exact,
    snap,
    snap_positive,
)
from executors.recommender import covisits, prerank, rank, recall, rerank, sequence
from executors.recommender.cascade import new_cascade, padded, sizes_of
from executors.recommender.data import Interactions
from executors.recommender.evidence import evidence_of
from executors.recommender.keep import StageName
from executors.recommender.ordering import excluded, top_k
from executors.recommender.stages import Users, build_stage
from executors.recommender.users import user_table
from tests.recommender_cases import KEEP, drawn_cascade, interactions

DATA = interactions()
CASCADE = drawn_cascade(DATA)
TABLE = user_table(DATA, CASCADE.sizes)


@pytest.fixture(autouse=True)
def _serving() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        yield
    torch.set_num_threads(threads)


def on_grid(rng: np.random.Generator, shape: tuple[int, ...], grid: Grid) -> torch.Tensor:
    reach = int(grid.bound * 2**grid.bits)
    return torch.from_numpy(rng.integers(-reach, reach + 1, shape) / 2.0**grid.bits).float()


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 150), st.integers(1, 30))
def test_exact_linear_equals_whole_number_arithmetic(
    seed: int, batch: int, inputs: int, outputs: int
) -> None:
    rng = np.random.default_rng(seed)
    layer = ExactLinear(inputs, outputs, ACTIVATION)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(rng.normal(0, 2.0, (outputs, inputs))))
        layer.bias.copy_(torch.from_numpy(rng.normal(0, 2.0, outputs)))
    layer.eval()
    values = on_grid(rng, (batch, inputs), ACTIVATION)
    weight, bias = layer.on_grid()
    units = 2.0 ** (ACTIVATION.bits + layer.weight_bits)
    whole = (values.double() * 2**ACTIVATION.bits).long() @ (
        weight.double() * 2**layer.weight_bits
    ).long().t() + (bias.double() * units).long()
    assert torch.equal(layer(values).double() * units, whole.double())
    worst = ACTIVATION.bound * weight.abs().sum(dim=1) + bias.abs()
    assert float(worst.max()) * units <= EXACT_UNITS


def test_check_exact_says_what_passes_the_bound() -> None:
    check_exact(16, Grid(9, 1.0), Grid(9, 4.0))
    with pytest.raises(ValueError, match="take fewer terms or coarser grids"):
        check_exact(128, Grid(9, 1.0), Grid(9, 1.0))


@given(st.lists(st.floats(-20, 20, width=32), min_size=1, max_size=20))
def test_snap_is_the_nearest_point_of_the_grid(values: list[float]) -> None:
    tensor = torch.tensor(values)
    snapped = snap(tensor, ACTIVATION)
    step = 2.0**-ACTIVATION.bits
    assert torch.equal(snapped / step, (snapped / step).round())
    inside = tensor.clamp(-ACTIVATION.bound, ACTIVATION.bound)
    assert float((snapped - inside).abs().max()) <= step / 2
    assert torch.equal(snap_positive(tensor, ACTIVATION), snap(tensor.clamp_min(0), ACTIVATION))


@torch.inference_mode(False)
def test_training_sees_the_grid_and_gradients_pass_within_the_bound() -> None:
    values = torch.tensor([0.3, -5.0, 1.7], requires_grad=True)
    snapped = snap(values, ACTIVATION)
    assert torch.equal(snapped.detach(), snap(values.detach(), ACTIVATION))
    snapped.sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert values.grad.tolist() == [1.0, 0.0, 1.0]


@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(1, 50), st.data())
def test_top_k_is_by_score_and_then_by_place(
    seed: int, batch: int, count: int, data: st.DataObject
) -> None:
    keep = data.draw(st.integers(1, count))
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.integers(-3, 4, (batch, count)) / 2.0**14).float()
    scores[torch.from_numpy(rng.random((batch, count)) < 0.2)] = excluded(14)
    expected = [best_first(list(range(count)), row) for row in scores.tolist()]
    assert top_k(scores, keep, 14).tolist() == [order[:keep] for order in expected]


def best_first(places: list[int], scores: list[float]) -> list[int]:
    return sorted(places, key=lambda place: (-scores[place], place))


def test_recall_scores_are_dot_products_plus_bias_without_what_was_seen() -> None:
    users = Users(TABLE)
    stage = build_stage(CASCADE, users, "recall", 60)
    found = stage({"user": torch.arange(TABLE.user_count)})
    items = CASCADE.recall.items(torch.arange(DATA.item_count)).double()
    vectors = CASCADE.recall.users(users.history, users.profile).double()
    scores = (vectors @ items.t() + CASCADE.recall.biases().double()).numpy()
    for user in range(TABLE.user_count):
        seen = set(DATA.items[DATA.offsets[user] : DATA.offsets[user + 1]].tolist())
        unseen = [item for item in range(DATA.item_count) if item not in seen]
        expected = best_first(unseen, scores[user].tolist())[:60]
        assert found["candidates"][user].tolist() == expected
        assert found["scores"][user].tolist() == scores[user][expected].tolist()


def test_user_tower_pools_by_recency_and_leaves_padding_out() -> None:
    model, sizes = CASCADE.recall, CASCADE.sizes
    history = torch.full((1, sizes.history), sizes.items)
    history[0, :2] = torch.tensor([5, 9])
    rows = model.embedding(history)
    present = (history < sizes.items).float().unsqueeze(2)
    weight = snap(model.mean.weight.clamp(2.0**-6, 1.0), Grid(6, 1.0))
    expected = (weight[0] * rows[0, 0] + weight[1] * rows[0, 1]) / (weight[0] + weight[1])
    assert torch.equal(model.mean(rows, present)[0], snap(expected, ACTIVATION))


def test_late_interaction_is_the_sum_of_best_matches() -> None:
    model, sizes, users = CASCADE.prerank, CASCADE.sizes, Users(TABLE)
    candidates = torch.from_numpy(np.random.default_rng(1).integers(0, DATA.item_count, (5, 12)))
    places = prerank.from_places(12)
    queries = model.queries(users.history[:5], users.profile[:5])
    tokens = model.tokens(candidates)
    found = model.score(queries, tokens, model.biases()[candidates], places)
    pairs = tokens.view(5, 12, sizes.item_tokens, sizes.width)
    for user in range(5):
        for place in range(12):
            total = 0.0
            for query in queries[user].double():
                total += max(float(query @ token) for token in pairs[user, place].double())
            score = torch.tensor(total).float() * model.gate
            score = score + model.biases()[candidates[user, place]] + places[place] * model.slope
            assert found[user, place] == snap(score, prerank.SCORE)


def test_rankers_that_have_not_learned_leave_the_order_as_it_is() -> None:
    fresh = new_cascade(sizes_of(DATA), padded(torch.from_numpy(DATA.attributes)), trade=1.0)
    for model in fresh.modules.values():
        model.eval()
    candidates = torch.arange(40, 0, -1).expand(6, -1)
    batch = {"user": torch.arange(6), "candidates": candidates}
    kept: dict[StageName, int] = {"prerank": 30, "rank": 20, "rerank": 5}
    for stage, keep in kept.items():
        batch |= build_stage(fresh, Users(TABLE), stage, keep)(batch)
        assert torch.equal(batch["candidates"], candidates[:, :keep])


def test_what_is_missing_from_a_list_comes_last() -> None:
    batch = {"user": torch.arange(4), "candidates": torch.arange(40).repeat(4, 1)}
    batch["candidates"][:, 3::3] = -1
    kept: dict[StageName, int] = {"prerank": 36, "rank": 32, "rerank": 30}
    for stage, keep in kept.items():
        batch |= build_stage(CASCADE, Users(TABLE), stage, keep)(batch)
    assert (batch["candidates"][:, :27] >= 0).all()
    assert (batch["candidates"][:, 27:] == -1).all()


def test_later_items_change_nothing_before_them_and_the_newest_stands_for_the_user() -> None:
    model, history = CASCADE.sequence, Users(TABLE).history
    sequence = history.flip(1)
    changed = sequence.clone()
    changed[:, -3:] = (changed[:, -3:] + 1) % DATA.item_count
    assert torch.equal(model.everywhere(sequence)[:, :-3], model.everywhere(changed)[:, :-3])
    assert torch.equal(model.users(history, torch.empty(0)), model.everywhere(sequence)[:, -1])


def test_attention_follows_its_formula() -> None:
    model, users = CASCADE.sequence, Users(TABLE)
    history = users.history[:4].flip(1)
    rows = model.embedding(history).double().numpy()
    query, key = (
        grid(affine(layer, rows), sequence.ATTENTION) for layer in (model.query, model.key)
    )
    value = grid(affine(model.value, rows))
    distance = snap(model.distance, sequence.DISTANCE).double().numpy()
    places = history.shape[1]
    shares = np.zeros((4, places, places))
    for i in range(places):
        for j in range(i + 1):
            present = (history[:, j] < DATA.item_count).double().numpy()
            likeness = (query[:, i] * key[:, j]).sum(axis=1) + distance[i - j]
            shares[:, i, j] = np.maximum(likeness, 0) * present
    shares = grid(shares / (1 + shares.sum(axis=2, keepdims=True)), sequence.WEIGHT)
    state = grid(rows + shares @ value)
    hidden = np.maximum(grid(affine(model.hidden, state)), 0)
    state = grid(state + affine(model.forward_out, hidden))
    expected = grid(affine(model.out, state), recall.USER)
    assert np.array_equal(model.everywhere(history).double().numpy(), expected)


def test_items_go_together_by_the_formula() -> None:
    """Two users: 0 1 2, and 0 2; five items, of which 3 and 4 are never met."""
    data = Interactions(
        offsets=np.array([0, 3, 5]),
        items=np.array([0, 1, 2, 0, 2]),
        attributes=np.ones((5, 2), np.float32),
        user_ids=np.arange(2),
        item_ids=np.arange(5),
    )
    model = covisits.count_covisits(data, replace(sizes_of(data), neighbours=2))
    assert model.neighbours[0].tolist() == [2, 1]
    once = 2**-0.5 * 2 ** (-0.5 * covisits.POPULAR)
    expected = [(covisits.DECAY + 1) * once, 2**-0.5]
    assert model.weights[0].tolist() == snap(torch.tensor(expected), covisits.LIKENESS).tolist()
    assert model.weights[2].tolist() == [0.0, 0.0]
    history = torch.full((1, CASCADE.sizes.history), 5)
    assert model.scores(history)[0].argsort().tolist()[-3:] == [1, 0, 2]
    history[0, :2] = torch.tensor([0, 1])
    scores = model.scores(history)[0]
    recency = snap(torch.tensor(covisits.FADING), covisits.RECENCY)
    assert scores[2] == model.weights[0, 0] + recency * model.weights[1, 0] + model.start[2]


def test_query_tokens_of_missing_items_are_zero() -> None:
    empty = torch.full((1, CASCADE.sizes.history), CASCADE.sizes.items)
    queries = CASCADE.prerank.queries(empty, torch.zeros(1, CASCADE.sizes.profile))
    assert not queries[0, : CASCADE.sizes.tokens].any()


def test_rank_follows_the_dcn_v2_formula() -> None:
    model, users = CASCADE.rank, Users(TABLE)
    candidates = torch.from_numpy(np.random.default_rng(2).integers(0, DATA.item_count, (3, 8)))
    earlier = torch.linspace(-2, 2, 24).view(3, 8)
    items, attributes = model.items(candidates), model.attributes[candidates]
    history, profile = users.history[:3], users.profile[:3]
    evidence = evidence_of(CASCADE)(history, profile, candidates)
    biases = model.biases()[candidates]
    found = model.score(history, profile, items, attributes, biases, earlier, evidence)
    features = model._first(history, profile, items, attributes, earlier, evidence)
    first = grid(features.double().numpy())
    crossed = first
    for layer in model.cross:
        assert isinstance(layer, ExactLinear)
        crossed = grid(first * affine(layer, crossed) + crossed)
    deep = np.maximum(grid(affine(model.deep_in, first)), 0)
    deep = np.maximum(grid(affine(model.deep_out, deep)), 0)
    score = affine(model.out, np.concatenate((crossed, deep), axis=2))[:, :, 0]
    trusted = (evidence * snap(model.trust, rank.TRUST)).sum(dim=2)
    expected = score + (biases + earlier * model.slope + trusted).double().numpy()
    # The reference runs in float64; the last step before the grid rounds in float32.
    assert np.abs(found.double().numpy() - expected).max() <= 2.0**-rank.SCORE.bits


def test_cross_features_are_what_they_are_called() -> None:
    model, users = CASCADE.rank, Users(TABLE)
    candidates = torch.tensor([[3, 4]])
    items, attributes = model.items(candidates), model.attributes[candidates]
    history, profile = users.history[:1], users.profile[:1]
    earlier = torch.tensor([[1.0, -2.0]])
    evidence = evidence_of(CASCADE)(history, profile, candidates)
    first = model._first(history, profile, items, attributes, earlier, evidence)[0]
    assert torch.equal(first[:, -rank.EVIDENCE :], evidence[0])
    found = first[:, -rank.LIKENESS - rank.EVIDENCE : -rank.EVIDENCE]
    past = model.embedding(history)[0].double()
    present = (history[0] < CASCADE.sizes.items).float().view(1, -1, 1)
    mean = model.mean(model.embedding(history), present)[0].double()
    for place, item in enumerate([3, 4]):
        row = model.embedding(torch.tensor(item)).double()
        expected = [
            float(row @ mean),
            float((past @ row).max()),
            float(attributes[0, place].double() @ profile[0, :-1].double()),
            float(earlier[0, place]) / 4,
        ]
        assert torch.equal(found[place], snap(torch.tensor(expected), ACTIVATION))


@given(st.integers(0, 2**31), st.integers(1, 5), st.integers(1, 20), st.data())
def test_mmr_equals_the_greedy_loop(seed: int, batch: int, count: int, data: st.DataObject) -> None:
    keep = data.draw(st.integers(1, count))
    trade = data.draw(st.sampled_from([0.0, 0.3, 0.9, 1.0]))
    rng = np.random.default_rng(seed)
    scores = on_grid(rng, (batch, count), Grid(3, 2.0))
    vectors = rerank.unit_vectors(torch.from_numpy(rng.normal(size=(batch * count, 4))).float())
    vectors = vectors.view(batch, count, 4)
    found = rerank.diversify(scores, vectors, keep, trade).tolist()
    assert found == [greedy(scores[row], vectors[row], keep, trade) for row in range(batch)]


def greedy(scores: torch.Tensor, vectors: torch.Tensor, keep: int, trade: float) -> list[int]:
    spread = max(float(scores.max() - scores.min()), 2.0**-20)
    picked: list[int] = []
    while len(picked) < keep:
        best, best_value = -1, -float("inf")
        for place in range(len(scores)):
            if place in picked:
                continue
            relevance = (scores[place] - scores.min()) / torch.tensor(spread) * trade
            alike = [(vectors[place] @ vectors[other]) * (1.0 - trade) for other in picked]
            value = float(relevance - max(alike)) if alike else float(relevance)
            if value > best_value:
                best, best_value = place, value
        picked.append(best)
    return picked


def test_mmr_trades_relevance_for_diversity() -> None:
    scores = torch.tensor([[1.0, 0.9, 0.5]])
    vectors = torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]])
    assert rerank.diversify(scores, vectors, 2, 1.0).tolist() == [[0, 1]]
    assert rerank.diversify(scores, vectors, 2, 0.5).tolist() == [[0, 2]]


@given(st.lists(st.integers(0, TABLE.user_count - 1), min_size=1, max_size=64), st.integers(0, 3))
def test_a_batch_equals_its_requests_bit_for_bit(chosen: list[int], seed: int) -> None:
    """Scores and lists after every stage, whatever the batch and whoever else is in it."""
    cascade = drawn_cascade(DATA, seed=seed)
    users = Users(TABLE)
    stages = [build_stage(cascade, users, name, keep) for name, keep in KEEP.items()]
    together = {"user": torch.tensor(chosen)}
    alone = [{"user": torch.tensor([user])} for user in chosen]
    for stage in stages:
        together |= stage(together)
        for place, request in enumerate(alone):
            request |= stage(request)
            for name in ("candidates", "scores"):
                assert torch.equal(request[name][0], together[name][place])


def test_check_exact_holds_for_the_grids_in_use() -> None:
    width = CASCADE.sizes.width
    check_exact(width, recall.USER, recall.ITEM)
    check_exact((CASCADE.sizes.tokens + 1) * width, prerank.QUERY, prerank.TOKEN)
    check_exact(width, EMBEDDING, ACTIVATION)
    assert rank.SCORE.bound * 2**rank.SCORE.bits <= EXACT_UNITS


def affine(layer: ExactLinear, values: NDArray[np.float64]) -> NDArray[np.float64]:
    weight, bias = layer.on_grid()
    found: NDArray[np.float64] = values @ weight.double().numpy().T + bias.double().numpy()
    return found


def grid(values: NDArray[np.float64], on: Grid = ACTIVATION) -> NDArray[np.float64]:
    step = 2.0**-on.bits
    single = values.astype(np.float32).astype(np.float64)
    return np.clip(np.round(single / step) * step, -on.bound, on.bound)
