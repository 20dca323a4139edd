from __future__ import annotations

import numpy as np
import pytest
import torch

from executors.factory import FactoryError, FactorySource

HERE = "tests.factory_models"


def test_the_function_makes_the_model_with_its_arguments() -> None:
    model = FactorySource(f"{HERE}:scale", {"factor": 5.0}).load("cpu", 7)
    assert model({"x": torch.ones(2, 3)})["y"].tolist() == [[5.0] * 3] * 2
    assert FactorySource(f"{HERE}:scale").load("cpu", None)({"x": torch.ones(1, 3)})["y"][0, 0] == 2


def test_inputs_are_drawn_or_asked_for() -> None:
    drawn = FactorySource(f"{HERE}:scale").sample_inputs(np.random.default_rng(0), 4)["x"]
    assert drawn.shape == (4, 3)
    assert drawn.dtype == np.float32
    asked = FactorySource(f"{HERE}:counting").sample_inputs(np.random.default_rng(0), 4)["x"]
    assert asked.tolist() == [0, 1, 2, 3]
    with pytest.raises(FactoryError, match="give the model a sample_inputs"):
        FactorySource(f"{HERE}:listed").sample_inputs(np.random.default_rng(0), 4)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("tests.factory_models", "must read `package.module:function`"),
        (":scale", "must read `package.module:function`"),
        ("no.such.module:scale", "module 'no.such.module' cannot be imported"),
        (f"{HERE}:absent", "has no function 'absent'"),
        (f"{HERE}:not_a_function", "has no function 'not_a_function'"),
        (f"{HERE}:broken", "called with device, keep, raised RuntimeError: no such checkpoint"),
        (f"{HERE}:nothing", "returned object, whose 'inputs' must be a mapping"),
        (f"{HERE}:specs_only", "which cannot be called"),
    ],
)
def test_errors_name_the_factory(function: str, message: str) -> None:
    with pytest.raises(FactoryError) as caught:
        FactorySource(function).load("cpu", None)
    assert message in str(caught.value)


def test_arguments_that_do_not_fit_are_named() -> None:
    with pytest.raises(FactoryError, match="called with device, keep, wheels, raised TypeError"):
        FactorySource(f"{HERE}:scale", {"wheels": 4}).load("cpu", None)
