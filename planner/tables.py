"""How saved specs and plans lie in the database, beside the facts and in the same metadata."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, Index, TypeDecorator
from sqlalchemy.orm import Mapped, mapped_column

from profiles.tables import Base


class UtcDateTime(TypeDecorator[dt.datetime]):
    """A moment in UTC. SQLite keeps no time zone, so what it gives back is labelled here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:  # noqa: ARG002
        """Convert to UTC; a naive moment is a defect of the caller and raises ``ValueError``."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment without a time zone cannot be stored")
        return None if value is None else value.astimezone(dt.UTC)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:  # noqa: ARG002
        """Give it back aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class SavedSpecRow(Base):
    """What was asked; ``id`` is the digest of kind and spec, so asking twice saves once."""

    __tablename__ = "saved_specs"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    name: Mapped[str | None]
    spec: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)


class SavedPlanRow(Base):
    """What was answered; ``outcome``, ``objective`` and ``profile_digest`` repeat the plan's own, to list by."""

    __tablename__ = "saved_plans"

    id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    spec_id: Mapped[str] = mapped_column(ForeignKey("saved_specs.id"))
    outcome: Mapped[str]
    objective: Mapped[float | None]
    profile_digest: Mapped[str]
    plan: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)

    __table_args__ = (Index(None, "created_at", "id"),)


class ServiceRow(Base):
    """A service that is planned again every night; ``version`` counts its changes, so that two editors notice.

    ``running``: the instances that run, by hour, as its last decision left them.
    """

    __tablename__ = "services"

    name: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[int]
    service: Mapped[dict[str, Any]] = mapped_column(JSON)
    running: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)


class DecisionRow(Base):
    """What a night's re-planning decided for a service: one per service and date."""

    __tablename__ = "decisions"

    service: Mapped[str] = mapped_column(primary_key=True)
    date: Mapped[dt.date] = mapped_column(primary_key=True)
    decision: Mapped[str]
    plan_id: Mapped[str | None] = mapped_column(ForeignKey("saved_plans.id"))
    report: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)


class DeploymentRow(Base):
    """One application of a plan to a target; ``journal`` says how far it came. Rows are never deleted: the history."""

    __tablename__ = "deployments"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    target: Mapped[str]
    plan_id: Mapped[str] = mapped_column(ForeignKey("saved_plans.id"))
    purpose: Mapped[str]
    state: Mapped[str]
    reason: Mapped[str]
    journal: Mapped[list[Any]] = mapped_column(JSON)
    created_at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    finished_at: Mapped[dt.datetime | None] = mapped_column(UtcDateTime)

    __table_args__ = (Index(None, "name", "target", "id"),)


class AuditRow(Base):
    """Who did what; ``id`` begins with the moment, so that ids sort by time."""

    __tablename__ = "audit"

    id: Mapped[str] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(UtcDateTime)
    actor: Mapped[str]
    action: Mapped[str]
    subject: Mapped[str]
    request_id: Mapped[str | None]
    detail: Mapped[dict[str, Any]] = mapped_column(JSON)
