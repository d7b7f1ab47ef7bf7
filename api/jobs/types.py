"""What a job is."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal

JobKind = Literal["plan", "simulation", "sweep", "replan", "deployment"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
"""``done``, ``failed`` and ``cancelled`` are final."""

FINAL: tuple[JobState, ...] = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class Job:
    """One piece of work that was asked for.

    ``request``: what its kind takes, as parsed JSON. ``problem``: why it failed, as RFC 9457 has it (title, status,
    detail, field, fix). ``plan_id``: of the saved plan, where it made one; ``result``: everything else it found.
    """

    id: str
    kind: JobKind
    request: dict[str, Any]
    state: JobState
    owner: str
    request_id: str | None
    attempts: int
    progress: float
    progress_label: str
    plan_id: str | None
    result: dict[str, Any] | None
    problem: dict[str, Any] | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


@dataclass(frozen=True)
class Claim:
    """A job that a worker holds; only who knows the ``lease`` may write what became of it."""

    job: Job
    lease: str


@dataclass(frozen=True)
class JobPage:
    """Some jobs, newest first, and the cursor that continues after them (None: these were the last)."""

    jobs: tuple[Job, ...]
    next_cursor: str | None
