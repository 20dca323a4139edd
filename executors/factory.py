"""A model that the user's own function makes. Needs no torch to import."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from executors.stage_model import ModelSource, StageModel, TensorSpec
from policies.knobs import knob


class FactoryError(ValueError):
    """A factory that cannot be found or called, or that makes no stage model."""


@dataclass(frozen=True, slots=True)
class FactorySource(ModelSource):
    """``function(device=..., keep=..., **arguments)`` returns the stage's model.

    The function must be importable in the worker's process. The model may have a method
    ``sample_inputs(rng, count)``; without one its float inputs are drawn from the standard normal.
    """

    kind: ClassVar[str] = "factory"

    function: str = knob("what makes the model, as `package.module:function`")
    arguments: Mapping[str, Any] | None = knob("passed to it by name", default=None)

    def load(self, device: str, keep: int | None) -> StageModel:
        """Call the function; raises FactoryError that names it for anything that goes wrong."""
        function = found_function(self.function, "model factory")
        try:
            model = function(device=device, keep=keep, **(self.arguments or {}))
        except Exception as error:
            given = ", ".join(["device", "keep", *(self.arguments or {})])
            raise FactoryError(
                f"model factory {self.function!r}, called with {given}, raised "
                f"{type(error).__name__}: {error}"
            ) from error
        for name in ("inputs", "outputs"):
            specs = getattr(model, name, None)
            if not isinstance(specs, Mapping) or not all(
                isinstance(spec, TensorSpec) for spec in specs.values()
            ):
                raise FactoryError(
                    f"model factory {self.function!r} returned {type(model).__qualname__}, whose {name!r} "
                    "must be a mapping of names to TensorSpec (executors.stage_model)"
                )
        if not callable(model):
            raise FactoryError(
                f"model factory {self.function!r} returned {type(model).__qualname__}, which cannot be called"
            )
        made: StageModel = model
        return made

    def sample_inputs(self, rng: Generator, count: int) -> Mapping[str, NDArray[Any]]:
        """What the model's own ``sample_inputs`` says, or standard normal floats of its inputs' shapes."""
        model = self.load("cpu", None)
        own = getattr(model, "sample_inputs", None)
        if own is not None:
            sampled: Mapping[str, NDArray[Any]] = own(rng, count)
            return sampled
        drawn: dict[str, NDArray[Any]] = {}
        for name, spec in model.inputs.items():
            if not spec.dtype.startswith("float") or -1 in spec.shape:
                raise FactoryError(
                    f"model factory {self.function!r}: input {name!r} is {spec.dtype} of shape "
                    f"{list(spec.shape)}, which nobody can guess; give the model a sample_inputs(rng, count)"
                )
            drawn[name] = rng.standard_normal((count, *spec.shape)).astype(np.dtype(spec.dtype))
        return drawn


def found_function(name: str, what: str) -> Callable[..., Any]:
    """What ``package.module:function`` names. Raises FactoryError, which says of ``what`` it is spoken."""
    module_name, colon, attribute = name.partition(":")
    if not colon or not module_name or not attribute.isidentifier():
        raise FactoryError(f"{what} must read `package.module:function`, not {name!r}")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:
        raise FactoryError(
            f"{what} {name!r}: module {module_name!r} cannot be imported: "
            f"{type(error).__name__}: {error}"
        ) from error
    found = getattr(module, attribute, None)
    if not callable(found):
        raise FactoryError(f"{what} {name!r}: module {module_name!r} has no function {attribute!r}")
    function: Callable[..., Any] = found
    return function
