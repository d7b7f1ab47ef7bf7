"""Deployments in the database: what was begun, how far it came, and what it made. Rows are never deleted."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, dataclass
from typing import Any, Literal

from sqlalchemy import Engine, Select, func, insert, select, update

from planner.identity import new_id, now
from planner.tables import DeploymentRow
from profiles.db import reading, transaction, wait_for_writers

Purpose = Literal["apply", "rollback", "remove"]
State = Literal["applying", "applied", "failed", "removed"]
"""``applying`` without a living process is an interrupted one: the same command goes on with it."""
Action = Literal["put", "remove", "wait"]
StepState = Literal["begun", "done", "refused", "failed"]


@dataclass(frozen=True)
class Step:
    """One thing done to a target; written as ``begun`` before it is done. ``key`` is "" for waiting."""

    action: Action
    key: str
    state: StepState
    detail: str = ""


@dataclass(frozen=True)
class Deployment:
    """One application of a plan. ``reason``: why it failed, or why this plan and not the one asked for."""

    id: str
    name: str
    target: str
    plan_id: str
    purpose: Purpose
    state: State
    reason: str
    journal: tuple[Step, ...]
    created_at: dt.datetime
    finished_at: dt.datetime | None


_COLUMNS = (DeploymentRow.id, DeploymentRow.name, DeploymentRow.target, DeploymentRow.plan_id, DeploymentRow.purpose,
            DeploymentRow.state, DeploymentRow.reason, DeploymentRow.journal, DeploymentRow.created_at,
            DeploymentRow.finished_at)  # fmt: skip


def begin(engine: Engine, name: str, target: str, plan_id: str, purpose: Purpose, reason: str = "") -> Deployment:
    """Write down that a plan is about to be applied. ``StoreError`` where that cannot be written."""
    row: dict[str, Any] = {"id": new_id(), "name": name, "target": target, "plan_id": plan_id, "purpose": purpose,
                           "state": "applying", "reason": reason, "journal": [], "created_at": now(),
                           "finished_at": None}  # fmt: skip
    with transaction(engine) as session:
        wait_for_writers(session)
        session.execute(insert(DeploymentRow), row)
    return Deployment(**{**row, "journal": ()})


def write_journal(engine: Engine, deployment_id: str, journal: tuple[Step, ...]) -> None:
    """Replace a deployment's journal. ``StoreError`` where that cannot be written."""
    _update(engine, deployment_id, journal=[asdict(step) for step in journal])


def finish(engine: Engine, deployment_id: str, state: State, reason: str) -> None:
    """Write down how it ended. ``StoreError`` where that cannot be written."""
    _update(engine, deployment_id, state=state, reason=reason, finished_at=now())


def history(engine: Engine, name: str, target: str | None = None) -> tuple[Deployment, ...]:
    """Everything that was done under ``name`` (at ``target``), oldest first."""
    query = select(*_COLUMNS).where(DeploymentRow.name == name).order_by(DeploymentRow.id)
    return _read(engine, query if target is None else query.where(DeploymentRow.target == target))


def newest(engine: Engine, limit: int = 100, before: str | None = None) -> tuple[Deployment, ...]:
    """The newest deployment of each name and target, newest first; ``before``: an id to go on after."""
    ids = select(func.max(DeploymentRow.id)).group_by(DeploymentRow.name, DeploymentRow.target)
    query = select(*_COLUMNS).where(DeploymentRow.id.in_(ids)).order_by(DeploymentRow.id.desc()).limit(limit)
    return _read(engine, query if before is None else query.where(DeploymentRow.id < before))


def recorded_keys(past: tuple[Deployment, ...]) -> frozenset[str]:
    """Keys of the objects that these deployments put, or may have put before they failed or were interrupted."""
    return frozenset(step.key for deployment in past for step in deployment.journal
                     if step.action == "put" and step.state != "refused")  # fmt: skip


def _update(engine: Engine, deployment_id: str, **values: Any) -> None:
    with transaction(engine) as session:
        wait_for_writers(session)
        session.execute(update(DeploymentRow).where(DeploymentRow.id == deployment_id).values(**values))


def _read(engine: Engine, query: Select[Any]) -> tuple[Deployment, ...]:
    with reading(engine) as session:
        rows = [row._asdict() for row in session.execute(query)]
    return tuple(Deployment(**{**row, "journal": tuple(Step(**step) for step in row["journal"])}) for row in rows)
