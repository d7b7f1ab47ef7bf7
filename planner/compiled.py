"""How loops over time and moves are compiled: decorators of numba with the settings that all kernels share.

The cache of machine code watches the file of the function that Python calls, and no other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_NO_WAY_IN: Any = {"no_cpython_wrapper": True, "no_cfunc_wrapper": True}
"""Functions that Python never calls: ways in for all would take most of the time to compile."""


def compiled(function: Function) -> Function:
    """Compile at the first call, and keep the machine code beside its file (or in the user's cache)."""
    try:
        return cast("Function", numba.njit(cache=True, error_model="numpy", nogil=True)(function))
    except RuntimeError:  # neither place can be written
        return cast("Function", numba.njit(error_model="numpy", nogil=True)(function))


def inner(function: Function) -> Function:
    """Compile as a part of what calls it: Python never does."""
    return cast("Function", numba.njit(error_model="numpy", **_NO_WAY_IN)(function))
