"""Saved services and what was decided for them, night by night."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Engine, Row, delete, func, insert, select, update
from sqlalchemy.orm import Session

from planner import audit
from planner.errors import Conflict, StoreError, UnknownName
from planner.identity import now
from planner.replan.report import Report
from planner.replan.service import Running, SavedService
from planner.tables import DecisionRow, ServiceRow
from profiles.db import reading, transaction, wait_for_writers

NEW = 0
"""The version of a service that is not there yet."""


@dataclass(frozen=True)
class Stored:
    """A saved service as the store has it. ``version`` grows with every change of it or of what runs."""

    name: str
    version: int
    service: SavedService
    running: Running | None
    created_at: dt.datetime
    updated_at: dt.datetime


_COLUMNS = (ServiceRow.name, ServiceRow.version, ServiceRow.service, ServiceRow.running, ServiceRow.created_at,
            ServiceRow.updated_at)  # fmt: skip


def save(engine: Engine, service: SavedService, version: int | None = None) -> Stored:
    """Make or replace a service. With ``version``, only where it still has that one (``NEW``: where there is none).

    The version stays where nothing changes. Raises ``Conflict`` where the version is another, ``StoreError`` where the
    store cannot be written.
    """
    document = service.model_dump(mode="json")
    with transaction(engine) as session:
        wait_for_writers(session)
        query = select(ServiceRow.version, ServiceRow.service).where(_named(service.name))
        found = session.execute(query).one_or_none()
        _require_version(service.name, found.version if found else NEW, version)
        if found is None:
            row = {"name": service.name, "version": 1, "service": document, "running": None,
                   "created_at": now(), "updated_at": now()}  # fmt: skip
            session.execute(insert(ServiceRow), row)
        elif found.service != document:
            changed = {"version": found.version + 1, "service": document, "updated_at": now()}
            session.execute(update(ServiceRow).where(_named(service.name)).values(changed))
        return _load(session, service.name)


def set_running(engine: Engine, name: str, running: Running | None, version: int | None = None) -> Stored:
    """Say what runs, where something else than a decision changed it; raises what ``save`` raises."""
    with transaction(engine) as session:
        wait_for_writers(session)
        stored = _load(session, name)
        _require_version(name, stored.version, version)
        _set_running(session, stored, running)
        return _load(session, name)


def remove(engine: Engine, name: str, version: int | None = None) -> None:
    """Forget a service and its decisions; raises ``UnknownName`` and what ``save`` raises."""
    with transaction(engine) as session:
        wait_for_writers(session)
        _require_version(name, _load(session, name).version, version)
        session.execute(delete(DecisionRow).where(DecisionRow.service == name))
        session.execute(delete(ServiceRow).where(_named(name)))


def load(engine: Engine, name: str) -> Stored:
    """The service of that name; ``UnknownName`` where there is none."""
    with reading(engine) as session:
        return _load(session, name)


def find(engine: Engine, name: str) -> Stored | None:
    """The service of that name, where there is one."""
    with reading(engine) as session:
        row = session.execute(select(*_COLUMNS).where(_named(name))).one_or_none()
    return None if row is None else _stored(row)


def names(engine: Engine) -> tuple[str, ...]:
    """Of every service, in order: also of those that cannot be read any more."""
    with reading(engine) as session:
        return tuple(session.scalars(select(ServiceRow.name).order_by(ServiceRow.name)))


def load_all(engine: Engine, limit: int | None = None, after: str | None = None) -> tuple[Stored, ...]:
    """Services by name, ``limit`` of them (None: all), those after the name ``after``."""
    query = select(*_COLUMNS).order_by(ServiceRow.name).limit(limit)
    if after is not None:
        query = query.where(ServiceRow.name > after)
    with reading(engine) as session:
        return tuple(_stored(row) for row in session.execute(query))


def decision(engine: Engine, name: str, date: dt.date) -> Report | None:
    """What was decided for a night, if it was."""
    query = select(DecisionRow.report).where(DecisionRow.service == name, DecisionRow.date == date)
    with reading(engine) as session:
        report = session.scalar(query)
    return None if report is None else _report(report, name, date)


def decisions(engine: Engine, name: str, limit: int = 50, before: dt.date | None = None) -> tuple[Report, ...]:
    """The latest decisions, newest first, ``limit`` of them, of the days before ``before``."""
    query = select(DecisionRow.date, DecisionRow.report).where(DecisionRow.service == name)
    if before is not None:
        query = query.where(DecisionRow.date < before)
    with reading(engine) as session:
        _load(session, name)
        rows = session.execute(query.order_by(DecisionRow.date.desc()).limit(limit)).all()
    return tuple(_report(row.report, name, row.date) for row in rows)


def last_date(engine: Engine, name: str) -> dt.date | None:
    """The latest day that is decided."""
    with reading(engine) as session:
        return session.scalar(select(func.max(DecisionRow.date)).where(DecisionRow.service == name))


def record(engine: Engine, report: Report, actor: str) -> None:
    """Keep a night's decision, in place of an earlier one of the same night, what runs by it, and for the audit log
    who decided: all or nothing.

    Raises ``Conflict`` where the service is not as it was when it was planned, ``UnknownName`` where it is gone.
    """
    same = (DecisionRow.service == report.service, DecisionRow.date == report.date)
    with transaction(engine) as session:
        wait_for_writers(session)
        stored = _load(session, report.service)
        if stored.version != report.service_version:
            raise Conflict("was changed while it was planned", field=report.service, fix="run it again")
        session.execute(delete(DecisionRow).where(*same))
        row = {
            "service": report.service,
            "date": report.date,
            "decision": report.decision,
            "plan_id": report.plan_ids[0] if report.plan_ids else None,
            "report": report.model_dump(mode="json"),
            "created_at": now(),
        }
        session.execute(insert(DecisionRow), row)
        if report.after != stored.running:
            _set_running(session, stored, report.after)
        detail = {"date": str(report.date), "decision": report.decision}
        audit.add(session, actor, "service.replan", report.service, detail=detail)


def unknown(name: str, names: Sequence[str]) -> UnknownName:
    """The error that there is no service of that name, but these."""
    fix = "`gpuplan services list` shows those that are saved"
    return UnknownName("service", name, names, field="name", fix=fix)


def _set_running(session: Session, stored: Stored, running: Running | None) -> None:
    document = None if running is None else running.model_dump(mode="json")
    changed = {"version": stored.version + 1, "running": document, "updated_at": now()}
    session.execute(update(ServiceRow).where(_named(stored.name)).values(changed))


def _named(name: str) -> ColumnElement[bool]:
    return ServiceRow.name == name


def _require_version(name: str, found: int, wanted: int | None) -> None:
    if wanted is None or found == wanted:
        return
    now_is = "there is none" if found == NEW else f"it is at version {found}"
    expected = "a new service" if wanted == NEW else f"version {wanted}"
    raise Conflict(f"{expected} was expected, but {now_is}", field=name, fix="read it again, then change that")


def _load(session: Session, name: str) -> Stored:
    row = session.execute(select(*_COLUMNS).where(_named(name))).one_or_none()
    if row is None:
        raise unknown(name, session.scalars(select(ServiceRow.name)).all())
    return _stored(row)


def _stored(row: Row[Any]) -> Stored:
    name, version, service, running, created_at, updated_at = tuple(row)
    try:
        return Stored(name, version, SavedService.model_validate(service),
                      None if running is None else Running.model_validate(running), created_at, updated_at)  # fmt: skip
    except ValidationError as error:
        first = error.errors()[0]
        raise StoreError(f"the saved service {name!r} cannot be read any more ({first['msg']})",
                         fix="save it again from its file") from None  # fmt: skip


def _report(report: object, name: str, date: dt.date) -> Report:
    try:
        return Report.model_validate(report)
    except ValidationError:
        raise StoreError(f"the decision of {date} for {name!r} cannot be read any more",
                         fix=f"gpuplan replan --date {date} --service {name} --again") from None  # fmt: skip
