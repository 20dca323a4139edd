"""Batches as the executor measured them, through its dispatcher and at several loads."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Self

from numpy.random import Generator

from configs.measured_width import MeasuredWidth
from configs.profile import ProfileError, load_profile
from policies.knobs import knob
from sim.service.base import Float64, ServiceModel
from sim.service.forms import Form
from sim.service.measured import Batches, Measured, measure


@dataclass(frozen=True)
class Profile(ServiceModel):
    """One stage of a profile; see ``sim.service.measured`` for how its times are used.

    The file is read when a time is first asked for, so that a configuration may name a profile that is
    yet to be taken. Raises ProfileError there where it cannot be used.
    """

    kind: ClassVar[str] = "profile"

    path: Path = knob("profile written by `delayline profile`")
    stage: str | None = knob("stage of the profile; by default the one of this name", default=None)
    block: int = knob(
        "mean length of the stretches resampled, in batches", default=20, ge=1, le=10**6
    )

    def for_stage(self, stage: str) -> Self:
        """With ``stage`` filled in where it was left out."""
        return self if self.stage is not None else dataclasses.replace(self, stage=stage)

    @property
    def width(self) -> MeasuredWidth | None:
        """At how many candidates it was measured, and what of its time grows with them; None where it was
        not told, or is yet to be taken.
        """
        return _measure(*self._place)[1] if self.path.exists() else None

    @property
    def follows_candidates(self) -> bool:
        """Where it was measured at two widths."""
        return self.width is not None and self.width.per_candidate_ns is not None

    def with_candidates(self, candidates: int) -> ServiceModel:
        """The times that were measured, and what more or fewer candidates add or save of them."""
        return ProfileAtWidth(self.path, self.stage, self.block, candidates)

    def expected_ns(self, requests: int, items: int) -> float:
        """Mean of the measured times at this size."""
        return self._measured.expected_ns(requests, items)

    def draw(self, rng: Generator, count: int) -> Float64:
        """Ranks of measured batches among those of their size."""
        return self._measured.draw(rng, count)

    def time_ns(self, noise: float, requests: int, items: int) -> int:
        """The measured time at this rank."""
        return self._measured.time_ns(noise, requests, items)

    def form(self, largest: int) -> Form:  # noqa: ARG002
        """The measured times by size."""
        return self._measured.form()

    @property
    def paced(self) -> bool:
        """Measured batches tell how long their replica had rested."""
        return True

    def pace(self, rested_ns: int) -> float:
        """As measured, of batches of like size."""
        return self._measured.pace(rested_ns)

    @property
    def _measured(self) -> Measured:
        return _measure(*self._place)[0]

    @property
    def _place(self) -> tuple[Path, int, str, int]:
        if self.stage is None:
            raise ProfileError(f"profile {self.path}: say which `stage` of it to use")
        stamp = self.path.stat().st_mtime_ns if self.path.exists() else 0
        return self.path, stamp, self.stage, self.block


@dataclass(frozen=True)
class ProfileAtWidth(Profile):
    """A profile where so many candidates come in with each request."""

    candidates: int = 1

    @property
    def _measured(self) -> Measured:
        return _at_width(*self._place, self.candidates)


@lru_cache(maxsize=256)
def _at_width(path: Path, stamp: int, stage: str, block: int, candidates: int) -> Measured:
    measured, width = _measure(path, stamp, stage, block)
    return measured if width is None else measured.with_more(width.added_ns(candidates))


@lru_cache(maxsize=256)
def _measure(
    path: Path,
    stamp: int,  # noqa: ARG001
    stage: str,
    block: int,
) -> tuple[Measured, MeasuredWidth | None]:
    """Kept, since a search asks for the same profile in every trial; read anew where it has changed."""
    profile = load_profile(path)
    runs = profile.runs(stage, path)
    try:
        batches = [Batches(run.requests, run.items, run.service_ns, run.rested_ns) for run in runs]
        return measure(batches, block), profile.widths.get(stage)
    except ValueError as error:
        raise ProfileError(f"profile {path}, stage {stage}: {error}") from error
