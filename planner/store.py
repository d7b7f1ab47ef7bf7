"""Saved specs and plans: JSON texts in, records out.

Both are named by their content, so that saving the same answer to the same question again changes nothing.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Engine, insert, select, tuple_, update

from planner.tables import SavedPlanRow, SavedSpecRow
from profiles.db import reading, transaction, wait_for_writers
from profiles.errors import InvalidInput, UnknownName
from profiles.types import content_digest


@dataclass(frozen=True)
class PlanSummary:
    """What a list shows of a plan."""

    id: str
    kind: str
    name: str | None
    spec_id: str
    outcome: str
    objective: float | None
    profile_digest: str
    created_at: dt.datetime


@dataclass(frozen=True)
class SavedPlan(PlanSummary):
    """A plan with the spec it answers, both as parsed JSON: what ``Plan.model_validate`` takes."""

    spec: dict[str, Any]
    plan: dict[str, Any]


@dataclass(frozen=True)
class SavedSpec:
    """A spec as parsed JSON."""

    id: str
    kind: str
    name: str | None
    created_at: dt.datetime
    spec: dict[str, Any]


@dataclass(frozen=True)
class Page:
    """Some plans, newest first, and the cursor that continues after them (None: these were the last)."""

    plans: tuple[PlanSummary, ...]
    next_cursor: str | None


_SUMMARY = (
    SavedPlanRow.id,
    SavedPlanRow.kind,
    SavedSpecRow.name,
    SavedPlanRow.spec_id,
    SavedPlanRow.outcome,
    SavedPlanRow.objective,
    SavedPlanRow.profile_digest,
    SavedPlanRow.created_at,
)


def save(engine: Engine, kind: str, spec_json: str, plan_json: str, name: str | None = None) -> str:
    """Keep a plan and the spec it answers; return the plan's id.

    The id is the digest of kind, spec and plan, ``solve_seconds`` aside: solving again to the same answer saves
    nothing new. ``name`` names the spec; a new name replaces the old one, None keeps it.

    Raises
    ------
    InvalidInput
        If either text is not a JSON object of finite numbers, or the plan lacks ``outcome``.
    StoreError
        If the database is locked, corrupt, read-only, full or out of reach.
    """
    spec, plan = _parsed(spec_json, "spec"), _parsed(plan_json, "plan")
    if "outcome" not in plan:
        raise InvalidInput("has no outcome", field="plan")
    spec_id = _digest(kind, spec)
    plan_id = _digest(kind, spec, {key: value for key, value in plan.items() if key != "solve_seconds"})
    now = dt.datetime.now(dt.UTC)
    with transaction(engine) as session:
        wait_for_writers(session)
        if session.scalar(select(SavedSpecRow.id).where(SavedSpecRow.id == spec_id)) is None:
            row = {"id": spec_id, "kind": kind, "name": name, "spec": spec, "created_at": now}
            session.execute(insert(SavedSpecRow), row)
        elif name is not None:
            session.execute(update(SavedSpecRow).where(SavedSpecRow.id == spec_id).values(name=name))
        if session.scalar(select(SavedPlanRow.id).where(SavedPlanRow.id == plan_id)) is None:
            row = {
                "id": plan_id,
                "kind": kind,
                "spec_id": spec_id,
                "outcome": plan["outcome"],
                "objective": plan.get("objective"),
                "profile_digest": plan.get("profile_digest", ""),
                "plan": plan,
                "created_at": now,
            }
            session.execute(insert(SavedPlanRow), row)
    return plan_id


def load_plan(engine: Engine, plan_id: str) -> SavedPlan:
    """The plan that ``save`` called ``plan_id``.

    Raises
    ------
    UnknownName
        If there is none.
    StoreError
        If the database is out of reach.
    """
    query = select(*_SUMMARY, SavedSpecRow.spec, SavedPlanRow.plan).join(SavedSpecRow)
    with reading(engine) as session:
        row = session.execute(query.where(SavedPlanRow.id == plan_id)).one_or_none()
    if row is None:
        raise UnknownName("plan", plan_id, ())
    return SavedPlan(*row)


def list_plans(engine: Engine, kind: str | None = None, limit: int = 50, cursor: str | None = None) -> Page:
    """The newest plans (of ``kind``), ``limit`` of them, from where ``cursor`` of the page before points.

    A plan saved between two pages never shifts the second one.

    Raises
    ------
    InvalidInput
        If ``limit`` is not in 1..1000, or the cursor is not one that a page gave.
    StoreError
        If the database is out of reach.
    """
    if not 1 <= limit <= 1000:
        raise InvalidInput(f"must lie in 1..1000, not {limit}", field="limit")
    query = select(*_SUMMARY).join(SavedSpecRow)
    query = query.order_by(SavedPlanRow.created_at.desc(), SavedPlanRow.id.desc()).limit(limit + 1)
    if kind is not None:
        query = query.where(SavedPlanRow.kind == kind)
    if cursor is not None:
        query = query.where(_older_than(cursor))
    with reading(engine) as session:
        plans = tuple(PlanSummary(*row) for row in session.execute(query))
    if len(plans) <= limit:
        return Page(plans, None)
    last = plans[limit - 1]
    return Page(plans[:limit], f"{last.created_at.isoformat()}~{last.id}")


def list_specs(engine: Engine, kind: str | None = None) -> tuple[SavedSpec, ...]:
    """The saved specs (of ``kind``), oldest first: what ``replan`` answers afresh.

    Raises
    ------
    StoreError
        If the database is out of reach.
    """
    columns = (SavedSpecRow.id, SavedSpecRow.kind, SavedSpecRow.name, SavedSpecRow.created_at, SavedSpecRow.spec)
    query = select(*columns).order_by(SavedSpecRow.created_at, SavedSpecRow.id)
    if kind is not None:
        query = query.where(SavedSpecRow.kind == kind)
    with reading(engine) as session:
        return tuple(SavedSpec(*row) for row in session.execute(query))


def _older_than(cursor: str) -> ColumnElement[bool]:
    moment, _, plan_id = cursor.partition("~")
    try:
        created_at = dt.datetime.fromisoformat(moment)
    except ValueError:
        created_at = None
    if created_at is None or created_at.tzinfo is None or not plan_id:
        raise InvalidInput("is not a cursor of this list", field="cursor", fix="start again without a cursor")
    return tuple_(SavedPlanRow.created_at, SavedPlanRow.id) < (created_at, plan_id)


def _parsed(text: str, field: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refuse)
    except ValueError as error:
        raise InvalidInput(f"is not JSON: {error}", field=field) from error
    if not isinstance(value, dict):
        raise InvalidInput("is not a JSON object", field=field)
    return value


def _refuse(constant: str) -> None:
    # Python reads NaN and Infinity; PostgreSQL, and JSON itself, do not know them.
    raise ValueError(f"{constant} is not a number")


def _digest(*parts: object) -> str:
    return content_digest(json.dumps(parts, sort_keys=True, separators=(",", ":"), allow_nan=False))
