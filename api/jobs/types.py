"""What a job is."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

JobKind = Literal["plan", "simulation", "sweep", "validation", "replan", "deployment"]
JobState = Literal["queued", "running", "done", "failed", "cancelled"]
"""``done``, ``failed`` and ``cancelled`` are final."""

FINAL: tuple[JobState, ...] = ("done", "failed", "cancelled")


@dataclass(frozen=True)
class JobSummary:
    """What a list shows of a job.

    ``problem``: why it failed, as RFC 9457 has it (title, status, detail, field, fix). ``plan_id``: of the saved plan,
    where it made one. ``progress`` is a share of 1.
    """

    id: str
    kind: JobKind
    state: JobState
    owner: str
    request_id: str | None
    attempts: int
    progress: float
    progress_label: str
    plan_id: str | None
    problem: dict[str, Any] | None
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None


@dataclass(frozen=True)
class Job(JobSummary):
    """One piece of work that was asked for.

    ``request``: what its kind takes, as parsed JSON. ``result``: what it found beside a plan, as its kind says.
    """

    request: dict[str, Any]
    result: dict[str, Any] | None


@dataclass(frozen=True)
class Claim:
    """A job that a worker holds; only who knows the ``lease`` may write what became of it."""

    job: Job
    lease: str


@dataclass(frozen=True)
class JobPage:
    """Some jobs, newest first, and the cursor that continues after them (None: these were the last)."""

    jobs: tuple[JobSummary, ...]
    next_cursor: str | None


class Status(NamedTuple):
    """How far a job is."""

    state: JobState
    progress: float
    label: str


class Held(NamedTuple):
    """A running job as a watcher sees it: a beat that stands still under the same lease is a sign of death."""

    id: str
    lease: str
    beat: int


class Depth(NamedTuple):
    """How much work there is; ``oldest_queued_s`` is how long the first in the queue has waited (0: none waits)."""

    queued: int
    running: int
    oldest_queued_s: float
