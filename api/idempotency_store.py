"""Idempotency keys in the store: the only SQL of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Engine, delete, insert, select, update

from api.tables import IdempotencyRow
from planner.identity import now
from profiles.db import transaction, wait_for_writers

KEPT = dt.timedelta(hours=24)
"""How long a key is remembered: what other APIs keep to, and longer than any client tries again."""

TAKEN_OVER = dt.timedelta(seconds=60)
"""A request that has not been answered by then died with its server, or its answer makes nothing twice anyway."""


@dataclass(frozen=True)
class Answer:
    """What was answered."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class Reservation:
    """What became of a key. ``reserved_id``: the name of what is made, the same each time it is tried.

    ``mine``: nobody else is at it, so go on. ``answer``: it was answered. Neither: somebody is at it.
    """

    reserved_id: str
    fingerprint: str
    mine: bool
    answer: Answer | None


def reserve(engine: Engine, owner: str, key: str, fingerprint: str, new_id: str) -> Reservation:
    """Take a key, or learn what became of it; ``StoreError`` where the store cannot be written."""
    moment = now()
    this = _this(owner, key)
    with transaction(engine) as session:
        wait_for_writers(session)
        session.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < moment - KEPT))
        row = session.execute(
            select(
                IdempotencyRow.reserved_id, IdempotencyRow.fingerprint, IdempotencyRow.status, IdempotencyRow.headers,
                IdempotencyRow.body, IdempotencyRow.created_at,
            ).where(*this)
        ).one_or_none()  # fmt: skip
        if row is None:
            session.execute(insert(IdempotencyRow), {
                "owner": owner, "key": key, "fingerprint": fingerprint, "reserved_id": new_id, "created_at": moment,
            })  # fmt: skip
            return Reservation(new_id, fingerprint, mine=True, answer=None)
        if row.status is not None:
            answer = Answer(row.status, row.headers or {}, row.body or "")
            return Reservation(row.reserved_id, row.fingerprint, mine=False, answer=answer)
        mine = row.fingerprint == fingerprint and row.created_at <= moment - TAKEN_OVER
        if mine:
            session.execute(update(IdempotencyRow).where(*this).values(created_at=moment))
        return Reservation(row.reserved_id, row.fingerprint, mine=mine, answer=None)


def keep(engine: Engine, owner: str, key: str, status: int, headers: Mapping[str, str], body: str) -> None:
    """Remember what was answered; ``StoreError`` where the store cannot be written."""
    with transaction(engine) as session:
        session.execute(
            update(IdempotencyRow)
            .where(*_this(owner, key))
            .values(status=status, headers=dict(headers), body=body)
        )  # fmt: skip


def free(engine: Engine, owner: str, key: str) -> None:
    """Let the next request with this key try again, for the same ``reserved_id``."""
    with transaction(engine) as session:
        session.execute(
            update(IdempotencyRow)
            .where(*_this(owner, key), IdempotencyRow.status.is_(None))
            .values(created_at=now() - TAKEN_OVER)
        )


def _this(owner: str, key: str) -> tuple[ColumnElement[bool], ...]:
    return IdempotencyRow.owner == owner, IdempotencyRow.key == key
