"""Applying a plan: new and larger units first, then the traffic, then smaller units and those that go.

Every step is in the journal before it is taken, and what is left to do is always what differs from the target. So an
apply that was killed goes on with the same command, and doing it twice does nothing the second time.

When units do not come up, nothing is removed and the traffic stays where it was. What did come up is kept too: the
next apply or a rollback uses or removes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine

from planner import audit
from planner.errors import FailedCheck, InvalidInput, ProvisioningFailed
from planner.provision import store
from planner.provision.changes import Change, changes
from planner.provision.driver import Driver, UnitState
from planner.provision.history import Applicable, alone, applicable, applicable_plan, plan_to_go_back_to
from planner.provision.instead import instead_of
from planner.provision.steps import Work, put_all, seen, take_away, wait
from planner.provision.store import Deployment, Purpose, Step
from planner.service import check_plan, keep
from planner.types import Check, SolveOptions

MOST_FALLBACKS = 5
"""Plans tried after the one that was asked for: each costs the time to wait for instances that do not come."""


@dataclass(frozen=True)
class How:
    """How to apply. ``wait_s``: for units to be ready (0: do not wait, remove what is not wanted at once).

    ``take_over``: also fields and objects that others changed since. ``fallback``: where an instance type is short,
    go on with the next best plan.
    """

    actor: str
    wait_s: float = 600.0
    take_over: bool = False
    fallback: bool = False
    solve: SolveOptions = field(default_factory=SolveOptions)


@dataclass(frozen=True)
class Applied:
    """How it ended. ``notes``: what a person should know, such as another plan than the one asked for."""

    deployment: Deployment
    plan: Applicable
    units: tuple[UnitState, ...]
    notes: tuple[str, ...] = ()


def checked_plan(plan: object, driver: Driver, engine: Engine) -> Applicable:
    """``plan``, if it can be applied: of the driver's kind, and it holds against what the store knows now.

    Raises
    ------
    InvalidInput
        If it is of another kind, or has no answer.
    FailedCheck
        If it does not hold (any more).
    """
    wanted = applicable(plan)
    if wanted.kind != driver.plans:
        raise InvalidInput(f"is a {wanted.kind} plan, and {driver.target} takes {driver.plans} plans", field="plan",
                           fix="apply it to another target, or `gpuplan render` it")  # fmt: skip
    check = check_plan(wanted, engine)
    if not check.passed:
        raise FailedCheck(f"the plan does not hold and is not applied: {_listed(check)}", fix="plan again")
    return wanted


def would_change(
    engine: Engine, driver: Driver, plan: Applicable | None, name: str, take_over: bool = False
) -> tuple[Change, ...]:
    """What applying ``plan`` (None: removing everything) would change; changes nothing."""
    recorded = store.recorded_keys(store.history(engine, name, driver.target))
    desired = {} if plan is None else driver.desired(plan, name)
    return changes(driver, desired, name, recorded, take_over)


def apply_plan(engine: Engine, driver: Driver, plan: Applicable, name: str, how: How) -> Applied:
    """Make the target run ``plan`` under ``name``, or what the fallback allows instead.

    Raises
    ------
    FailedCheck, InvalidInput
        The plan cannot be applied (``checked_plan``).
    Conflict
        Another process changes this name now.
    ProvisioningFailed
        The target refused something, or units did not come up; says what was done and what was not.
    """
    plan = checked_plan(plan, driver, engine)
    with alone(engine, name):
        return _apply_or_next_best(engine, driver, plan, name, how)


def roll_back(engine: Engine, driver: Driver, name: str, how: How) -> Applied:
    """Make the target run the plan before this one again (``history.plan_to_go_back_to``).

    A plan that ran before is not refused where it no longer passes its check, as when prices changed: that is a note.
    Raises what ``apply_plan`` raises.
    """
    with alone(engine, name):
        plan = applicable_plan(engine, plan_to_go_back_to(store.history(engine, name, driver.target)))
        check = check_plan(plan, engine)
        notes = () if check.passed else (f"this plan no longer passes its check: {_listed(check)}",)
        deployment, units = _bring_up(engine, driver, plan, name, "rollback", "", how)
        if deployment.state == "failed":
            raise ProvisioningFailed(deployment.reason)
        return Applied(deployment, plan, units, notes)


def withdraw(engine: Engine, driver: Driver, name: str, actor: str) -> Deployment:
    """Remove everything that was made under ``name``: the traffic first. Raises as ``apply_plan`` does."""
    with alone(engine, name):
        past = store.history(engine, name, driver.target)
        if not past:
            raise ProvisioningFailed(f"nothing was applied under {name!r} at {driver.target}")
        todo = changes(driver, {}, name, store.recorded_keys(past))
        if not any(change.action == "remove" for change in todo) and past[-1].state == "removed":
            return past[-1]
        deployment = _begun(engine, driver, past[-1].plan_id, name, "remove", "", actor)
        with _ending(engine, deployment, actor) as journal:
            take_away(Work(engine, driver, deployment, todo, journal))
        return _finished(engine, deployment, "removed", "", actor)


def _apply_or_next_best(engine: Engine, driver: Driver, plan: Applicable, name: str, how: How) -> Applied:
    notes: list[str] = []
    for fallbacks in range(MOST_FALLBACKS + 1):
        deployment, units = _bring_up(engine, driver, plan, name, "apply", notes[-1] if notes else "", how)
        if deployment.state != "failed":
            return Applied(deployment, plan, units, tuple(notes))
        instead = instead_of(plan, units, engine, how.solve)
        if instead is None:
            raise ProvisioningFailed(deployment.reason)
        found, note = instead.plan, instead.note
        if found.outcome not in ("optimal", "feasible"):
            why = "; ".join(conflict.detail for conflict in found.conflicts) or found.outcome
            raise ProvisioningFailed(f"{deployment.reason} Nothing else serves this request: {why}")
        if not how.fallback or fallbacks == MOST_FALLBACKS:
            plan_id = keep(found, found.spec, engine)
            raise ProvisioningFailed(f"{deployment.reason} {note}", fix=f"apply it: --fallback, or plan {plan_id}")
        notes.append(note)
        plan = found
    raise AssertionError("the loop ends by itself")


def _bring_up(
    engine: Engine, driver: Driver, plan: Applicable, name: str, purpose: Purpose, reason: str, how: How
) -> tuple[Deployment, tuple[UnitState, ...]]:
    """One plan, all steps. A deployment of state ``failed`` says why in its reason; the units as last seen."""
    plan_id = keep(plan, plan.spec, engine)
    past = store.history(engine, name, driver.target)
    desired = driver.desired(plan, name)
    routes = {key for key, document in desired.items() if driver.routes(document)}
    todo = changes(driver, desired, name, store.recorded_keys(past), how.take_over)
    refused = [f"{change.key}: {change.obstacle}" for change in todo if change.obstacle]
    if refused:
        raise ProvisioningFailed(f"{driver.target} would refuse this, so nothing was changed: {'; '.join(refused)}")
    if past and _runs(past[-1], plan_id) and all(change.action == "leave" for change in todo):
        units = seen(driver, name, frozenset(desired))
        if not _late(units):
            return past[-1], units
    deployment = _begun(engine, driver, plan_id, name, purpose, reason, how.actor)
    with _ending(engine, deployment, how.actor) as journal:
        work = Work(engine, driver, deployment, todo, journal)
        failure = put_all(work, "units", how.take_over)
        units = wait(work, frozenset(desired), how.wait_s) if how.wait_s and not failure else ()
        failure = failure or _late(units, how.wait_s) or _gone(driver, name, frozenset(desired) - routes)
        failure = failure or put_all(work, "routes", how.take_over)
        failure = failure or put_all(work, "smaller units", how.take_over)
        if not failure:
            take_away(work)
            units = seen(driver, name, frozenset(desired)) if how.wait_s else units  # fewer of some are wanted now
    if failure:
        done = {step.key for step in journal if step.state == "done"}
        rest = [change.key for change in todo if change.action != "leave" and change.key not in done]
        failure += f" Not done: {', '.join(rest)}." if rest else ""
        failure += " Nothing was removed; what came up is kept. The same command goes on from here."
        return _finished(engine, deployment, "failed", failure, how.actor), units
    return _finished(engine, deployment, "applied", reason, how.actor), units


def _late(units: tuple[UnitState, ...], wait_s: float = 0.0) -> str:
    late = [f"{unit.unit}: {unit.ready} of {unit.wanted} ({unit.reason})" for unit in units if unit.ready < unit.wanted]
    return f"After {wait_s:g} s these replicas are not ready: {'; '.join(late)}." if late else ""


def _gone(driver: Driver, name: str, keys: frozenset[str]) -> str:
    """What somebody removed since it was put, and would get traffic now."""
    gone = sorted(keys - driver.actual(name).keys())
    return f"Others removed {', '.join(gone)} meanwhile." if gone else ""


def _runs(deployment: Deployment, plan_id: str) -> bool:
    return deployment.state == "applied" and deployment.plan_id == plan_id


def _listed(check: Check) -> str:
    return "; ".join(f"{violation.constraint}: {violation.detail}" for violation in check.violations[:5])


def _begun(
    engine: Engine, driver: Driver, plan_id: str, name: str, purpose: Purpose, reason: str, actor: str
) -> Deployment:
    """The row to work under: an interrupted one of the same plan and purpose goes on, another one is closed."""
    past = store.history(engine, name, driver.target)
    if past and past[-1].state == "applying":
        if (past[-1].plan_id, past[-1].purpose) == (plan_id, purpose):
            return past[-1]
        store.finish(engine, past[-1].id, "failed", "interrupted, then another plan was applied")
    deployment = store.begin(engine, name, driver.target, plan_id, purpose, reason)
    detail = {"target": driver.target, "plan_id": plan_id, "deployment_id": deployment.id, "reason": reason}
    audit.record(engine, actor, f"deployment.{purpose}", name, detail=detail)
    return deployment


def _finished(engine: Engine, deployment: Deployment, state: store.State, reason: str, actor: str) -> Deployment:
    store.finish(engine, deployment.id, state, reason)
    detail = {"target": deployment.target, "plan_id": deployment.plan_id, "deployment_id": deployment.id}
    audit.record(engine, actor, f"deployment.{state}", deployment.name, detail=detail)
    return next(row for row in store.history(engine, deployment.name, deployment.target) if row.id == deployment.id)


@contextmanager
def _ending(engine: Engine, deployment: Deployment, actor: str) -> Iterator[list[Step]]:
    """The journal to write into; where the target fails in the middle, the deployment ends as failed."""
    journal = list(deployment.journal)
    try:
        yield journal
    except ProvisioningFailed as error:
        done = [f"{step.action} {step.key}".strip() for step in journal if step.state == "done"]
        reason = f"{error.detail}. Done before: {', '.join(done) or 'nothing'}. The same command goes on from here."
        _finished(engine, deployment, "failed", reason, actor)
        raise type(error)(reason, fix=error.fix) from error
