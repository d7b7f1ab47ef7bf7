"""What operators ask of the store, and signs of life of workers in it: the only SQL of operations."""

from __future__ import annotations

import datetime as dt
import socket

from sqlalchemy import Engine, delete, func, insert, select, text, update

from api.tables import WorkersRow
from planner.identity import now
from profiles.db import SCHEMA_REVISION, reading, transaction

SEEN_EVERY_S = 10.0
"""Between two signs of life."""

SEEN_WITHIN = dt.timedelta(seconds=45)
"""Workers are taken for alive for so long after a sign: four may be missed, or the clocks of two machines differ by
half a minute. Only readiness and metrics depend on it; leases of jobs use no clock.
"""

_FORGOTTEN = dt.timedelta(days=1)


def is_current(engine: Engine) -> bool:
    """Whether the schema is this version's; ``StoreError`` where the store cannot be read."""
    with reading(engine) as session:
        return bool(session.scalar(text("SELECT version_num FROM alembic_version")) == SCHEMA_REVISION)


def sign_of_life(engine: Engine, workers_id: str, num_alive: int) -> None:
    """Say that so many worker processes under this id live; ``StoreError`` where the store cannot be written."""
    row = {"host": socket.gethostname(), "num_alive": num_alive, "seen_at": now()}
    with transaction(engine) as session:
        mine = update(WorkersRow).where(WorkersRow.id == workers_id).values(row).returning(WorkersRow.id)
        if session.scalar(mine) is None:
            session.execute(insert(WorkersRow), {"id": workers_id, **row})
            session.execute(delete(WorkersRow).where(WorkersRow.seen_at < now() - _FORGOTTEN))


def sign_off(engine: Engine, workers_id: str) -> None:
    """Say that the workers under this id are gone; ``StoreError`` where the store cannot be written."""
    with transaction(engine) as session:
        session.execute(delete(WorkersRow).where(WorkersRow.id == workers_id))


def num_alive(engine: Engine) -> int:
    """Worker processes alive on all machines, as far as is known; ``StoreError`` where the store cannot be read."""
    query = select(func.coalesce(func.sum(WorkersRow.num_alive), 0))
    with reading(engine) as session:
        return int(session.scalar(query.where(WorkersRow.seen_at > now() - SEEN_WITHIN)) or 0)
