"""Every target that a plan can be rendered for, by kind of plan and name."""

from __future__ import annotations

from typing import Any

from planner.errors import FailedCheck, InvalidInput, UnknownName
from planner.render.experts import RENDERERS as EXPERTS
from planner.render.power import RENDERERS as POWER
from planner.render.renderer import Renderer
from planner.render.serving import RENDERERS as SERVING
from planner.render.training import RENDERERS as TRAINING
from planner.types import Plan

RENDERERS: dict[str, dict[str, Renderer[Any]]] = {
    "serving": dict(SERVING),
    "experts": dict(EXPERTS),
    "training": dict(TRAINING),
    "power": dict(POWER),
}


def render_plan(plan: Plan, target: str) -> dict[str, str]:
    """File names and texts of ``plan`` for ``target``.

    Raises
    ------
    UnknownName
        Plans of this kind cannot be rendered for ``target``.
    InvalidInput, FailedCheck
        The plan has no answer to render, or failed its check.
    """
    targets = RENDERERS.get(plan.kind, {})
    if target not in targets:
        known = ", ".join(targets) or f"none yet for {plan.kind} plans"
        raise UnknownName("render target", target, targets, field="--target", fix=f"targets: {known}")
    if plan.outcome in ("infeasible", "no_solution"):
        raise InvalidInput(f"is {plan.outcome}: there is nothing to render", field="PLAN")
    if plan.check is not None and not plan.check.passed:
        raise FailedCheck("the plan failed its check and is not rendered")
    return targets[target].render(plan)
