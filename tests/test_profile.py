"""The profile file: what is written is read, and what is damaged is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from configs.profile import ProfileError, ProfileRun, ServiceProfile, load_profile, save_profile

BATCH = st.tuples(
    st.integers(1, 10**6), st.integers(0, 2**62), st.integers(0, 2**63 - 1), st.integers(-1, 2**62)
)  # requests, items, service_ns, rested_ns


def run_of(batches: list[tuple[int, int, int, int]], load: float = 0.5) -> ProfileRun:
    columns = np.array(batches, np.int64).reshape(-1, 4)
    return ProfileRun(load, "fixed 2ms", *columns.T)


def profile_of(*runs: ProfileRun) -> ServiceProfile:
    return ServiceProfile("shop", "two cores", "abc", {"recall": runs, "rank": runs[:1]})


@given(st.lists(st.lists(BATCH, max_size=20), min_size=1, max_size=3))
def test_a_profile_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[tuple[int, int, int, int]]]
) -> None:
    path = tmp_path_factory.mktemp("profile") / "shop.json"
    written = profile_of(*(run_of(batches) for batches in runs))
    save_profile(path, written)
    read = load_profile(path)
    facts = ("pipeline", "device", "fingerprint", "created")
    assert [getattr(read, f) for f in facts] == [getattr(written, f) for f in facts]
    assert list(read.stages) == list(written.stages)
    for name, stage in written.stages.items():
        for a, b in zip(stage, read.stages[name], strict=True):
            assert (a.load, a.policy) == (b.load, b.policy)
            for column in ("requests", "items", "service_ns", "rested_ns"):
                np.testing.assert_array_equal(getattr(a, column), getattr(b, column))


def test_saving_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "shop.json"
    for size in (50, 1):
        save_profile(path, profile_of(run_of([(1, 1, 10, -1)] * size)))
    assert len(load_profile(path).stages["rank"][0].requests) == 1
    assert [p.name for p in path.parent.iterdir()] == ["shop.json"]


def test_a_profile_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "shop.json"
    save_profile(path, profile_of(run_of([(1, 1, 10, -1)])))
    before = path.read_bytes()
    unwritable: Any = object()
    with pytest.raises(TypeError):
        save_profile(path, ServiceProfile("shop", unwritable, "abc", {}))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["shop.json"]


def test_a_stage_that_was_not_profiled_is_named_beside_those_that_were(tmp_path: Path) -> None:
    profile = profile_of(run_of([(1, 1, 10, -1)]))
    assert len(profile.runs("rank", tmp_path)) == 1
    with pytest.raises(ProfileError) as error:
        profile.runs("ranks", "shop.json")
    assert str(error.value) == (
        "profile shop.json has stages recall, rank; none named ranks; did you mean rank?"
    )


def good() -> dict[str, Any]:
    columns = {"requests": [1], "items": [1], "service_ns": [10], "rested_ns": [-1]}
    run = {"load": 0.5, "policy": "", **columns}
    return {
        "format": "delayline-profile/1",
        "pipeline": "shop",
        "device": "",
        "fingerprint": "",
        "created": "",
        "stages": {"rank": {"runs": [run]}},
    }


def damaged(**changes: Any) -> str:
    document = good()
    document["stages"]["rank"]["runs"][0].update(changes)
    return json.dumps(document)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is not JSON (line 1, column 2"),
        ("[]", "has format None"),
        ('{"format": "delayline-profile/9"}', "has format 'delayline-profile/9'"),
        ('{"format": "delayline-profile/1"}', "lacks stages"),
        (json.dumps(good() | {"pipeline": 3}), "pipeline is of the wrong type"),
        (json.dumps(good() | {"stages": {"rank": {}}}), "lacks stages.rank.runs"),
        (damaged(service_ns=[1, 2]), "stages.rank.runs.0: the columns of a profile run differ"),
        (damaged(service_ns=[-1]), "service_ns[0] must be 0 or more, not -1"),
        (damaged(rested_ns=[-2]), "rested_ns[0] must be -1 or more, not -2"),
        (damaged(requests=[0]), "requests[0] must be 1 or more, not 0"),
        (damaged(items=[1.5]), "stages.rank.runs.0.items[0] is no 64-bit integer: 1.5"),
        (damaged(items=[2**63]), "is no 64-bit integer"),
        (damaged(load=True), "stages.rank.runs.0.load is of the wrong type"),
    ],
)
def test_a_damaged_profile_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "shop.json"
    path.write_text(json.dumps(good()))
    assert load_profile(path).stages["rank"][0].service_ns.tolist() == [10]
    path.write_text(text)
    with pytest.raises(ProfileError) as error:
        load_profile(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_a_profile_that_is_absent_or_unreadable_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="there is no profile"):
        load_profile(tmp_path / "none.json")
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ProfileError, match="cannot be read"):
        load_profile(tmp_path / "binary")
