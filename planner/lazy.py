"""Functions that are imported when first called: a planner that compiles code must not slow the others down."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazily(module: str, name: str) -> Callable[..., Any]:
    """The function ``name`` of ``module``, imported at the first call."""

    def called(*args: Any) -> Any:
        return getattr(import_module(module), name)(*args)

    return called
