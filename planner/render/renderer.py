"""The shape of a render target."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from planner.types import Plan

P = TypeVar("P", bound=Plan)


@dataclass(frozen=True)
class Renderer(Generic[P]):
    """One outside system: ``render`` turns a plan of ``kind`` into file names and their texts. Pure, no I/O."""

    kind: str
    target: str
    description: str
    render: Callable[[P], dict[str, str]]


def guarded(
    guard: Callable[[Callable[[P], dict[str, str]]], Callable[[P], dict[str, str]]], *renderers: Renderer[P]
) -> dict[str, Renderer[P]]:
    """Renderers by target, each behind ``guard``, which refuses plans that cannot be rendered."""
    return {renderer.target: replace(renderer, render=guard(renderer.render)) for renderer in renderers}
