"""What a name's past says: which plan runs, and which one a rollback goes back to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from planner.errors import Conflict, InvalidInput
from planner.provision.store import Deployment, history
from planner.registry import planner_for
from planner.serving.plan import ServingPlan
from planner.store import load_plan
from planner.training.plan import TrainingPlan
from planner.types import Plan
from profiles.db import exclusive

Applicable = ServingPlan | TrainingPlan
"""Plans that say what is to run where."""


@contextmanager
def alone(engine: Engine, name: str) -> Iterator[None]:
    """Be the only one who applies anything under ``name``. ``Conflict``: another process does."""
    for _ in range(4):  # `gpuplan status` takes the lock for some milliseconds, to see whether it is free
        with exclusive(engine, f"deployment-{name}") as mine:
            if mine:
                yield
                return
        time.sleep(0.05)
    raise Conflict(f"{name} is being changed by another gpuplan", fix="wait for it, then look again")


def saved_plan(engine: Engine, plan_id: str) -> Plan:
    """A saved plan of any kind; ``UnknownName`` where there is none."""
    saved = load_plan(engine, plan_id)
    plan: Plan = planner_for(saved.kind).plan_type.model_validate(saved.plan)
    return plan


def applicable_plan(engine: Engine, plan_id: str) -> Applicable:
    """A saved plan that can be applied. ``UnknownName``: there is none; ``InvalidInput``: it is of another kind."""
    return applicable(saved_plan(engine, plan_id))


def applicable(plan: object) -> Applicable:
    """``plan``, if it is a serving or training plan with an answer: only those can be applied.

    Raises
    ------
    InvalidInput
        If it is of another kind, or has no answer.
    """
    if not isinstance(plan, Applicable):
        raise InvalidInput(
            "only serving and training plans can be applied", field="plan", fix="use `gpuplan render` for this kind"
        )
    if plan.outcome not in ("optimal", "feasible"):
        raise InvalidInput(f"is {plan.outcome}: there is nothing to apply", field="plan")
    return plan


def target_of(engine: Engine, name: str) -> str:
    """Where ``name`` is; where it was, if everything was removed.

    Raises
    ------
    InvalidInput
        If nothing was ever applied under it, or it is at several targets.
    """
    newest = {deployment.target: deployment for deployment in history(engine, name)}
    there = [target for target, deployment in newest.items() if deployment.state != "removed"]
    targets = sorted(there or newest)
    if not targets:
        raise InvalidInput(
            f"nothing was applied under {name!r}", field="name", fix="`gpuplan deployments` lists what was"
        )
    if len(targets) > 1:
        raise InvalidInput(f"{name} is at {', '.join(targets)}", field="target", fix="say which with --target")
    return targets[0]


def plan_to_go_back_to(past: tuple[Deployment, ...]) -> str:
    """Id of the plan that a rollback applies, from everything done under a name, oldest first.

    Plans that were applied lie on a stack. A rollback takes the top one off, so that each goes one further back;
    where the last application failed or was interrupted, or everything was removed, it goes back to the top itself.
    A rollback that did not finish is tried again.

    Raises
    ------
    Conflict
        If nothing lies below.
    """
    stack: list[str] = []
    for deployment in past:
        if deployment.state != "applied":
            continue
        if deployment.purpose == "rollback" and deployment.plan_id in stack:
            while stack[-1] != deployment.plan_id:
                stack.pop()
        elif not stack or stack[-1] != deployment.plan_id:
            stack.append(deployment.plan_id)
    last = past[-1] if past else None
    if last is not None and last.purpose == "rollback" and last.state in ("applying", "failed"):
        return last.plan_id
    if last is not None and last.state == "applied":
        stack.pop()
    if not stack:
        raise Conflict("there is no earlier plan to go back to", fix="apply another plan, or `gpuplan withdraw`")
    return stack[-1]
