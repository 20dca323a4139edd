"""Placement, wiring and payloads: what an executor works out before any process runs."""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from executors.payloads import Payloads, check_inputs
from executors.placement import DevicePlacement, Place, Placement, PlacementError, place
from executors.slab import Layout, Slab
from executors.stage_model import TensorSpec
from executors.wiring import CLIENT, ModelSpecs, WiringError, wire
from policies.immediate import Immediate
from policies.pipeline import Device, Pipeline, Stage

FLOAT = TensorSpec((4,), "float32")
ANY = TensorSpec((-1,), "float32")


def stage(name: str, *parents: str, device: str = "", replicas: int = 1) -> Stage:
    where = (device,) * replicas if device else ()
    return Stage(
        name,
        Immediate(),
        lambda n: n,
        replicas=replicas,
        device=where,
        parents=parents,
        max_batch=4,
    )


def specs(takes: dict[str, TensorSpec], gives: dict[str, TensorSpec]) -> ModelSpecs:
    return ModelSpecs(takes, gives)


def test_by_default_the_dispatcher_has_a_core_and_models_share_the_others() -> None:
    shared = Pipeline(
        (stage("a", device="cpu0"), stage("b", "a", device="cpu0")), (Device("cpu0", 3),)
    )
    places = place(shared, Placement(), [0, 1, 2, 3])
    assert places.dispatcher_cores == (0,)
    assert places.replicas == ((Place((1, 2, 3), 1),), (Place((1, 2, 3), 1),))
    alone = place(Pipeline((stage("a", replicas=2), stage("b", "a"))), Placement(), range(7))
    assert alone.replicas == ((Place((1, 2), 2), Place((3, 4), 2)), (Place((5, 6), 2),))


def test_on_one_core_everything_shares_it() -> None:
    places = place(Pipeline((stage("a", replicas=2),)), Placement(), [5])
    assert places.dispatcher_cores == (5,)
    assert places.replicas == ((Place((5,), 1), Place((5,), 1)),)


def test_what_the_configuration_names_is_kept() -> None:
    pipeline = Pipeline(
        (stage("a", device="big"), stage("b", "a", device="gpu0"), stage("c", "b")),
        (Device("big", 1), Device("gpu0", 1)),
    )
    given = Placement((3,), {"big": DevicePlacement((0, 1)), "gpu0": DevicePlacement((2,), cuda=1)})
    places = place(pipeline, given, range(6))
    assert places.dispatcher_cores == (3,)
    assert places.replicas == ((Place((0, 1), 2),), (Place((2,), 1, 1),), (Place((4, 5), 2),))
    assert places.replicas[1][0].torch_device == "cuda:1"


@pytest.mark.parametrize(
    ("placement", "text"),
    [
        (
            Placement(devices={"cpu0": DevicePlacement((9,))}),
            "devices.cpu0.cores: core 9 is not one this process may use (0, 1)",
        ),
        (Placement((7,)), "dispatcher.cores: core 7 is not one this process may use (0, 1)"),
        (
            Placement(devices={"cpu1": DevicePlacement((1,))}),
            "devices.cpu1: no such device in the pipeline; it has: cpu0",
        ),
        (
            Placement(devices={"cpu0": DevicePlacement(cuda=-1)}),
            "devices.cpu0.cuda must be 0 or more, not -1",
        ),
    ],
)
def test_a_placement_that_cannot_be_is_refused(placement: Placement, text: str) -> None:
    pipeline = Pipeline((stage("a", device="cpu0"),), (Device("cpu0", 1),))
    with pytest.raises(PlacementError) as caught:
        place(pipeline, placement, [0, 1])
    assert str(caught.value) == text


def test_inputs_come_from_the_nearest_stage_and_else_from_the_client() -> None:
    pipeline = Pipeline((stage("a"), stage("b", "a"), stage("c", "b")))
    wiring = wire(
        pipeline,
        [
            specs({"x": FLOAT}, {"y": FLOAT, "kept": TensorSpec((2, 3), "int64")}),
            specs({"y": ANY}, {"y": TensorSpec((5,), "float32")}),
            specs({"x": ANY, "y": ANY, "kept": TensorSpec((-1, 3), "int64")}, {"z": FLOAT}),
        ],
        {"x": FLOAT, "unused": FLOAT},
    )
    assert wiring.inputs[2] == {"x": (CLIENT, "x"), "y": (1, "y"), "kept": (0, "kept")}
    assert wiring.models[2].inputs["y"].shape == (5,)
    assert wiring.models[2].inputs["kept"].shape == (2, 3)
    assert wiring.client == {"x": FLOAT}
    assert wiring.answers == {"z": (2, "z")}


def test_answers_of_two_last_stages_are_told_apart_where_they_share_a_name() -> None:
    pipeline = Pipeline((stage("a"), stage("b", "a"), stage("c", "a")))
    y = specs({"x": FLOAT}, {"y": FLOAT})
    last = specs({"y": FLOAT}, {"z": FLOAT})
    more = specs({"y": FLOAT}, {"z": FLOAT, "w": FLOAT})
    wiring = wire(pipeline, [y, last, more], {"x": FLOAT})
    assert wiring.answers == {"b.z": (1, "z"), "c.z": (2, "z"), "w": (2, "w")}


