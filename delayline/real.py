"""Pipelines on torch workers: brought up once, then run under any workload.

What is slow to import (torch) is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from configs.model import Config
from configs.pipeline import pipeline_of
from delayline.console import progress
from delayline.quality import QualityModel
from policies.pipeline import Pipeline
from policies.runlog import RunLog
from reports.quality import RunQuality
from sim.service.of_stage import model_of_stage
from sim.service.profile import Profile
from sim.simulate import AnyWorkload, pipeline_for

if TYPE_CHECKING:
    from executors.executor import Executor
    from executors.running import RunResult

Ended = Callable[[int, int], None]
"""Told now and then how many requests have ended, of how many."""


@contextmanager
def brought_up(
    config: Config, *, quiet: bool = True, probes: Mapping[str, int] = MappingProxyType({})
) -> Iterator[Executor]:
    """The configuration's models on workers. Batches may be as large as ``max_batch`` says. Where there is
    a quality table the models are not told what is held out, so that lists can be judged. ``probes`` as
    ``executors.deploy`` has them.

    Raises MissingModelError and PlacementError before a worker is started, ModelError for a model that
    cannot be loaded.
    """
    from executors.deploy import executor_of

    if config.quality is not None:
        from executors.held_out import without_held_out

        config = without_held_out(config)
    executor = executor_of(config, blind_pipeline(config), probes=probes)
    with ExitStack() as stack:
        with progress("starting the workers", 1, quiet=quiet):
            stack.enter_context(executor)
        yield executor


def run_real(
    config: Config, executor: Executor, workload: AnyWorkload, told: Ended | None = None
) -> RunLog:
    """Run a configuration on workers that are up; its policies may differ from those it came up with.

    They are told the service times that the configuration predicts, or none before there is a profile.
    After Ctrl-C the log holds what had been sent, and its ``info`` says ``interrupted``.
    """
    return _run(config, executor, workload, told, keep_answers=False).log


def run_judged(
    config: Config,
    executor: Executor,
    workload: AnyWorkload,
    quality: QualityModel,
    told: Ended | None = None,
) -> tuple[RunLog, RunQuality]:
    """As :func:`run_real`, and what the lists that came back are worth beside what was predicted of them.
    Raises HeldOutError where what is sent and answered is no user and no list, QualityError.
    """
    log, users, lists = run_lists(config, executor, workload, told)
    return log, quality.judged(config, log, users, lists)


def run_lists(
    config: Config, executor: Executor, workload: AnyWorkload, told: Ended | None = None
) -> tuple[RunLog, NDArray[np.int64], NDArray[np.int64]]:
    """As :func:`run_real`, with the users (requests,) that requests were about and the lists (requests, k)
    that came back. Raises HeldOutError where what is sent and answered is no user and no list.
    """
    from executors.held_out import judged_columns

    result = _run(config, executor, workload, told, keep_answers=True)
    return result.log, *judged_columns(result.sent, result.answers)


def _run(
    config: Config,
    executor: Executor,
    workload: AnyWorkload,
    told: Ended | None,
    *,
    keep_answers: bool,
) -> RunResult:
    return executor.run(
        workload,
        pipeline=pipeline_for(config, workload)
        if profiles_are_there(config)
        else blind_pipeline(config),
        keep_answers=keep_answers,
        progress=told,
        info={"name": config.name, "seed": config.seed},
    )


def blind_pipeline(config: Config) -> Pipeline:
    """The pipeline with no prediction of service times: for bringing it up, and for measuring them."""
    return pipeline_of(config, lambda _: lambda _: 0)


def profiles_are_there(config: Config) -> bool:
    """Whether every profile that a stage takes its service times from has been taken."""
    return all(
        model.path.exists()
        for stage in config.stages
        if isinstance(model := stage.service_here(), Profile)
    )


def check_profiles(config: Config) -> None:
    """Raises ProfileError for a profile that is there and cannot be used; to be asked before a run."""
    for stage in config.stages:
        model = stage.service_here()
        if isinstance(model, Profile) and model.path.exists():
            model_of_stage(config, stage).expected_ns(1, 1)
