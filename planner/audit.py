"""Who planned, applied and changed what: entries are added, never changed."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, insert, select
from sqlalchemy.orm import Session

from planner.identity import new_id, now
from planner.tables import AuditRow
from profiles.db import reading, transaction, wait_for_writers


@dataclass(frozen=True)
class Entry:
    """One action: ``actor`` is a key's name and id, ``local`` for the loopback, or ``cli:USER``."""

    id: str
    at: datetime
    actor: str
    action: str
    subject: str
    request_id: str | None
    detail: dict[str, Any]


def record(
    engine: Engine, actor: str, action: str, subject: str, request_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """Add an entry, such as ``record(engine, "cli:ann", "plan.apply", plan_id)``. No secrets in ``detail``.

    Raises ``StoreError`` where the store cannot be written.
    """
    with transaction(engine) as session:
        wait_for_writers(session)
        add(session, actor, action, subject, request_id, detail)


def add(
    session: Session, actor: str, action: str, subject: str, request_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> None:  # fmt: skip
    """As ``record``, together with all else that the session writes."""
    row = {"id": new_id(), "at": now(), "actor": actor, "action": action, "subject": subject,
           "request_id": request_id, "detail": dict(detail or {})}  # fmt: skip
    session.execute(insert(AuditRow), row)


def entries(engine: Engine, limit: int = 100, before: str | None = None) -> tuple[Entry, ...]:
    """The newest entries, ``limit`` of them, older than the one whose id is ``before``.

    Raises ``StoreError`` where the store cannot be read.
    """
    columns = (AuditRow.id, AuditRow.at, AuditRow.actor, AuditRow.action, AuditRow.subject, AuditRow.request_id,
               AuditRow.detail)  # fmt: skip
    query = select(*columns).order_by(AuditRow.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditRow.id < before)
    with reading(engine) as session:
        return tuple(Entry(*row) for row in session.execute(query))


def cli_actor() -> str:
    """Who runs this command, as the system knows them."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user without a name, as in some containers
        return "cli"
