"""Pipelines on torch workers: brought up once, then run under any workload.

What is slow to import (torch) is imported where it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING

from configs.model import Config
from configs.pipeline import pipeline_of
from delayline.console import progress
from policies.pipeline import Pipeline
from policies.runlog import RunLog
from sim.service.of_stage import model_of_stage
from sim.service.profile import Profile
from sim.simulate import AnyWorkload, pipeline_for

if TYPE_CHECKING:
    from executors.executor import Executor

Ended = Callable[[int, int], None]
"""Told now and then how many requests have ended, of how many."""


@contextmanager
def brought_up(
    config: Config, *, quiet: bool = True, probes: Mapping[str, int] = MappingProxyType({})
) -> Iterator[Executor]:
    """The configuration's models on workers. Batches may be as large as ``max_batch`` says. ``probes`` as
    ``executors.deploy`` has them.

    Raises MissingModelError and PlacementError before a worker is started, ModelError for a model that
    cannot be loaded.
    """
    from executors.deploy import executor_of

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
    result = executor.run(
        workload,
        pipeline=pipeline_for(config, workload)
        if profiles_are_there(config)
        else blind_pipeline(config),
        keep_answers=False,
        progress=told,
        info={"name": config.name, "seed": config.seed},
    )
    return result.log


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
