"""Bits of words, and heaps of events."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sim.compiled.jit import inlined


@intrinsic
def lowest_bit(typing_context: Any, word: Any) -> Any:  # noqa: ARG001
    """Index of the lowest set bit of an int64 that is not 0."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:  # noqa: ARG001
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


@inlined
def set_bit(words: Any, at: int, index: int) -> None:
    """Set one bit of the words that begin at ``at``."""
    words[at + (index >> 6)] |= 1 << (index & 63)


@inlined
def clear_bit(words: Any, at: int, index: int) -> None:
    """Clear one bit."""
    words[at + (index >> 6)] &= ~(1 << (index & 63))


@inlined
def get_bit(words: Any, at: int, index: int) -> bool:
    """Whether a bit is set."""
    return (words[at + (index >> 6)] >> (index & 63)) & 1 != 0


@inlined
def first_bit(words: Any, at: int, n: int) -> int:
    """Index of the lowest set bit of ``n`` words; one must be set."""
    for word in range(n):
        if words[at + word]:
            return word * 64 + lowest_bit(words[at + word])  # type: ignore[call-arg]
    return -1


@inlined
def push(heap: Any, n: int, at_ns: int, code: int) -> None:
    """Add an event to a binary heap of ``n``, ordered by time and then code."""
    child = n
    while child:
        parent = (child - 1) >> 1
        above = heap[parent]
        if above.at_ns < at_ns or (above.at_ns == at_ns and above.code < code):
            break
        heap[child].at_ns = above.at_ns
        heap[child].code = above.code
        child = parent
    heap[child].at_ns = at_ns
    heap[child].code = code


@inlined
def pop(heap: Any, n: int) -> None:
    """Remove the first event of a heap of ``n``."""
    last = n - 1
    at_ns, code = heap[last].at_ns, heap[last].code
    hole = 0
    while True:
        child = 2 * hole + 1
        if child >= last:
            break
        least = heap[child]
        if child + 1 < last:
            other = heap[child + 1]
            if other.at_ns < least.at_ns or (
                other.at_ns == least.at_ns and other.code < least.code
            ):
                child += 1
                least = other
        if at_ns < least.at_ns or (at_ns == least.at_ns and code < least.code):
            break
        heap[hole].at_ns = least.at_ns
        heap[hole].code = least.code
        hole = child
    heap[hole].at_ns = at_ns
    heap[hole].code = code
