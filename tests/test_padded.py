"""Batches that are padded up to a size that the model runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import delayline
from configs.errors import ConfigError
from configs.load import parse_config
from sim.capacity import capacity_hz
from sim.service.affine import Affine
from sim.service.base import ServiceModel
from sim.service.deterministic import Deterministic
from sim.service.lognormal import Lognormal
from sim.service.padded import Padded
from sim.service.table import Table

STEPS = {"kind": "affine", "base": "4ms", "per_request": "1ms"}


def stage(**changes: object) -> dict[str, object]:
    settings: dict[str, object] = {
        "name": "rank",
        "max_batch": 8,
        "pad_to": [2, 4, 8],
        "service": STEPS,
    }
    return {"stages": [{**settings, **changes}]}


@given(st.integers(1, 12), st.integers(1, 40))
def test_a_batch_costs_what_the_next_size_does(requests: int, more: int) -> None:
    items = requests + more
    model = Padded(Affine(4, 1, 2), (2, 4, 8))
    size = next((size for size in (2, 4, 8) if size >= requests), requests)
    expected = 4 + size + 2 * (items * size // requests)
    assert model.expected_ns(requests, items) == model.time_ns(1.0, requests, items) == expected


@pytest.mark.parametrize("inner", [Deterministic(7), Lognormal(9, 0.4), Table({1: 9, 4: 30}, 0.2)])
def test_a_model_that_runs_every_size_is_as_before(inner: ServiceModel) -> None:
    model = Padded(inner, tuple(range(1, 9)))
    for requests in range(1, 9):
        assert model.time_ns(0.7, requests, requests) == inner.time_ns(0.7, requests, requests)


def test_simulation_prediction_and_capacity_take_the_padded_size() -> None:
    config = parse_config({**stage(), "workload": {"arrivals": "300/s", "requests": 2000}})
    log = delayline.simulate(config)
    batches = log.stages[0].batches
    took_ms = (batches.finished_ns - batches.dispatched_ns) / 1e6
    padded = [2, 2, 2, 4, 4, 8, 8, 8, 8]
    assert took_ms.tolist() == [4 + padded[requests] for requests in batches.requests.tolist()]
    assert set(batches.requests.tolist()) > {1, 2, 3}
    assert log.info["engine"] == "compiled"
    assert capacity_hz(config) == pytest.approx(8 / 12e-3)


@pytest.mark.parametrize(
    ("pad_to", "message"),
    [
        ([4, 2, 8], r"stages.rank.pad_to: must be ascending sizes, each once, not \[4, 2, 8\]"),
        ([4, 4, 8], "must be ascending sizes, each once"),
        ([0, 8], "stages.rank.pad_to.*must be at least 1, not 0"),
        ([2, 4], r"must end in at least max_batch \(8\), not in 4"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(pad_to: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(stage(pad_to=pad_to))
