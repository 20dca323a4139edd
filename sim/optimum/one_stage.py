"""A configuration of one stage as a decision process, with the service model's own distribution."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np

from configs.model import Config, StageConfig
from policies.runlog import Int64
from policies.smdp_model import BatchQueue, Float64, gamma_queue, mixture_queue
from policies.workload import ClosedWorkload, Workload
from sim.arrivals.base import ArrivalProcess
from sim.arrivals.poisson import Poisson
from sim.service.affine import Affine
from sim.service.base import ServiceModel
from sim.service.exponential import Exponential
from sim.service.gamma import Gamma
from sim.service.lognormal import Lognormal
from sim.service.table import Table
from sim.simulate import model_of

NODES = 64
"""Points of a lognormal distribution, by the quadrature of Gauss and Hermite in its logarithm."""
SAMPLE = 2000
"""Points of a distribution that is known by drawing from it."""


class NoOptimumError(ValueError):
    """A pipeline whose optimum is not known; the text says why."""


@dataclass(frozen=True, slots=True)
class OneStage:
    """A pipeline of one stage as theory takes it."""

    config: Config
    rate_hz: float
    """Mean arrival rate."""
    poisson: bool
    """Whether that is all there is to the arrivals."""
    servers: int
    """Batches that can run at once."""
    max_batch: int
    items: int
    """Items of each request."""

    @property
    def stage(self) -> StageConfig:
        """The stage."""
        return self.config.stages[0]

    @property
    def model(self) -> ServiceModel:
        """Its service model."""
        return model_of(self.config, self.stage.name)

    @property
    def load(self) -> float:
        """Arrival rate over the highest rate that batches of one size can serve."""
        mean_s = self.mean_s()
        return self.rate_hz * float((mean_s[1:] / np.arange(1, len(mean_s))).min()) / self.servers

    def mean_s(self) -> Float64:
        """(B + 1,): mean service times by batch size."""
        sizes = range(1, self.max_batch + 1)
        return np.array([0.0, *(self.model.expected_ns(n, n * self.items) / 1e9 for n in sizes)])

    def queue(self) -> BatchQueue:
        """The decision process of one replica. Raises ValueError where there is none or it does not fit."""
        model, mean_s = self.model, self.mean_s()
        if isinstance(model, Exponential):
            return gamma_queue(self.rate_hz, mean_s, 1.0)
        if isinstance(model, Gamma):
            return gamma_queue(self.rate_hz, mean_s, model.cv)
        if isinstance(model, Affine | Table | Lognormal) and model.noisy:
            factors, shares = _lognormal(model.cv)
            return mixture_queue(self.rate_hz, factors[:, None] * mean_s, shares)
        if not varies(model, self.max_batch, self.items):
            return gamma_queue(self.rate_hz, mean_s, 0.0)
        return mixture_queue(self.rate_hz, self._drawn_s(), np.full(SAMPLE, 1 / SAMPLE))

    def _drawn_s(self) -> Float64:
        noise = self.model.draw(np.random.default_rng(0), SAMPLE).tolist()
        sizes = range(1, self.max_batch + 1)
        time_ns = self.model.time_ns
        return np.array(
            [[0, *(time_ns(each, n, n * self.items) for n in sizes)] for each in noise]
        ) / np.float64(1e9)


def one_stage(config: Config, workload: Workload | ClosedWorkload) -> OneStage:
    """The configuration as theory takes it, under a workload of its own.

    Raises NoOptimumError for what theory does not cover.
    """
    arrivals = config.workload.arrivals
    if len(config.stages) != 1:
        raise NoOptimumError(
            f"{config.name} has {len(config.stages)} stages, and the optimum is known for one: behind a"
            " stage that batches, arrivals are no Poisson process; compare the stages one by one"
        )
    stage = config.stages[0]
    if isinstance(workload, ClosedWorkload) or not isinstance(arrivals, ArrivalProcess):
        raise NoOptimumError(
            f"{config.name} has closed arrivals, whose rate hangs on the policy; give a rate"
        )
    if config.workload.expire or stage.queue_bound is not None or stage.admission is not None:
        raise NoOptimumError(
            f"{config.name} may leave requests without an answer (expire, queue_bound or admission), and"
            " the optimum answers all; leave that out"
        )
    if stage.coalesce is not None or stage.locality is not None:
        raise NoOptimumError(
            f"stages.{stage.name} looks at keys (coalesce or locality), so that what a batch takes hangs on"
            " more than its size, and the optimum knows nothing else; leave that out"
        )
    items = _items(config, workload.items)
    if not model_of(config, stage.name).expected_ns(1, items) > 0:
        raise NoOptimumError(
            f"{config.name} has batches that take no time, so that nothing is gained by waiting;"
            f" give stages.{stage.name}.service"
        )
    most = stage.max_batch
    if stage.max_items is not None:
        most = max(1, min(most, stage.max_items // max(items, 1)))
    return OneStage(
        config=config,
        rate_hz=arrivals.mean_rate_hz(),
        poisson=isinstance(arrivals, Poisson),
        servers=_servers(config, stage),
        max_batch=most,
        items=items,
    )


def varies(model: ServiceModel, size: int, items: int) -> bool:
    """Whether batches of one size take different times."""
    return model.cv_of(size, size * items) > 0


def _items(config: Config, items: Int64) -> int:
    least, largest = int(items.min()), int(items.max())
    if least != largest:
        raise NoOptimumError(
            f"{config.name} has requests of {least} to {largest} items, and the optimum counts requests"
            " alone; give all the same number"
        )
    return least


def _servers(config: Config, stage: StageConfig) -> int:
    """Replicas that may run at once, by the slots of their devices."""
    names = stage.device * stage.replicas if len(stage.device) == 1 else stage.device
    if not names or any(config.devices[name].each for name in names):
        return stage.replicas
    return sum(min(count, config.devices[name].slots) for name, count in Counter(names).items())


def _lognormal(cv: float) -> tuple[Float64, Float64]:
    """Points of a lognormal distribution of mean 1, and the share of each."""
    at, weight = np.polynomial.hermite_e.hermegauss(NODES)
    variance = math.log1p(cv**2)
    factors = np.exp(math.sqrt(variance) * at - variance / 2)
    shares = weight / weight.sum()
    return factors / (shares @ factors), shares
