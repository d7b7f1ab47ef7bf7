"""API keys in the store: the only SQL of keys."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import Engine, insert, select, update

from api.access.keys import SCOPES, Key, new_secret
from api.tables import ApiKeyRow
from planner.errors import InvalidInput, UnknownName
from planner.identity import now
from profiles.db import reading, transaction, wait_for_writers

MOST_NAME = 100
"""Characters of a key's name: it is one column of a list, and part of every line of the audit log."""

_COLUMNS = (
    ApiKeyRow.id, ApiKeyRow.name, ApiKeyRow.secret_digest, ApiKeyRow.scopes, ApiKeyRow.created_at,
    ApiKeyRow.expires_at, ApiKeyRow.revoked_at, ApiKeyRow.last_used_at,
)  # fmt: skip


def create(engine: Engine, name: str, scopes: Sequence[str], expires_in: dt.timedelta | None) -> tuple[Key, str]:
    """Make a key and keep it. The text beside it is the only copy of its secret.

    Raises
    ------
    InvalidInput
        If the name is empty, long or not printable, a scope is unknown, or the end lies in the past or too far ahead.
    StoreError
        If the store cannot be written.
    """
    if not name.strip() or not name.isprintable() or len(name) > MOST_NAME:
        raise InvalidInput(f"must be 1 to {MOST_NAME} printable characters", field="name")
    unknown = [scope for scope in scopes if scope not in SCOPES]
    if unknown or not scopes:
        raise InvalidInput(
            f"{', '.join(unknown) or 'none'} given", field="scope", fix=f"choose from {', '.join(SCOPES)}"
        )
    created_at = now()
    key_id, text, digest = new_secret()
    key = Key(key_id, name, digest, tuple(s for s in SCOPES if s in scopes), created_at,
              _end(created_at, expires_in), None, None)  # fmt: skip
    row = {"id": key.id, "name": key.name, "secret_digest": key.digest, "scopes": list(key.scopes),
           "created_at": key.created_at, "expires_at": key.expires_at}  # fmt: skip
    with transaction(engine) as session:
        wait_for_writers(session)
        session.execute(insert(ApiKeyRow), row)
    return key, text


def keys(engine: Engine) -> tuple[Key, ...]:
    """Every key there was, oldest first; ``StoreError`` where the store cannot be read."""
    query = select(*_COLUMNS).order_by(ApiKeyRow.created_at, ApiKeyRow.id)
    with reading(engine) as session:
        return tuple(
            Key(key_id, name, digest, tuple(scopes), created_at, expires_at, revoked_at, last_used_at)
            for key_id, name, digest, scopes, created_at, expires_at, revoked_at, last_used_at in session.execute(query)
        )


def revoke(engine: Engine, key_id: str) -> Key:
    """End a key now. One that has ended already stays as it is.

    Raises
    ------
    UnknownName
        If there is no key of that id.
    StoreError
        If the store cannot be written.
    """
    live = ApiKeyRow.id == key_id, ApiKeyRow.revoked_at.is_(None)
    with transaction(engine) as session:
        wait_for_writers(session)
        session.execute(update(ApiKeyRow).where(*live).values(revoked_at=now()))
    found = {key.id: key for key in keys(engine)}
    if key_id not in found:
        raise UnknownName("key", key_id, found, fix="`gpuplan keys list` shows the ids")
    return found[key_id]


def record_use(engine: Engine, key_id: str, moment: dt.datetime) -> None:
    """Keep when a key was last used; ``StoreError`` where the store cannot be written."""
    with transaction(engine) as session:
        session.execute(update(ApiKeyRow).where(ApiKeyRow.id == key_id).values(last_used_at=moment))


def any_live(engine: Engine) -> bool:
    """Whether some key lets someone in; ``StoreError`` where the store cannot be read."""
    moment = now()
    return any(key.is_live(moment) for key in keys(engine))


def _end(created_at: dt.datetime, expires_in: dt.timedelta | None) -> dt.datetime | None:
    if expires_in is None:
        return None
    try:
        end = created_at + expires_in
    except OverflowError:
        end = None
    if end is None or end <= created_at:
        raise InvalidInput("must lie between now and the year 9999", field="expires")
    return end
