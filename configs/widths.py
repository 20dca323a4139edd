"""How many candidates a stage is given and passes on, as `keep` and the graph say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from configs.model import Config, StageConfig
from policies.pipeline import CycleError, topological


@runtime_checkable
class CountsCandidates(Protocol):
    """A service model that may need to know how many candidates come in."""

    @property
    def counts(self) -> str:
        """The knob that says what each of them takes; empty where none does."""
        ...


def comes_in(config: Config, name: str) -> int | None:
    """Candidates that come into a stage with each request: what the stages before pass on together, or what
    its merge makes of that.

    A stage passes on its ``keep``, or, where it has none, all that comes in. None where nothing says how
    many: at the first stage, behind one that is given none and keeps none, or with a merge by a user's
    function.
    """
    return _given(config).get(name)


def _given(config: Config) -> dict[str, int | None]:
    """By stage what comes in; empty for a graph that is not sound."""
    parents = config.parents()
    try:
        order = topological(parents)
    except (CycleError, KeyError):
        return {}
    given: dict[str, int | None] = {}
    passed: dict[str, int | None] = {}
    for name in order:
        widths = [passed[parent] for parent in parents[name]]
        known = [width for width in widths if width is not None]
        stage = config.stage(name)
        given[name] = None
        if known and len(known) == len(widths):
            given[name] = sum(known) if stage.merge is None else stage.merge.width(known)
        passed[name] = given[name] if stage.keep is None else stage.keep
    return given


def width_problems(config: Config, stage: StageConfig) -> Iterator[tuple[str, str]]:
    """Where more candidates are passed on than come in, or time hangs on them and nobody says how many."""
    known = comes_in(config, stage.name)
    where = f"stages.{stage.name}"
    if known is not None and stage.keep is not None and stage.keep > known:
        yield (
            f"{where}.keep",
            f"is {stage.keep}, more than the {known} candidates that come in; keep {known} or fewer, or"
            " have the stages before keep more",
        )
    places = {f"{where}.service": stage.service}
    places |= {f"{where}.service_on.{name}": each for name, each in stage.service_on.items()}
    for place, service in places.items():
        if known is None and isinstance(service, CountsCandidates) and service.counts:
            yield (
                f"{place}.{service.counts}",
                "is given, and nothing says how many candidates come in; give the stages before a `keep`",
            )
