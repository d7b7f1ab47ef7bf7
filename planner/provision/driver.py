"""The shape of a target that plans are applied to. What is written once over it: changes, apply, status, rollback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from planner.errors import ProvisioningFailed

Document = dict[str, Any]
"""One object of a target, as parsed JSON."""

Objects = dict[str, Document]
"""Documents by key, which is ``Kind/name``."""


class Refused(ProvisioningFailed):
    """A target refused one object for what it is; it may still accept others."""


class Unreachable(ProvisioningFailed):
    """A target does not answer: nothing is known of what became of the last request."""


@dataclass(frozen=True)
class Preview:
    """What an object would be after it is put. ``obstacle``: why it would be refused ("": it would not)."""

    document: Document
    obstacle: str = ""


@dataclass(frozen=True)
class UnitState:
    """How many replicas of a unit are ready; of a training plan, a unit is a node and its ranks.

    ``reason``: why not all; ``short``: for lack of instances, or of this node.
    """

    key: str
    unit: str
    wanted: int
    ready: int
    reason: str = ""
    short: bool = False


@dataclass(frozen=True)
class Driver:
    """One target. ``name`` is always a deployment's name; every function raises ``ProvisioningFailed``.

    ``plans``: the kind of plan that it takes.
    ``desired(plan, name)``: the objects that make up the plan, in the order in which they are put.
    ``actual(name)``: the objects there that carry gpuplan's label for this name, without what the target itself keeps
    up to date (status, versions).
    ``preview(name, document, take_over)``: asks the target what it would hold after ``put``; changes nothing.
    ``put(name, document, take_over)``: makes or changes one object; doing it again changes nothing. An object
    that others made is ``Refused``, and so is a field that others own unless ``take_over``.
    ``remove(name, key)``: removes one object if it carries the label; not being there is fine.
    ``ready(name)``: every unit that is there.
    ``routes(document)``: whether an object sends traffic to units: it is put once they are ready.
    """

    target: str
    routes: Callable[[Document], bool]
    desired: Callable[[Any, str], Objects]
    actual: Callable[[str], Objects]
    preview: Callable[[str, Document, bool], Preview]
    put: Callable[[str, Document, bool], None]
    remove: Callable[[str, str], None]
    ready: Callable[[str], tuple[UnitState, ...]]
    plans: Literal["serving", "training"] = "serving"
