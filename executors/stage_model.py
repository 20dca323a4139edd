"""What the executor asks of a model: named tensors in, named tensors out, a row a request."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from numpy.random import Generator
from numpy.typing import NDArray

from policies.tensors import TensorSpec as TensorSpec

if TYPE_CHECKING:
    import torch


class StageModel(Protocol):
    """A stage's model, loaded on its device and ready to run.

    A call takes one tensor a name in ``inputs``, each of shape (batch, *spec.shape) on the model's
    device, and returns one a name in ``outputs``, likewise. Row i of each output depends on row i of
    the inputs alone, so that a batch equals its requests run one by one.
    """

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]

    def __call__(self, batch: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Run the model on a batch."""
        ...


class ModelSource(ABC):
    """Where a stage's model comes from: a small picklable value, a kind of the ``model`` family.

    Subclasses are frozen dataclasses whose fields are knobs (see ``policies.knobs``). Importing the
    module of one must not import torch; ``load`` may.
    """

    kind: ClassVar[str]

    @abstractmethod
    def load(self, device: str, keep: int | None) -> StageModel:
        """Load the model onto ``device`` (``cpu`` or ``cuda:N``), in the worker's process.

        ``keep`` is the stage's: how many candidates each of its output lists holds.
        """

    @abstractmethod
    def sample_inputs(self, rng: Generator, count: int) -> Mapping[str, NDArray[Any]]:
        """Inputs of ``count`` requests, as a client would send them: each of shape (count, ...).

        Asked of the models of stages without parents; later stages take what those and the stages
        between put out, by name.
        """
