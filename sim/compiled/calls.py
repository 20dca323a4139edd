"""Calls of rules by address: numba's own way of calling, to a function that is known at run time only.

numba has function pointers as values, but types a tuple of them anew in every call of the loop and calls
them experimental. An address in an array costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import types
from numba.core import cgutils
from numba.core.typing.templates import Signature
from numba.extending import intrinsic

from sim.compiled.pointers import BOARD

_I64 = types.int64
ASK = types.UniTuple(_I64, 3)(BOARD, _I64, _I64)
"""(board, stage, now_ns) to an answer: a rule reads of the view what it needs of it."""
TICK = _I64(BOARD, _I64, _I64)
"""The same to 0, or of an urgency to that."""
OBSERVE = _I64(BOARD, _I64, _I64, _I64, _I64)
"""(board, stage, now_ns, requests, service_ns) to 0."""

ADMIT = _I64(BOARD, _I64, _I64, _I64)
"""(board, stage, now_ns, deadline_ns) to whether the request enters, 1 or 0."""
DEGRADE = _I64(BOARD, _I64, _I64, _I64)
"""(board, stage, now_ns, levels) to the level of a batch."""


def address_of(compiled: Callable[..., Any]) -> int:
    """Where a function compiled for one signature lies; it must be kept for as long as it is called."""
    (result,) = compiled.overloads.values()  # type: ignore[attr-defined]
    return int(result.library.get_pointer_to_function(result.fndesc.llvm_func_name))


def _caller(callee: Signature) -> Any:
    """A function from (address, tuple of arguments) to what the function there returns; exceptions
    pass through.
    """

    @intrinsic
    def call(typing_context: Any, address: Any, arguments: Any) -> Any:  # noqa: ARG001
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
            convention = context.call_conv
            function = convention.get_function_type(callee.return_type, callee.args)
            status, result = convention.call_function(
                builder,
                builder.inttoptr(args[0], function.as_pointer()),
                callee.return_type,
                callee.args,
                cgutils.unpack_tuple(builder, args[1]),
            )
            with cgutils.if_unlikely(builder, status.is_error):
                convention.return_status_propagate(builder, status)
            return result

        return callee.return_type(types.int64, types.Tuple(callee.args)), generate

    return call


ask = _caller(ASK)
tick = _caller(TICK)
observe = _caller(OBSERVE)
urgency = _caller(TICK)
admit = _caller(ADMIT)
degrade = _caller(DEGRADE)
