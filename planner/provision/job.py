"""Deployments as a service's workers do them: the request as it lies in the queue, and what is answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, TypeAdapter

from planner.errors import InvalidInput
from planner.provision import store
from planner.provision.apply import MOST_FALLBACKS, How, apply_plan, checked_plan, roll_back, withdraw, would_change
from planner.provision.driver import Driver
from planner.provision.history import applicable_plan, plan_to_go_back_to, target_of
from planner.provision.names import checked_name, name_for
from planner.provision.status import status
from planner.provision.targets import driver_for
from planner.settings import settings
from planner.types import Frozen, SolveOptions

if TYPE_CHECKING:
    from sqlalchemy import Engine

TARGETS_VARIABLE = "GPUPLAN_DEPLOY_TARGETS"
"""``Settings.deploy_targets``, as a person sets it."""


class DeploymentJob(Frozen):
    """What is asked for. ``plan_id`` is needed to apply; ``name`` may be missing there: it is the spec's."""

    action: Literal["apply", "rollback", "withdraw"]
    target: str | None = Field(default=None, max_length=500)
    name: str | None = Field(default=None, max_length=100)
    plan_id: str | None = Field(default=None, max_length=64)
    actor: str
    wait_s: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 600.0
    fallback: bool = False
    take_over: bool = False
    time_limit_s: Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)] = 30.0


def allowed_targets() -> tuple[str, ...]:
    """The targets that this server may apply to; a request can name no other."""
    return tuple(name.strip() for name in settings().deploy_targets.split(",") if name.strip())


def limit_s(request: dict[str, Any]) -> float:
    """After how many seconds a job must have ended: all its waiting and solving, and ten minutes for its requests."""
    job = DeploymentJob.model_validate(request)
    plans = MOST_FALLBACKS + 1 if job.fallback else 1
    return plans * (job.wait_s + 2 * job.time_limit_s) + 600


def preview(request: dict[str, Any], engine: Engine) -> dict[str, Any]:
    """What the job would change: ``{name, target, plan_id, changes}``. Raises what ``run`` raises."""
    job = DeploymentJob.model_validate(request)
    driver, name, plan_id = _meant(job, engine)
    plan = None if job.action == "withdraw" else applicable_plan(engine, plan_id)
    if plan is not None and job.action == "apply":
        plan = checked_plan(plan, driver, engine)
    found = would_change(engine, driver, plan, name, job.take_over)
    return {"name": name, "target": driver.target, "plan_id": plan_id, "changes": [_json(change) for change in found]}


def run(request: dict[str, Any], engine: Engine) -> tuple[str, dict[str, Any]]:
    """Do it: the id of the plan that runs now, and ``{deployment, units, notes}``.

    Raises
    ------
    InvalidInput, UnknownName, Conflict, FailedCheck, ProvisioningFailed, StoreError
        As ``planner.provision.apply`` says.
    """
    job = DeploymentJob.model_validate(request)
    driver, name, plan_id = _meant(job, engine)
    how = How(job.actor, job.wait_s, job.take_over, job.fallback, SolveOptions(time_limit_s=job.time_limit_s))
    if job.action == "withdraw":
        removed = withdraw(engine, driver, name, job.actor)
        return removed.plan_id, {"deployment": _json(removed), "units": [], "notes": []}
    if job.action == "apply":
        applied = apply_plan(engine, driver, applicable_plan(engine, plan_id), name, how)
    else:
        applied = roll_back(engine, driver, name, how)
    answer = {"deployment": _json(applied.deployment), "units": [_json(unit) for unit in applied.units]}
    return applied.deployment.plan_id, {**answer, "notes": list(applied.notes)}


def status_of(engine: Engine, name: str, target: str | None) -> dict[str, Any]:
    """How a deployment stands, where this server may look: ``{deployment, changing, drift, units, as_planned}``."""
    found = status(engine, _driver(engine, name, target), name)
    return {**_json(found), "as_planned": found.as_planned}


def _meant(job: DeploymentJob, engine: Engine) -> tuple[Driver, str, str]:
    """Driver, name and plan of a job."""
    if job.action == "apply":
        if job.plan_id is None or job.target is None:
            raise InvalidInput("is missing", field="plan_id" if job.plan_id is None else "target")
        name = checked_name(job.name or name_for(applicable_plan(engine, job.plan_id).spec.name))
        return _allowed(job.target), name, job.plan_id
    name = job.name or ""
    driver = _driver(engine, name, job.target)
    past = store.history(engine, name, driver.target)
    if not past:
        raise InvalidInput(f"nothing was applied under {name!r} at {driver.target}", field="name")
    return driver, name, plan_to_go_back_to(past) if job.action == "rollback" else past[-1].plan_id


def _driver(engine: Engine, name: str, target: str | None) -> Driver:
    """The driver of where ``name`` is, if this server may go there."""
    if target is not None:
        return _allowed(target)
    applied_to = target_of(engine, name)
    kind = applied_to.partition(":")[0]
    drivers = (driver_for(known) for known in allowed_targets() if known.partition(":")[0] == kind)
    found = next((driver for driver in drivers if driver.target == applied_to), None)
    if found is None:
        raise InvalidInput(f"{name} is at {applied_to}, where this server does not go", field="target",
                           fix=f"{TARGETS_VARIABLE} on the server allows it")  # fmt: skip
    return found


def _allowed(target: str) -> Driver:
    known = allowed_targets()
    if target not in known:
        raise InvalidInput(f"{target!r} is no target of this server", field="target",
                           fix=f"targets: {', '.join(known) or 'none'} ({TARGETS_VARIABLE} on the server)")  # fmt: skip
    return driver_for(target)


def _json(value: Any) -> Any:
    return TypeAdapter(type(value)).dump_python(value, mode="json")
