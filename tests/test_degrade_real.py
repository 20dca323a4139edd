"""Levels on real workers: what is recorded is what was run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from executors.executor import Executor
from executors.levels import Cheaper, LevelError, models_at
from executors.session import ExecutorError
from policies.contract import State, View
from policies.degrade import Degrade, Level
from policies.immediate import Immediate
from policies.merge_side_by_side import SideBySide
from policies.pipeline import Pipeline, Stage
from policies.workload import Workload
from reports.invariants import check
from reports.paths import missing
from sim.simulate import replay_pipeline
from tests.executor_models import WIDTH, Linear, Seen
from tests.pipeline_strategies import SKIP


@dataclass(frozen=True, slots=True)
class InTurn(Degrade):
    """One level after the other."""

    kind: ClassVar[str] = "test-in-turn"

    def initial_state(self) -> list[int]:
        return [-1]

    @staticmethod
    def rule(view: View, now_ns: int, state: State, levels: int) -> int:
        state[0] = (state[0] + 1) % (levels + 1)
        return state[0]


RANK = Stage(
    "rank",
    Immediate(),
    lambda n: 1000 * n,
    replicas=2,
    max_batch=3,
    levels=(Level(0.9), Level(0.6), Level(0.5)),
    degrade=InTurn(),
)
LEVELS = (Cheaper(take=2), Cheaper(Seen(factor=-1)), Cheaper(Seen(factor=10), take=1))
EXPECTED = ((1, WIDTH), (1, 2), (-1, WIDTH), (10, 1))
"""By level, the factor, and how much is seen."""


def test_each_batch_is_run_at_the_level_that_is_recorded() -> None:
    rows = np.random.default_rng(2).random((60, WIDTH), np.float32)
    workload = Workload.of(np.arange(60) * 300_000)
    with Executor(Pipeline((RANK,)), {"rank": Seen()}, levels={"rank": LEVELS}) as executor:
        result = executor.run(workload, {"x": rows})
        fuller = replace(RANK, levels=(*RANK.levels, Level(0.1)))
        with pytest.raises(
            ExecutorError, match="workers that are up serve 3 cheaper levels, not 4"
        ):
            executor.run(workload, {"x": rows}, pipeline=Pipeline((fuller,)))
    assert check(result.log) == []
    level = result.log.requests.level
    assert set(level.tolist()) == {0, 1, 2, 3}
    expected = [
        EXPECTED[at][0] * row[: EXPECTED[at][1]].sum() for at, row in zip(level, rows, strict=True)
    ]
    np.testing.assert_allclose(result.answers["y"], expected, rtol=1e-5)
    again = replay_pipeline(Pipeline((RANK,)), result.log)
    np.testing.assert_array_equal(again.requests.level, level)


def test_a_branch_that_is_skipped_is_missing_from_the_answer() -> None:
    """By its stage, for every second batch, and by the requests' own levels."""
    slow = Stage("slow", Immediate(), lambda n: 1000 * n, levels=(SKIP,), degrade=InTurn())
    fast = Stage("fast", Immediate(), lambda n: 1000 * n)
    merge = SideBySide(quorum=2, default={"slow": -7.0})
    join = Stage("join", Immediate(), lambda n: 1000 * n, parents=("fast", "slow"), merge=merge)
    by_stage = Pipeline((fast, slow, join))
    follows = replace(slow, degrade=None, by_request=True)
    by_request = Pipeline((fast, follows, join), levels=((0, 1, 0),), degrade=InTurn())
    sources = {
        "fast": Linear("x", "y", factor=2.0),
        "slow": Linear("x", "w", factor=3.0),
        "join": Linear("y", "z", also="w"),
    }
    rows = np.random.default_rng(2).random((40, WIDTH), np.float32)
    workload = Workload.of(np.arange(40) * 2_000_000)
    with Executor(by_stage, sources) as executor:
        results = [executor.run(workload, {"x": rows}, pipeline=p) for p in (by_stage, by_request)]
    for pipeline, result in zip((by_stage, by_request), results, strict=True):
        log = result.log
        assert check(log) == []
        gone = missing(log)["join"]["slow"]
        assert gone.any()
        assert log.stages[1].skipped is not None
        assert sorted(log.stages[1].skipped.request.tolist()) == np.flatnonzero(gone).tolist()
        assert log.stages[1].batches.requests.sum() == np.count_nonzero(~gone)
        np.testing.assert_array_equal(log.requests.level, gone)
        there = np.where(gone[:, None], -7.0, 3 * rows)
        np.testing.assert_allclose(result.answers["z"], 2 * rows + there, rtol=1e-5)
        again = replay_pipeline(pipeline, log)
        np.testing.assert_array_equal(again.requests.ended_ns, log.requests.ended_ns)
    assert results[1].log.requests.level.tolist() == [0, 1] * 20


@pytest.mark.parametrize(
    ("own", "level", "message"),
    [
        (Seen(), Cheaper(Seen(gives="z")), "the model of level 1 puts out 'y' as None"),
        (Seen(), Cheaper(Linear("x", "y", also="z")), "the model of level 1 takes 'z'"),
        (
            Seen(width=WIDTH),
            Cheaper(take=2),
            "level 1 takes 2 candidates, and no input of its model",
        ),
    ],
)
def test_a_level_that_does_not_fit_its_stage_is_refused(
    own: Seen, level: Cheaper, message: str
) -> None:
    with pytest.raises(LevelError) as caught:
        models_at(own.load("cpu", None), [level], "cpu", None)
    assert message in str(caught.value)