@pytest.mark.parametrize(
    ("last", "text"),
    [
        (
            specs({"scores": FLOAT}, {}),
            "stage d takes 'scores', which no stage before it puts out and no client sends; "
            "there is: x, y, z",
        ),
        (
            specs({"z": FLOAT}, {}),
            "stage d takes 'z', which b and c both put out on different branches; "
            "give one of them another name, or merge them",
        ),
        (
            specs({"y": TensorSpec((3,), "float32")}, {}),
            "stage d takes 'y' as float32 of shape (3,) a request; "
            "stage a gives float32 of shape (4,)",
        ),
        (
            specs({"x": TensorSpec((-1,), "int64")}, {}),
            "stage d takes 'x' as int64 of shape (-1,) a request; "
            "the client gives float32 of shape (4,)",
        ),
        (
            specs({"x": FLOAT}, {"w": ANY}),
            "stage d puts out 'w' of shape (-1,); "
            "an output's size must be known when the model is loaded",
        ),
        (
            specs({"x": FLOAT}, {"w": TensorSpec((1,), "bfloat16")}),
            "stage d puts out 'w' as bfloat16, which shared memory has no type for; "
            "convert it in the model, for example to float32",
        ),
    ],
)
def test_stages_that_do_not_fit_are_refused(last: ModelSpecs, text: str) -> None:
    pipeline = Pipeline((stage("a"), stage("b", "a"), stage("c", "a"), stage("d", "b", "c")))
    first = specs({"x": FLOAT}, {"y": FLOAT})
    middle = specs({"y": FLOAT}, {"z": FLOAT})
    with pytest.raises(WiringError) as caught:
        wire(pipeline, [first, middle, middle, last], {"x": FLOAT})
    assert str(caught.value) == text


def test_a_slab_keeps_its_tensors_apart() -> None:
    layout = Layout(
        {"x": TensorSpec((3,), "float32"), "ids": TensorSpec((), "int64")},
        {"ok": TensorSpec((5, 1), "bool")},
        rows=7,
    )
    slab = Slab(layout)
    slab.inputs["x"][...] = 1.5
    slab.inputs["ids"][...] = np.arange(7)
    slab.outputs["ok"][...] = True
    assert (slab.inputs["x"] == 1.5).all()
    assert slab.inputs["ids"].tolist() == list(range(7))
    assert slab.outputs["ok"].shape == (7, 5, 1)
    slab.close()
    slab.close()
    # The arrays outlive the descriptor.
    assert slab.outputs["ok"].all()


TWO_STAGES = wire(
    Pipeline((stage("a"), stage("b", "a"))),
    [specs({"x": FLOAT}, {"y": FLOAT}), specs({"x": FLOAT, "y": FLOAT}, {"z": FLOAT})],
    {"x": FLOAT},
)


def block(first: int, count: int) -> NDArray[Any]:
    return np.repeat(np.arange(first, first + count, dtype=np.float32), 4).reshape(count, 4)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 300), min_size=1, max_size=6), st.integers(0, 2**16))
def test_payloads_give_each_request_its_own_rows(sizes: list[int], seed: int) -> None:
    rng = Random(seed)
    payloads = Payloads(TWO_STAGES)
    alive: list[int] = []
    sent = 0
    for size in sizes:
        payloads.admit(range(sent, sent + size), {"x": block(sent, size)})
        batch = list(range(sent, sent + size))
        alive += batch
        sent += size
        rng.shuffle(batch)
        into = {"x": np.zeros((size + 1, 4), np.float32)}
        payloads.gather(0, batch, into)
        assert into["x"][:size, 0].tolist() == batch
        gone = [request for request in batch if rng.random() < 0.2]
        payloads.forget(gone)
        # What has ended is passed over, even if its row has been given away since.
        payloads.admit(range(sent, sent + 1), {"x": block(sent, 1)})
        payloads.scatter(0, batch, {"y": into["x"] * 10})
        alive = [request for request in alive if request not in gone] + [sent]
        sent += 1
        payloads.scatter(0, [sent - 1], {"y": block(sent - 1, 1) * 10})
        rows = {name: np.zeros((len(alive), 4), np.float32) for name in ("x", "y")}
        payloads.gather(1, alive, rows)
        assert rows["x"][:, 3].tolist() == alive
        assert rows["y"][:, 0].tolist() == [10 * request for request in alive]
        assert payloads.under_way == len(alive)
    payloads.scatter(1, alive, {"z": rows["x"]})
    assert payloads.answers(alive)["z"][:, 0].tolist() == alive
    payloads.forget(alive)
    assert payloads.under_way == 0


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        ({"y": block(0, 1)}, "inputs lack 'x', which the pipeline takes; given: y"),
        (
            {"x": np.zeros((2, 5), np.float32)},
            "input 'x' must be float32 of shape (4,) a request, not float32 of shape (5,)",
        ),
        (
            {"x": np.zeros((2, 4), np.complex64)},
            "input 'x' must be float32 of shape (4,) a request, not complex64 of shape (4,)",
        ),
        ({"x": block(0, 0)}, "inputs hold no request; give at least one row"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(inputs: dict[str, NDArray[Any]], text: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        check_inputs(TWO_STAGES, inputs, rows=None)
    assert str(caught.value) == text
