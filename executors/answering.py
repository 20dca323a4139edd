"""A pipeline's models and merges in this process, without workers and time: what a real run would answer.

Batches are gathered, merged and run by the very code of a real run; who goes on without which branch is
given instead of decided by a clock. For evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from executors.payloads import Payloads, check_inputs
from executors.presence import Mask
from executors.slab import Columns
from executors.stage_model import ModelSource, StageModel
from executors.startup import client_specs, sample_clients
from executors.wiring import ModelSpecs, Wiring, wire
from executors.worker import feed
from policies.pipeline import Pipeline

Missing = Mapping[str, Mapping[str, Mask]]
"""By joined stage and by branch, which goes by the name of its last stage: (rows,), whether a request goes on
without it.
"""

_BATCH = 64


class Answering:
    """The models of a pipeline, loaded on one device and wired.

    ``sources`` and ``keep`` are by stage name, as an :class:`executors.executor.Executor` takes them. Raises
    WiringError where they do not fit together, and what loading them raises.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        sources: Mapping[str, ModelSource],
        *,
        keep: Mapping[str, int | None] | None = None,
        device: str = "cpu",
    ) -> None:
        self.pipeline = pipeline
        self._sources = [sources[stage.name] for stage in pipeline.stages]
        self._models: list[StageModel] = [
            source.load(device, (keep or {}).get(stage.name))
            for stage, source in zip(pipeline.stages, self._sources, strict=True)
        ]
        self._device = device
        specs = [ModelSpecs(dict(model.inputs), dict(model.outputs)) for model in self._models]
        sample = sample_clients(pipeline, self._sources, np.random.default_rng(0), 1)
        self.wiring: Wiring = wire(pipeline, specs, client_specs(sample))

    def answers(
        self, inputs: Mapping[str, NDArray[Any]], missing: Missing | None = None
    ) -> dict[str, NDArray[Any]]:
        """The answers to requests, a row each, as a real run gives them to those that complete.

        ``inputs`` are what clients send, (rows, ...) by name. At each stage of ``missing`` at least one
        branch of every request must be there. Raises ValueError for inputs or branches that do not fit.
        """
        rows = check_inputs(self.wiring, inputs, rows=None)
        absent = self._absent(missing or {}, rows)
        payloads = Payloads(self.wiring)
        payloads.admit(range(rows), {name: inputs[name] for name in self.wiring.client})
        for stage in range(len(self._models)):
            for first in range(0, rows, _BATCH):
                self._run(payloads, stage, range(first, min(first + _BATCH, rows)), absent)
        return payloads.answers(range(rows))

    def _run(
        self,
        payloads: Payloads,
        stage: int,
        requests: range,
        absent: Mapping[tuple[int, int], Mask],
    ) -> None:
        import torch

        def went(join: int, number: int) -> Mask | None:
            missed = absent.get((join, number))
            return None if missed is None else ~missed[requests.start : requests.stop]

        wiring, count = self.wiring, len(requests)
        columns: Columns = {
            name: np.empty((count, *spec.shape), spec.dtype)
            for name, spec in wiring.memory[stage].items()
        }
        payloads.gather(stage, requests, columns, went if absent else None)
        with torch.inference_mode():
            batch = feed(columns, wiring.models[stage].inputs, wiring.joins[stage])(count)
            given = self._models[stage]({k: each.to(self._device) for k, each in batch.items()})
        outputs = {name: given[name].cpu().numpy() for name in wiring.models[stage].outputs}
        payloads.scatter(stage, requests, outputs)

    def _absent(self, missing: Missing, rows: int) -> dict[tuple[int, int], Mask]:
        """By join and number of its parent."""
        names = [stage.name for stage in self.pipeline.stages]
        found = {}
        for join, branches in missing.items():
            parents: Sequence[str] = ()
            if join in names:
                parents = self.pipeline.stages[names.index(join)].parents
            for branch, mask in branches.items():
                if len(parents) < 2 or branch not in parents:
                    raise ValueError(f"no branch {branch!r} ends in stage {join!r}")
                if np.shape(mask) != (rows,):
                    raise ValueError(
                        f"branch {branch!r} is missing for {np.shape(mask)} requests, and there are {rows}"
                    )
                found[names.index(join), parents.index(branch)] = np.asarray(mask, np.bool_)
            if branches.keys() == set(parents) and np.all(list(branches.values()), axis=0).any():
                raise ValueError(
                    f"a request goes on from stage {join!r} without any branch, which none does"
                )
        return found
