"""The board inside machine code: one address, whose attributes are the arrays.

As a tuple of some fifty arrays it would be handed around by value, which is slow to run and slower to
compile. So the loop is given the address of a table that tells, for each array, where it lies and how
long it is along each axis.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.imputils import lower_getattr
from numba.core.typing.templates import AttributeTemplate, infer_getattr
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array, populate_array
from numpy.typing import NDArray

from sim.compiled.layout import ARRAYS, Board

_WORDS = 3
"""An array's words in the table: its address and two lengths."""
_I64 = ir.IntType(64)


class BoardType(types.Type):
    """The address of a table."""

    def __init__(self) -> None:
        super().__init__(name="delayline.Board")


BOARD = BoardType()


@register_model(BoardType)
class _BoardModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: Any) -> None:
        super().__init__(manager, fe_type, _I64)


def table_of(board: Board) -> NDArray[np.int64]:
    """The table; the board must be kept for as long as it is used."""
    table = np.zeros((len(board), _WORDS), np.int64)
    for row, array in zip(table, board, strict=True):
        row[0] = array.ctypes.data
        row[1 : 1 + array.ndim] = array.shape
    return table


@intrinsic
def board_at(typing_context: Any, address: Any) -> Any:  # noqa: ARG001
    """The board whose table lies at an address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return args[0]

    return BOARD(types.int64), generate


@infer_getattr
class _Attributes(AttributeTemplate):
    key = BoardType

    def generic_resolve(self, value: Any, attr: str) -> Any:  # type: ignore[override]  # noqa: ARG002
        return ARRAYS.get(attr)


def _lower(name: str, index: int, array: Any) -> None:
    @lower_getattr(BoardType, name)  # type: ignore[untyped-decorator]
    def generate(context: Any, builder: Any, board_type: Any, board: Any) -> Any:  # noqa: ARG001
        table = builder.inttoptr(board, _I64.as_pointer())
        words = []
        for offset in range(1 + array.ndim):
            word = builder.load(builder.gep(table, [_I64(_WORDS * index + offset)]))
            # The table does not change while the loop runs.
            word.set_metadata("invariant.load", builder.module.add_metadata([]))
            words.append(word)
        address, *shape = words
        size = _I64(context.get_abi_sizeof(context.get_data_type(array.dtype)))
        found = make_array(array)(context, builder)
        populate_array(
            found,
            data=builder.inttoptr(address, context.get_data_type(array.dtype).as_pointer()),
            shape=shape,
            strides=[size] if array.ndim == 1 else [builder.mul(shape[1], size), size],
            itemsize=size,
            meminfo=None,
        )
        return found._getvalue()


for _index, _name in enumerate(Board._fields):
    _lower(_name, _index, ARRAYS[_name])
