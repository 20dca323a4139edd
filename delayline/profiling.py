"""Profiles on the way between configurations, workers and files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from configs.model import Config, StageConfig
from configs.profile import save_profile
from configs.widths import comes_in
from delayline.errors import CommandError
from delayline.rates import at_rate
from policies.merge_side_by_side import SideBySide
from policies.workload import Workload
from sim.service.profile import Profile

if TYPE_CHECKING:
    from executors.executor import Executor
    from executors.profiler import Profiled, ProfilePlan

Doing = Callable[[str, float], None]
"""Told what is being done, and how much of everything is, 0 to 1."""

REPLICATION = 9_000
"""Whose arrivals a profile is taken under: a replication that no run is predicted for."""


def profile_path(config: Config) -> Path:
    """The file that all stages take their service times from. Raises CommandError for none, or two."""
    models = [stage.service_here() for stage in config.stages]
    paths = {model.path for model in models if isinstance(model, Profile)}
    if len(paths) != 1:
        named = " and ".join(map(str, sorted(paths))) or "no profile"
        raise CommandError(
            f"stages take their service times from {named}; say which profile to write with --out FILE"
        )
    return paths.pop()


def with_profile(config: Config, path: Path) -> Config:
    """The configuration with every stage's service times taken from a profile."""
    return replace(config, stages=tuple(_profiled(stage, path) for stage in config.stages))


def _profiled(stage: StageConfig, path: Path) -> StageConfig:
    elsewhere = {
        name: model for name, model in stage.service_on.items() if name not in stage.device
    }
    return replace(stage, service=Profile(path=path), service_on=elsewhere)


def probes_of(config: Config) -> dict[str, int]:
    """The stages that can be shown fewer candidates than come in, and how many: half, and no fewer than
    they keep.

    Not where lists come side by side: no cut of each is the same as fewer of all.
    """
    parents = config.parents()
    found = {}
    for stage in config.stages:
        known = comes_in(config, stage.name)
        apart = stage.merge is None or isinstance(stage.merge, SideBySide)
        if known is None or (apart and len(parents[stage.name]) > 1):
            continue
        narrow = max(stage.keep or 1, known // 2)
        if narrow < known:
            found[stage.name] = narrow
    return found


def take_profile(
    config: Config,
    executor: Executor,
    path: Path,
    plan: ProfilePlan | None = None,
    told: Doing | None = None,
    probes: Mapping[str, int] = MappingProxyType({}),
) -> Profiled:
    """Measure service times through the dispatcher, under the configured arrivals, into ``path``. With
    ``probes``, that the executor has come up with, what candidates take as well.

    Ctrl-C ends it early with the runs that are finished; KeyboardInterrupt where none is. Raises
    CommandError for arrivals whose rate cannot be set, ProfilingError where nothing can be measured.
    """
    from executors.profiler import profile_pipeline
    from executors.widths import Width

    given = {stage.name: comes_in(config, stage.name) for stage in config.stages}
    widths = {name: Width(known, probes.get(name)) for name, known in given.items() if known}

    def workload_at(rate_hz: float, requests: int) -> Workload:
        return at_rate(config, rate_hz, requests=requests, replication=REPLICATION)

    profiled = profile_pipeline(
        executor, workload_at, plan=plan, name=config.name, widths=widths, progress=told
    )
    save_profile(path, profiled.profile)
    return profiled


def take_short_profile(config: Config, executor: Executor, path: Path) -> None:
    """Like :func:`take_profile`, in seconds: enough to catch how fast the machine is at the moment.

    Raises KeyboardInterrupt where Ctrl-C ends it early.
    """
    from executors.profiler import ProfilePlan

    plan = ProfilePlan(holds_ns=(0, 4_000_000), run_s=1.0, saturation_s=0.5)
    if take_profile(config, executor, path, plan).interrupted:
        raise KeyboardInterrupt
