"""The highest rate that a pipeline could bear if every batch were of the size that suits it best."""

from __future__ import annotations

from configs.model import Config
from sim.service.base import ServiceModel
from sim.service.of_stage import model_of_stage

_NS_PER_S = 1_000_000_000


def capacity_hz(config: Config, mean_items: float = 1.0) -> float:
    """Requests a second that no stage and no device would stop: the throughput bound.

    A stage of R replicas of its own serves R / min_b(l(b) / b); a device of s slots that stages share
    serves s / sum_k min_b(l_k(b) / b), over the stages k on it, where l(b) is the mean service time of
    a batch of b and b is at most the stage's ``max_batch``. A device holds its share of a stage whose
    replicas are spread over several devices. Infinite where no batch takes any time.
    """
    bound_s: list[float] = []
    device_s: dict[str, float] = dict.fromkeys(config.devices, 0.0)
    for stage in config.stages:
        model = model_of_stage(config, stage)
        least_s = least_s_per_request(model, stage.max_batch, stage.max_items, mean_items)
        bound_s.append(least_s / stage.most_replicas)
        names = stage.device * stage.most_replicas if len(stage.device) == 1 else stage.device
        for name in names:
            device_s[name] += least_s / len(names)
    for name, busy_s in device_s.items():
        if not config.devices[name].each:
            bound_s.append(busy_s / config.devices[name].slots)
    slowest_s = max(bound_s)
    return 1 / slowest_s if slowest_s > 0 else float("inf")


def least_s_per_request(
    model: ServiceModel, max_batch: int, max_items: int | None, mean_items: float
) -> float:
    """The smallest mean time a request, over the batch sizes that fit."""
    largest = max_batch
    if max_items is not None:
        largest = max(1, min(max_batch, int(max_items / mean_items)))
    return min(
        model.expected_ns(size, round(size * mean_items)) / size / _NS_PER_S
        for size in range(1, largest + 1)
    )
