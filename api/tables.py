"""How jobs, workers, API keys and idempotency keys lie in the database, in the same metadata as facts and plans."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, Index
from sqlalchemy.orm import Mapped, mapped_column

from planner.tables import UtcDateTime
from profiles.tables import Base


class JobRow(Base):
    """Work that was asked for. It is here before any of it starts, and stays when it has ended.

    ``lease`` names the worker's claim and ``beat`` counts its signs of life: who watches a beat stand still for long
    enough, by a clock of its own, may take the job away. No moment of one machine is compared with another's.
    """

    __tablename__ = "jobs"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    request: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str]
    owner: Mapped[str]
    request_id: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    lease: Mapped[str | None]
    beat: Mapped[int] = mapped_column(default=0)
    cancelled: Mapped[bool] = mapped_column(default=False)
    progress: Mapped[float] = mapped_column(default=0.0)
    progress_label: Mapped[str] = mapped_column(default="")
    plan_id: Mapped[str | None]
    result: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    problem: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    started_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (Index(None, "state", "id"),)


class WorkersRow(Base):
    """Worker processes of one server or one ``gpuplan worker``, and when they were last known to live."""

    __tablename__ = "workers"

    id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    num_alive: Mapped[int]
    seen_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)


class ApiKeyRow(Base):
    """A key that may use the service: only a digest of its secret is kept."""

    __tablename__ = "api_keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    secret_digest: Mapped[str]
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    revoked_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)
    last_used_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)


class IdempotencyRow(Base):
    """A POST that may be repeated: what was asked under this key, and what was answered once it was.

    ``reserved_id`` names what the POST makes, so that making it again after a crash makes nothing new.
    """

    __tablename__ = "idempotency_keys"

    owner: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    reserved_id: Mapped[str]
    status: Mapped[int | None]
    headers: Mapped[dict[str, str] | None] = mapped_column(JSON(none_as_null=True))
    body: Mapped[str | None]
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index(None, "created_at"),)
