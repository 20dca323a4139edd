"""Layers whose sums are exact, so that a request's answer does not depend on its batch.

Float sums depend on their order, and matrix kernels pick the order by shape: a request computed in a
batch of one and in a batch of 32 differs in the last bits, and near-ties in a top-k flip. Here every
factor of a sum of products lies on a grid of powers of two, coarse enough that each product and every partial
sum is a whole number of grid units below 2^24, which float32 holds without rounding. Whatever order
a kernel adds in, on whatever device and at whatever batch size, the bits are the same; nothing is left
to chance. Between the sums stand only operations that IEEE 754 rounds correctly element by element
(+, -, *, /, max, rounding to the grid).

This is integer arithmetic in float32's clothes: training sees the grid in the forward pass and passes
gradients straight through (Jacob et al. 2018, "Quantization and Training of Neural Networks for
Efficient Integer-Arithmetic-Only Inference"; Bengio et al. 2013 for the straight-through estimator).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

EXACT_UNITS = 2**24
"""float32 holds every whole number up to this one."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The multiples of 2^-bits from -bound to bound."""

    bits: int
    bound: float


ACTIVATION = Grid(bits=7, bound=4.0)
"""What layers put out and take in."""
EMBEDDING = Grid(bits=8, bound=2.0)
"""Rows of embedding tables."""
SHARE = Grid(bits=6, bound=1.0)
"""Weights of a mean, fractions of a whole."""


def check_exact(terms: float, left: Grid, right: Grid) -> None:
    """Raise ValueError where a sum of ``terms`` products of the two grids may pass 2^24 units."""
    units = terms * left.bound * right.bound * 2.0 ** (left.bits + right.bits)
    if units > EXACT_UNITS:
        raise ValueError(
            f"a sum of {terms:g} products of {left} and {right} may reach {units:.3g} units of its grid; "
            f"float32 adds exactly up to {EXACT_UNITS}: take fewer terms or coarser grids"
        )


class _Snap(torch.autograd.Function):
    """Rounding to a grid; the gradient passes where the value is within the bound."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, grid: Grid) -> Tensor:
        ctx.save_for_backward(values.abs() <= grid.bound)
        return _on_grid(values, grid)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None


def _on_grid(values: Tensor, grid: Grid) -> Tensor:
    """Scaling by a power of two is exact, so that only the rounding rounds."""
    units = 2.0**grid.bits
    limit = grid.bound * units
    return (values * units).round_().clamp_(-limit, limit).mul_(1.0 / units)


def snap(values: Tensor, grid: Grid) -> Tensor:
    """The nearest points of the grid, of the same shape; differentiable, straight through."""
    if torch.is_grad_enabled() and values.requires_grad:
        snapped: Tensor = _Snap.apply(values, grid)  # type: ignore[no-untyped-call]
        return snapped
    return _on_grid(values, grid)


def snap_positive(values: Tensor, grid: Grid) -> Tensor:
    """``snap(relu(values))``, in one pass less where no gradient is wanted."""
    if torch.is_grad_enabled() and values.requires_grad:
        return snap(torch.relu(values), grid)
    units = 2.0**grid.bits
    return (values * units).round_().clamp_(0.0, grid.bound * units).mul_(1.0 / units)


class ExactLinear(nn.Module):
    """``inputs @ weight.T + bias`` without a rounding error; the output is not yet on a grid.

    Inputs (..., inputs) must lie on ``takes``. A row of weights has an L1 norm of at most ``ROW_L1``
    (longer ones are shortened) and lies on the finest grid for which the sum stays below 2^24 units.
    ``eval()`` computes the weights on the grid once; load weights before it.
    """

    ROW_L1 = 12.0
    BIAS = 4.0

    served_weight: Tensor | None
    served_bias: Tensor | None

    def __init__(self, inputs: int, outputs: int, takes: Grid) -> None:
        super().__init__()
        reach = takes.bound * self.ROW_L1 + self.BIAS
        self.takes = takes
        self.weight_bits = math.floor(24 - takes.bits - math.log2(reach))
        self.limit = self.ROW_L1 - inputs * 2.0 ** -(self.weight_bits + 1)
        if self.limit <= self.ROW_L1 / 2:
            raise ValueError(f"{inputs} inputs on {takes} are too many for an exact layer")
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        nn.init.xavier_uniform_(self.weight)
        self.register_buffer("served_weight", None, persistent=False)
        self.register_buffer("served_bias", None, persistent=False)

    def on_grid(self) -> tuple[Tensor, Tensor]:
        """Weight (outputs, inputs) and bias (outputs,) as the layer applies them."""
        length = self.weight.abs().sum(dim=1, keepdim=True)
        short = self.weight * (self.limit / length.clamp_min(self.limit))
        bias_grid = Grid(self.takes.bits + self.weight_bits, self.BIAS)
        return snap(short, Grid(self.weight_bits, self.ROW_L1)), snap(self.bias, bias_grid)

    def train(self, mode: bool = True) -> Self:
        """Leave or enter serving, where the weights on the grid are computed ahead."""
        super().train(mode)
        if mode:
            self.served_weight = self.served_bias = None
        else:
            with torch.no_grad():
                self.served_weight, self.served_bias = self.on_grid()
        return self

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., inputs) to (..., outputs)."""
        if self.served_weight is not None:
            return nn.functional.linear(inputs, self.served_weight, self.served_bias)
        weight, bias = self.on_grid()
        return nn.functional.linear(inputs, weight, bias)


class ExactEmbedding(nn.Module):
    """A table of rows on the grid, and one more of zeros, number ``count``, that pads.

    ``eval()`` puts the whole table on the grid once; load weights before it.
    """

    served_table: Tensor | None

    def __init__(self, count: int, width: int, grid: Grid = EMBEDDING, spread: float = 0.1) -> None:
        super().__init__()
        self.count = count
        self.grid = grid
        self.weight = nn.Parameter(torch.randn(count + 1, width) * spread)
        with torch.no_grad():
            self.weight[count] = 0.0
        self.register_buffer("served_table", None, persistent=False)

    def train(self, mode: bool = True) -> Self:
        """Leave or enter serving, where the table on the grid is computed ahead."""
        super().train(mode)
        if mode:
            self.served_table = None
        else:
            with torch.no_grad():
                self.served_table = snap(self.weight, self.grid)
        return self

    def forward(self, rows: Tensor) -> Tensor:
        """Row numbers of any shape (...) to (..., width)."""
        if self.served_table is not None:
            return nn.functional.embedding(rows, self.served_table)
        return snap(nn.functional.embedding(rows, self.weight, padding_idx=self.count), self.grid)


class RecencyMean(nn.Module):
    """Mean of a history's rows, weighted by learned weights of their places (0: the newest)."""

    def __init__(self, places: int) -> None:
        super().__init__()
        check_exact(places, SHARE, EMBEDDING)
        self.weight = nn.Parameter(torch.linspace(0.9, 0.3, places))

    def forward(self, rows: Tensor, present: Tensor) -> Tensor:
        """Rows (batch, places, width) on EMBEDDING, present (batch, places, 1) of 0 and 1: (batch, width)."""
        least = 2.0**-SHARE.bits
        weight = snap(self.weight.clamp(least, SHARE.bound), SHARE)[:, None] * present
        total = (rows * weight).sum(dim=1)
        return snap(total / weight.sum(dim=1).clamp_min(least), ACTIVATION)
