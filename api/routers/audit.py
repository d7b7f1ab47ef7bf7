"""``/v1/audit``: who planned, applied and changed what."""

from __future__ import annotations

import datetime as dt

from fastapi import Request, Response
from pydantic import JsonValue

from api.pages import IdCursor, Limit, Page, next_path, paged
from api.routing import ADMINS, Store, v1_router
from planner import audit
from planner.types import Frozen

router = v1_router("audit")


class AuditEntry(Frozen):
    """One action."""

    id: str
    at: dt.datetime
    actor: str
    action: str
    subject: str
    request_id: str | None
    detail: dict[str, JsonValue]


class AuditLog(Page):
    """Actions, newest first."""

    entries: tuple[AuditEntry, ...]


@router.get("/audit", dependencies=[ADMINS], response_model=AuditLog)
def read_audit(request: Request, engine: Store, limit: Limit = 100, cursor: IdCursor = None) -> Response:
    """Read who did what, newest first. Needs the scope `admin`."""
    found = audit.entries(engine, limit + 1, cursor)
    following = found[limit - 1].id if len(found) > limit else None
    entries = tuple(
        AuditEntry(id=e.id, at=e.at, actor=e.actor, action=e.action, subject=e.subject, request_id=e.request_id,
                   detail=e.detail)
        for e in found[:limit]
    )  # fmt: skip
    return paged(AuditLog(entries=entries, next_cursor=following, next=next_path(request, following)))
