"""How the functions of the compiled driver are compiled.

Without numba's run time for references: arrays lie where the board says and outlive the loop, and to
count who uses them takes several times as long as all the rest.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numba

F = TypeVar("F", bound=Callable[..., Any])
_OPTIONS: dict[str, Any] = {"_nrt": False, "nogil": True}


def _load_without_scipy() -> None:
    """Load numba's functions of arrays, but not the linear algebra of scipy that they ask for: a quarter
    of a process's start, for what no loop here calls. Whoever calls it in a process of theirs gets it
    then.
    """
    blas = "scipy.linalg.cython_blas"
    if blas in sys.modules or "numba.np.arraymath" in sys.modules:
        return
    sys.modules[blas] = None  # type: ignore[assignment]
    try:
        from numba.np import arraymath
    finally:
        del sys.modules[blas]
    arraymath._HAVE_BLAS = True


_load_without_scipy()


def inlined(function: F) -> F:
    """Part of whatever calls it: what runs once a batch."""
    compiled: F = numba.njit(**_OPTIONS, forceinline=True)(function)
    return compiled


def called(function: F) -> F:
    """A function of its own, unless LLVM thinks otherwise."""
    compiled: F = numba.njit(**_OPTIONS)(function)
    return compiled


def entry(function: Callable[..., Any], signature: object, cached: bool) -> Callable[..., Any]:
    """Compiled now, for one signature, and kept on disk if ``cached``."""
    compiled: Callable[..., Any] = numba.njit(signature, cache=cached, **_OPTIONS)(function)
    return compiled
