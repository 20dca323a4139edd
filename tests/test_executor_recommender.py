"""The recommender on real workers: batched and concurrent, each list is that of one request alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from configs.pipeline import pipeline_of
from delayline.loading import load_config
from executors.deploy import executor_of
from executors.recommender.fusion import FusedRecall
from executors.recommender.keep import BRANCHES, STAGES, StageName
from executors.recommender.reference import recommend_one, reference_stages
from executors.recommender.source import RecommenderSource
from policies.workload import Workload
from reports.invariants import check
from tests.command_line import written
from tests.recommender_cases import KEEP, interactions, saved_recommender

STAGE = """
  - name: {name}
    replicas: {replicas}
    max_batch: 16
    device: cpu
    keep: {keep}
    model: {{kind: recommender, stage: {name}, path: weights}}
    policy: {{kind: fixed, delay: {delay}}}
"""
DELAYS = ("0ms", "2ms", "0ms", "1ms")


def test_every_list_is_that_of_the_sequential_reference(tmp_path: Path) -> None:
    saved_recommender(tmp_path / "weights")
    # All come at once, for two replicas on two slots: stages overlap, and batches of recall too.
    text = "devices: {cpu: {slots: 2}}\nstages:" + "".join(
        STAGE.format(name=name, replicas=replicas, keep=KEEP[name], delay=delay)
        for name, replicas, delay in zip(STAGES, (2, 1, 1, 1), DELAYS, strict=True)
    )
    config = load_config(written(tmp_path, text))
    users = np.random.default_rng(5).integers(0, interactions().user_count, 300)
    workload = Workload.of(np.zeros(len(users), np.int64))
    with executor_of(config, pipeline_of(config, lambda _: lambda _: 0)) as executor:
        result = executor.run(workload, {"user": users})
    assert check(result.log) == []
    batches = [stage.batches for stage in result.log.stages]
    assert all(each.requests.max() > 1 for each in batches)
    assert set(batches[0].replica.tolist()) == {0, 1}
    stages = reference_stages(tmp_path / "weights", KEEP)
    expected = {user: recommend_one(stages, user) for user in np.unique(users).tolist()}
    found = result.answers["candidates"].tolist()
    assert found == [expected[user] for user in users.tolist()]


TAKEN = 30
"""Of the 40 candidates that come to the ranker."""


def test_at_a_level_the_ranker_looks_at_the_first_candidates_alone(tmp_path: Path) -> None:
    saved_recommender(tmp_path / "weights")
    text = "devices: {cpu: {slots: 2}}\nstages:" + "".join(
        STAGE.format(name=name, replicas=1, keep=KEEP[name], delay="0ms") for name in STAGES
    )
    levels = f"stages.rank.levels=[{{cost: 0.8, take: {TAKEN}}}]"
    degrade = "stages.rank.degrade={kind: hysteresis, raise_above: 4ms, lower_below: 1ms}"
    config = load_config(written(tmp_path, text), [levels, degrade])
    users = np.random.default_rng(6).integers(0, interactions().user_count, 200)
    with executor_of(config, pipeline_of(config, lambda _: lambda _: 0)) as executor:
        result = executor.run(Workload.of(np.zeros(len(users), np.int64)), {"user": users})
    assert check(result.log) == []
    level = result.log.requests.level
    assert 1 in level
    # The pre-ranker's first candidates are those that it would pass on if it passed on no more.
    found = result.answers["candidates"].tolist()
    for at, keep in enumerate((KEEP, {**KEEP, "prerank": TAKEN})):
        stages = reference_stages(tmp_path / "weights", keep)
        for row in np.flatnonzero(level == at)[:40].tolist():
            assert found[row] == recommend_one(stages, int(users[row]))


def test_three_ways_of_recall_are_merged_as_they_are_offline(tmp_path: Path) -> None:
    saved_recommender(tmp_path / "weights")
    merge = "{kind: rrf, constant: 60, weights: {sequence: 0.5}, keep: 60}"
    after: dict[StageName, str] = {
        **dict.fromkeys(BRANCHES, "[]"),
        "prerank": f"[recall, sequence, covisits]\n    merge: {merge}",
        "rank": "prerank",
        "rerank": "rank",
    }
    text = "devices: {cpu: {slots: 2}}\nstages:" + "".join(
        STAGE.format(name=name, replicas=1, keep=KEEP[name], delay="1ms")
        + f"    after: {parents}\n"
        for name, parents in after.items()
    )
    config = load_config(written(tmp_path, text))
    users = np.random.default_rng(6).integers(0, interactions().user_count, 200)
    workload = Workload.of(np.zeros(len(users), np.int64))
    with executor_of(config, pipeline_of(config, lambda _: lambda _: 0)) as executor:
        result = executor.run(workload, {"user": users})
    assert check(result.log) == []
    source = {
        name: RecommenderSource(tmp_path / "weights", name).load("cpu", keep)
        for name, keep in KEEP.items()
    }
    merged = FusedRecall([source[name] for name in BRANCHES], 60)
    with torch.inference_mode():
        expected = {"user": torch.from_numpy(users)}
        expected |= merged(expected)
        for name in STAGES[1:]:
            expected |= source[name](expected)
    assert np.array_equal(result.answers["candidates"], expected["candidates"].numpy())
