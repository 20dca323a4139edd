from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from executors.recommender.cascade import sizes_of
from executors.recommender.data import DataError, Interactions, collect, leave_last_out
from executors.recommender.generated import generate_interactions
from executors.recommender.movielens import load_movielens
from executors.recommender.users import contexts, user_table

HEADER = "userId,movieId,rating,timestamp\n"


def ratings(folder: Path, text: str) -> Path:
    (folder / "ratings.csv").write_text(text)
    return folder


def rows(user: int, movies: list[int], first_s: int = 100) -> str:
    return "".join(f"{user},{movie},4.0,{first_s + i}\n" for i, movie in enumerate(movies))


def test_movielens_orders_by_time_and_reads_genres_and_decades(tmp_path: Path) -> None:
    text = "7,30,4.0,500\n7,10,4.0,100\n7,20,4.0,300\n7,50,1.0,200\n7,40,5.0,400\n"
    ratings(tmp_path, HEADER + text)
    movies = 'movieId,title,genres\n10,"One, The (1995)",Comedy|War\n20,Two,(no genres listed)\n'
    (tmp_path / "movies.csv").write_text(movies)
    data = load_movielens(tmp_path)
    assert data.item_ids[data.items].tolist() == [10, 50, 20, 40, 30]
    assert data.user_ids.tolist() == [7]
    # Columns in order: 1990s, Comedy, War; films without a line in movies.csv have none.
    assert data.attributes.tolist() == [[1, 1, 1], *[[0, 0, 0]] * 4]


def test_movielens_works_without_movies(tmp_path: Path) -> None:
    data = load_movielens(ratings(tmp_path, HEADER + rows(1, [1, 2, 3, 4, 5])))
    assert data.attributes.shape == (5, 1)


def test_users_with_few_interactions_are_left_out(tmp_path: Path) -> None:
    text = HEADER + rows(1, [1, 2, 3]) + rows(2, [1, 2, 3, 4, 5])
    assert load_movielens(ratings(tmp_path, text)).user_ids.tolist() == [2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: no column 'userId'"),
        ("userId,movieId,rating\n", "line 1: no column 'timestamp'"),
        (HEADER, "no rating under the header"),
        (HEADER + rows(1, [1, 2, 3]), "no user has 5 interactions"),
        (HEADER + "1,2,4.0\n", "line 2: 3 values under a header of 4"),
        (HEADER + "1,2,4.0,9\n1,x,4.0,9\n", "line 3: userId, movieId and timestamp must be whole"),
    ],
)
def test_bad_ratings_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load_movielens(ratings(tmp_path, text))
    assert str(tmp_path / "ratings.csv") in str(caught.value)
    assert message in str(caught.value)


def test_missing_and_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ratings.csv: no such file"):
        load_movielens(tmp_path)
    ratings(tmp_path, HEADER + rows(1, [1, 2, 3, 4, 5]))
    (tmp_path / "movies.csv").write_bytes(b"movieId,title,genres\n1,\xff\xfe,\n")
    with pytest.raises(DataError, match=r"movies.csv: cannot be read as CSV"):
        load_movielens(tmp_path)
    (tmp_path / "movies.csv").write_text("movieId,title,genres\none,One,War\n")
    with pytest.raises(DataError, match=r"movies.csv, line 2: movieId must be a whole number"):
        load_movielens(tmp_path)


def test_movielens_latest_small(real_data: Path) -> None:
    data = load_movielens(real_data / "ml-latest-small")
    assert (data.user_count, data.item_count, len(data.items)) == (610, 9724, 100836)
    toy_story = int(np.searchsorted(data.item_ids, 1))
    assert data.attributes[toy_story].sum() == 6  # five genres and the decade


def test_generated_data_is_reproducible_and_never_repeats_an_item() -> None:
    data = generate_interactions(5, users=30, items=200, interactions_per_user=20, attributes=5)
    again = generate_interactions(5, users=30, items=200, interactions_per_user=20, attributes=5)
    other = generate_interactions(6, users=30, items=200, interactions_per_user=20, attributes=5)
    assert data.fingerprint() == again.fingerprint() != other.fingerprint()
    for user in range(data.user_count):
        own = data.items[data.offsets[user] : data.offsets[user + 1]]
        assert len(set(own.tolist())) == len(own)


def test_generated_data_holds_popularity_taste_and_order() -> None:
    data = generate_interactions(2, users=200, items=800, interactions_per_user=40, attributes=10)
    counts = np.sort(np.bincount(data.items, minlength=data.item_count))[::-1]
    assert counts[:80].sum() > 0.25 * counts.sum()
    rng = np.random.default_rng(0)
    labels = data.attributes / np.linalg.norm(data.attributes, axis=1, keepdims=True)
    same_user = data.users[1:] == data.users[:-1]
    following = (labels[data.items[1:]] * labels[data.items[:-1]]).sum(axis=1)[same_user].mean()
    apart = np.concatenate([rng.permutation(data.items[data.users == user]) for user in range(200)])
    within = (labels[apart[1:]] * labels[apart[:-1]]).sum(axis=1)[same_user].mean()
    shuffled = rng.permutation(data.items)
    anywhere = (labels[shuffled[1:]] * labels[shuffled[:-1]]).sum(axis=1).mean()
    assert following > 1.1 * within > 1.1 * 1.1 * anywhere


def test_generator_refuses_too_few_items() -> None:
    with pytest.raises(ValueError, match=r"items must be at least 4 \* interactions_per_user"):
        generate_interactions(1, items=100, interactions_per_user=100)


@given(st.lists(st.integers(5, 12), min_size=1, max_size=6), st.integers(0, 2**31))
def test_split_and_contexts_agree_with_plain_lists(lengths: list[int], seed: int) -> None:
    data = drawn(lengths, seed)
    split, sizes = leave_last_out(data), sizes_of(data)
    sequences = np.split(data.items, data.offsets[1:-1])
    assert split.test_items.tolist() == [s[-1] for s in sequences]
    assert split.validation_items.tolist() == [s[-2] for s in sequences]
    assert split.training.items.tolist() == [i for s in sequences for i in s[:-2].tolist()]
    assert split.before_test.items.tolist() == [i for s in sequences for i in s[:-1].tolist()]
    table = user_table(split.training, sizes)
    for user, sequence in enumerate(sequences):
        past = sequence[:-2]
        newest = past[::-1][: sizes.history].tolist()
        padding = [sizes.items] * (sizes.history - len(newest))
        assert table.contexts.history[user].tolist() == newest + padding
        share = data.attributes[past].mean(axis=0)
        assert np.abs(table.contexts.profile[user, :-1] - share).max() <= 2.0**-8
        start, end = table.seen_offsets[user : user + 2]
        assert table.seen[start:end].tolist() == past.tolist()


def test_a_context_knows_nothing_of_what_comes_later() -> None:
    data = drawn([10, 8], seed=1)
    sizes = sizes_of(data)
    found = contexts(data, sizes, np.array([0, 1]), np.array([3, 0]))
    assert found.history[0, :4].tolist() == [*data.items[:3][::-1].tolist(), sizes.items]
    assert (found.history[1] == sizes.items).all()
    assert (found.profile[1] == 0).all()


def drawn(lengths: list[int], seed: int) -> Interactions:
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(len(lengths)), lengths)
    items = rng.integers(0, 9, len(users))
    attributes = rng.integers(0, 2, (9, 4)).astype(np.float32)
    return collect(users, items, rng.permutation(len(users)), np.arange(9), attributes, "drawn")
