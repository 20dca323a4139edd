"""Levels on real workers: what is recorded is what was run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest

from executors.executor import Executor
from executors.levels import Cheaper
from executors.replica import WorkerError
from executors.session import ExecutorError
from policies.contract import State, View
from policies.degrade import Degrade, Level
from policies.immediate import Immediate
from policies.pipeline import Pipeline, Stage
from policies.workload import Workload
from reports.invariants import check
from sim.simulate import replay_pipeline
from tests.executor_models import WIDTH, Linear, Seen


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
    pipeline = Pipeline((replace(RANK, levels=(Level(0.5),), replicas=1),))
    with (
        pytest.raises(WorkerError) as caught,
        Executor(pipeline, {"rank": own}, levels={"rank": [level]}),
    ):
        pass
    assert message in str(caught.value)
    assert str(caught.value).startswith("stage rank: ")
