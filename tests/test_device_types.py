"""Devices that are types: every replica has one of its own, with a price, and service times by type."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import delayline.loading  # noqa: F401  (makes every kind known)
from configs.dump import plain_config
from configs.errors import ConfigError
from configs.knob_paths import with_knob
from configs.load import parse_config
from executors.deploy import placement_of
from sim.capacity import capacity_hz
from sim.simulate import simulate

TYPES = {"a30": {"each": True, "price": "0.6/h"}, "l4": {"each": True, "price": "8.4/d"}}
RANK = {
    "name": "rank",
    "replicas": 2,
    "max_batch": 4,
    "device": "a30",
    "service": "8ms",
    "service_on": {"l4": "20ms"},
}
WORKLOAD = {"arrivals": {"kind": "poisson", "rate": "300/s"}, "requests": 400}


def file(stage: dict[str, Any] | None = None, **device: Any) -> dict[str, Any]:
    return {
        "workload": WORKLOAD,
        "devices": {**TYPES, "shared": device},
        "stages": [{**RANK, **(stage or {})}],
    }


def test_replicas_on_a_type_run_as_replicas_of_their_own() -> None:
    typed = simulate(parse_config(file()))
    loose = simulate(
        parse_config({"workload": WORKLOAD, "stages": [{**RANK, "device": [], "service_on": {}}]})
    )
    np.testing.assert_array_equal(typed.requests.ended_ns, loose.requests.ended_ns)
    assert [device.name for device in typed.devices] == ["shared", "rank/0", "rank/1"]


def test_the_device_decides_the_service_model() -> None:
    config = parse_config(file({"device": "l4"}))
    batches = simulate(config).stages[0].batches
    assert set((batches.finished_ns - batches.started_ns).tolist()) == {20_000_000}
    assert capacity_hz(config) == pytest.approx(2 * 4 / 0.020)
    assert capacity_hz(with_knob(config, "stages.rank.device", ("a30",))) == pytest.approx(
        2 * 4 / 0.008
    )


def test_prices_are_read_by_the_hour_and_written_back() -> None:
    config = parse_config(file())
    assert config.devices["l4"].price_per_hour == 0.35
    assert parse_config(plain_config(config)) == config
    assert plain_config(config)["devices"]["a30"] == {"price": "0.6/h", "each": True}


def test_real_workers_on_a_type_are_placed_as_those_without_a_device() -> None:
    assert set(placement_of(parse_config(file())).devices) == {"shared"}


@pytest.mark.parametrize(
    ("stage", "text"),
    [
        (
            {"service_on": {"a31": "2ms"}},
            "stages.rank.service_on.a31: there is no device `a31`; did you mean `a30`?",
        ),
        (
            {"device": []},
            "stages.rank.device: is not set; a stage with service_on must name the device that it is on",
        ),
        (
            {"device": ["a30", "l4"]},
            "stages.rank.device: names a30 and l4, and service_on has times of its own for l4;"
            " give all replicas one device",
        ),
        (
            {"device": ["a30", "shared"], "service_on": {}},
            "stages.rank.device: names a30, of which every replica has its own, and shared, which is"
            " shared; give all replicas one or the other",
        ),
    ],
)
def test_replicas_of_a_stage_that_would_differ_are_refused(
    stage: dict[str, Any], text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(file(stage))
    assert str(caught.value) == text


@pytest.mark.parametrize(
    ("device", "text"),
    [
        (
            {"each": True, "slots": 2},
            "devices.shared: has each and slots 2; a replica that has a device of its own uses one slot,"
            " leave slots out",
        ),
        (
            {"each": True, "cuda": 0},
            "devices.shared: has each and cores or cuda, which name one piece of this machine;"
            " keep one of them",
        ),
        ({"price": 0.6}, "devices.shared.price: needs a unit: write 0.6/h, not 0.6"),
    ],
)
def test_what_a_type_cannot_have(device: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(file(**device))
    assert str(caught.value) == text
