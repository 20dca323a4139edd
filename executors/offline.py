"""A pipeline's models run without a clock: stage after stage on a batch of requests, in any way of serving.

What a stage takes and from whom is wired as it is for a real run, so that the lists are those of a real run
that serves every request in that way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from configs.model import Config
from configs.pipeline import pipeline_of
from executors.held_out import LIST, USER, HeldOutError, as_before
from executors.levels import Cheaper, models_at
from executors.merging import PRESENT
from executors.payloads import without
from executors.stage_model import StageModel, TensorSpec
from executors.wiring import CLIENT, Column, ModelSpecs, Wiring, wire
from executors.worker import feed
from policies.degrade import FULL
from policies.pipeline import Pipeline

_BATCH = 64
_CLIENT = {USER: TensorSpec((), "int64")}
_Key = tuple[object, ...]


@dataclass(frozen=True, slots=True)
class Served:
    """A way of serving."""

    keep: Mapping[str, int] = field(default_factory=dict)
    """By stage, where it differs from the configuration."""
    levels: Mapping[str, int] = field(default_factory=dict)
    """By stage, where it is not full service."""
    missing: frozenset[str] = frozenset()
    """Stages whose result the join behind them goes on without."""


class Offline:
    """The models of a configuration, which know nothing of what is held out. Each is loaded when it is
    first needed, and what a stage puts out is computed once for all ways that have it in common.

    Raises HeldOutError where a stage has no model, or none that holds anything out.
    """

    def __init__(self, config: Config, users: NDArray[np.int64]) -> None:
        self.config = config
        self._users = torch.from_numpy(users)
        self._pipeline: Pipeline = pipeline_of(config, lambda _: lambda _: 0)
        self._models: dict[tuple[str, int | None], list[StageModel]] = {}
        self._found: dict[_Key, Mapping[str, Tensor]] = {}
        for stage in config.stages:
            as_before(stage)

    def lists(self, way: Served) -> NDArray[np.int64]:
        """(users, list): what the last stage answers. Raises ValueError for a way that models refuse."""
        with _at_work():
            wiring = self._wired(way)
            if LIST not in wiring.answers:
                raise HeldOutError(
                    f"the answer holds {', '.join(wiring.answers)} and no {LIST}, so that there is nothing"
                    " to be judged; one last stage must put out a list"
                )
            stage, name = wiring.answers[LIST]
            found: NDArray[np.int64] = self._out(way, wiring, stage)[name].numpy()
        return found

    def flops(self, way: Served) -> dict[str, float]:
        """Floating-point operations of matrix products a request, by stage, as torch counts them."""
        found = {}
        with _at_work():
            wiring = self._wired(way)
            for place, stage in enumerate(self._pipeline.stages):
                if stage.name in way.missing:
                    continue
                inputs = self._inputs(way, wiring, place)
                batch = {name: rows[:_BATCH] for name, rows in inputs.items()}
                with FlopCounterMode(display=False) as counter:
                    self._model(stage.name, way)(batch)
                found[stage.name] = counter.get_total_flops() / min(_BATCH, len(self._users))
        return found

    def _wired(self, way: Served) -> Wiring:
        specs = []
        for stage in self._pipeline.stages:
            model = self._model(stage.name, way)
            specs.append(ModelSpecs(dict(model.inputs), dict(model.outputs)))
        return wire(self._pipeline, specs, _CLIENT)

    def _out(self, way: Served, wiring: Wiring, place: int) -> Mapping[str, Tensor]:
        """(users, ...) by name: what a stage puts out."""
        key = self._key(way, place)
        if key not in self._found:
            model = self._model(self._pipeline.stages[place].name, way)
            inputs = self._inputs(way, wiring, place)
            parts = []
            for first in range(0, len(self._users), _BATCH):
                batch = {name: rows[first : first + _BATCH] for name, rows in inputs.items()}
                parts.append(model(batch))
            self._found[key] = {
                name: torch.cat([part[name] for part in parts]) for name in parts[0]
            }
        return self._found[key]

    def _inputs(self, way: Served, wiring: Wiring, place: int) -> Mapping[str, Tensor]:
        """(users, ...) by name: what a stage takes of those before it, merged as its workers merge."""
        count, joined = len(self._users), wiring.joins[place]

        def went(join: int, number: int) -> NDArray[np.bool_] | None:
            parent = self._pipeline.stages[join].parents[number]
            return np.zeros(count, np.bool_) if parent in way.missing else None

        columns = {
            name: self._column(way, wiring, column).numpy()
            for name, column in wiring.inputs[place].items()
        }
        if joined is not None:
            columns[PRESENT] = np.ones((count, len(joined.takes)), np.bool_)
        if way.missing:
            columns = {name: column.copy() for name, column in columns.items()}
            without(wiring, place, columns, went)
        return feed(columns, wiring.models[place].inputs, joined)(count)

    def _column(self, way: Served, wiring: Wiring, column: Column) -> Tensor:
        producer, name = column
        return self._users if producer == CLIENT else self._out(way, wiring, producer)[name]

    def _key(self, way: Served, place: int) -> _Key:
        """Equal for ways in which the stage puts out the same: they agree on it and all before it."""
        stages = self._pipeline.stages
        names = {stages[place].name}
        for stage in reversed(stages[: place + 1]):
            if stage.name in names:
                names.update(stage.parents)
        return (
            stages[place].name,
            *((name, self._keep(name, way), way.levels.get(name, FULL)) for name in sorted(names)),
            *sorted(way.missing & names),
        )

    def _model(self, name: str, way: Served) -> StageModel:
        stage = self.config.stage(name)
        keep = self._keep(name, way)
        if (name, keep) not in self._models:
            levels = [
                Cheaper(level.model and as_before(stage, number), level.take)
                for number, level in enumerate(stage.levels, start=1)
                if not level.skip
            ]
            own = as_before(stage).load("cpu", keep)
            self._models[name, keep] = models_at(own, levels, "cpu", keep)
        return self._models[name, keep][way.levels.get(name, FULL)]

    def _keep(self, name: str, way: Served) -> int | None:
        return way.keep.get(name, self.config.stage(name).keep)


@contextmanager
def _at_work() -> Iterator[None]:
    """Without gradients, on one thread: batches are small, and threads that wait for each other on cores that
    others use take longer.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(threads)
