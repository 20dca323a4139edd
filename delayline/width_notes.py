"""What a user should know of widths: stages whose time does not follow the candidates that come in."""

from __future__ import annotations

from collections.abc import Iterator

from configs.knob_paths import with_knob
from configs.model import Config
from configs.tuning import tunables
from configs.widths import comes_in
from sim.service.of_stage import model_of_stage
from sim.service.profile import Profile


def width_notes(config: Config) -> Iterator[str]:
    """A sentence for each stage that is simulated with times of another width than it has."""
    for stage in config.stages:
        model = stage.service_here().for_stage(stage.name)
        known = comes_in(config, stage.name)
        width = model.width if isinstance(model, Profile) else None
        if width is None or width.per_candidate_ns is not None:
            continue
        if known not in (None, width.candidates):
            yield (
                f"{known} candidates come into {stage.name}, and its profile was taken with"
                f" {width.candidates} and does not know what each takes: its times are those of"
                f" {width.candidates}; take it again with `delayline profile`"
            )


def tuned_width_notes(config: Config) -> Iterator[str]:
    """The same of a tuning that changes how many candidates come in."""
    changed = _changed(config)
    silent = [name for name in changed if not _follows(config, name)]
    if silent:
        yield (
            f"what is tuned changes how many candidates come into {', '.join(silent)}, whose service does"
            " not say what each takes, so that its time stays the same; give `per_candidate`, or profile it"
        )


def _changed(config: Config) -> list[str]:
    """The stages into which other settings have another number of candidates come."""
    names = [stage.name for stage in config.stages]
    now = [comes_in(config, name) for name in names]
    found: set[str] = set()
    for knob in tunables(config):
        for each in knob.ranges.values():
            for value in each.choices or (each.low, each.high):
                placed = with_knob(config, knob.path, value) if not knob.above else config
                come = (comes_in(placed, name) for name in names)
                found |= {name for name, a, b in zip(names, now, come, strict=True) if a != b}
    return [name for name in names if name in found]


def _follows(config: Config, name: str) -> bool:
    stage = config.stage(name)
    model = stage.service_here().for_stage(name)
    return bool(model.follows_candidates) or model_of_stage(config, stage).expected_ns(1, 1) == 0
