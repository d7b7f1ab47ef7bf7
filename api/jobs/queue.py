"""The queue of jobs in the store: the only SQL of jobs.

A claim carries a lease that is new each time, and every later statement of the worker names it: a worker that has lost
its job changes nothing any more. Time is left out: watchers compare beats (see ``take_away``), each by its own clock.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection
from contextlib import suppress
from dataclasses import fields
from typing import Any, Literal

from sqlalchemy import Engine, Update, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api.jobs.types import FINAL, Claim, Depth, Held, Job, JobKind, JobPage, JobState, JobSummary, Status
from api.tables import JobRow
from planner.errors import Conflict, GpuplanError, InvalidInput, Overloaded, UnknownName
from planner.identity import new_id, now
from profiles.db import reading, transaction
from profiles.tables import Base

MOST_LABEL = 200
"""Characters of a progress label that are kept: it is one line on a screen."""

# Statements on the table, not on the class: they cost half, and a queue is statements.
_JOBS = Base.metadata.tables[JobRow.__tablename__]
_c = _JOBS.c
_SUMMARY = [_c[field.name] for field in fields(JobSummary)]
_JOB = [_c[field.name] for field in fields(Job)]
_OLDEST = select(_c.id).where(_c.state == "queued").order_by(_c.id).limit(1)
_TAKE_OLDEST = (
    update(_JOBS)
    .where(_c.id == _OLDEST.with_for_update(skip_locked=True).scalar_subquery())
    .values(state="running", lease=bindparam("new_lease"), attempts=_c.attempts + 1, started_at=bindparam("moment"),
            progress=0.0, progress_label="")
    .returning(*_JOB)
)  # fmt: skip
"""Two that run this at once never get the same job: PostgreSQL skips rows that are locked, SQLite has one writer."""


def submit(
    engine: Engine, kind: JobKind, request: dict[str, Any], owner: str, request_id: str | None = None,
    job_id: str | None = None, *, most_queued: int,
) -> Job:  # fmt: skip
    """Put a job in the queue; it is there, whatever happens next, when this returns.

    With a ``job_id`` that exists nothing is made and that job comes back, so that asking again after a crash is safe.

    Raises
    ------
    Overloaded
        If ``most_queued`` jobs wait already.
    StoreError
        If the store cannot be written.
    """
    name = job_id or new_id()
    row = {"id": name, "kind": kind, "request": request, "state": "queued", "owner": owner, "request_id": request_id,
           "created_at": now()}  # fmt: skip
    # Two may make the same name at once: the second finds the first one's job.
    with suppress(IntegrityError), transaction(engine) as session:
        exists = session.scalar(select(_c.id).where(_c.id == name)) is not None
        if not exists:
            if _num_in(session, "queued") >= most_queued:
                raise Overloaded(f"{most_queued} jobs wait already", fix="try again later, or start more workers")
            session.execute(insert(_JOBS), row)
    return job(engine, name)


def job(engine: Engine, job_id: str) -> Job:
    """The job of that id; ``UnknownName`` where there is none, ``StoreError`` where the store cannot be read."""
    with reading(engine) as session:
        row = session.execute(select(*_JOB).where(_c.id == job_id)).one_or_none()
    if row is None:
        raise UnknownName("job", job_id, ())
    return Job(*row)


def jobs(
    engine: Engine, kind: JobKind | None = None, state: JobState | None = None, owner: str | None = None,
    limit: int = 50, cursor: str | None = None,
) -> JobPage:  # fmt: skip
    """The newest jobs (of a kind, state or owner), ``limit`` of them, from where ``cursor`` of the page before points.

    Raises
    ------
    InvalidInput
        If ``limit`` is not in 1..1000.
    StoreError
        If the store cannot be read.
    """
    if not 1 <= limit <= 1000:
        raise InvalidInput(f"must lie in 1..1000, not {limit}", field="limit")
    query = select(*_SUMMARY).order_by(_c.id.desc()).limit(limit + 1)
    for column, wanted in ((_c.kind, kind), (_c.state, state), (_c.owner, owner)):
        if wanted is not None:
            query = query.where(column == wanted)
    if cursor is not None:
        query = query.where(_c.id < cursor)
    with reading(engine) as session:
        found = tuple(JobSummary(*row) for row in session.execute(query))
    return JobPage(found[:limit], found[limit - 1].id if len(found) > limit else None)


def states(engine: Engine, ids: Collection[str]) -> dict[str, Status]:
    """How far these jobs are, in one query; those that do not exist are left out."""
    with reading(engine) as session:
        found = session.execute(select(_c.id, _c.state, _c.progress, _c.progress_label).where(_c.id.in_(ids)))
        return {job_id: Status(*status) for job_id, *status in found}


def depth(engine: Engine) -> Depth:
    """How much work waits and runs."""
    with reading(engine) as session:
        queued, running = _num_in(session, "queued"), _num_in(session, "running")
        oldest = session.scalar(select(_c.created_at).where(_c.state == "queued").order_by(_c.id).limit(1))
    return Depth(queued, running, max(0.0, (now() - oldest).total_seconds()) if oldest else 0.0)


def cancel(engine: Engine, job_id: str) -> Job:
    """Cancel a job: at once where it waits; where it runs, its worker learns of it with its next beat.

    Raises
    ------
    Conflict
        If it has ended.
    UnknownName
        If there is none.
    StoreError
        If the store cannot be written.
    """
    with transaction(engine) as session:
        state = session.scalar(select(_c.state).where(_c.id == job_id).with_for_update())
        if state is None:
            raise UnknownName("job", job_id, ())
        if state in FINAL:
            raise Conflict(f"job {job_id} is {state} already", fix="cancel only what is queued or running")
        changes = {"state": "cancelled", "finished_at": now()} if state == "queued" else {}
        session.execute(update(_JOBS).where(_c.id == job_id).values(cancelled=True, **changes))
    return job(engine, job_id)


def claim(engine: Engine, worker: str) -> Claim | None:
    """Take the oldest job that waits; None where none does. The lease begins with the name of the worker."""
    lease = f"{worker}/{new_id()}"
    with transaction(engine) as session:
        row = session.execute(_TAKE_OLDEST, {"new_lease": lease, "moment": now()}).one_or_none()
    return None if row is None else Claim(Job(*row), lease)


def beat(engine: Engine, claim: Claim, progress: float, label: str) -> Literal["go on", "cancel", "lost"]:
    """Give a sign of life, and learn whether to go on, to stop because somebody cancelled, or that the job is lost."""
    told = {"progress": progress, "progress_label": label[:MOST_LABEL]}
    with transaction(engine) as session:
        cancelled = session.scalar(_of(claim).values(beat=_c.beat + 1, **told).returning(_c.cancelled))
    return "lost" if cancelled is None else "cancel" if cancelled else "go on"


def finish(
    engine: Engine, claim: Claim, plan_id: str | None = None, result: dict[str, Any] | None = None
) -> JobState | None:
    """End a job as done; None, and nothing changed, where the worker has lost it."""
    return _end(engine, claim, "done", plan_id=plan_id, result=result, progress=1.0)


def fail(engine: Engine, claim: Claim, problem: dict[str, Any]) -> JobState | None:
    """End a job as failed, with the reason; None, and nothing changed, where the worker has lost it."""
    return _end(engine, claim, "failed", problem=problem)


def stop(engine: Engine, claim: Claim) -> JobState | None:
    """End a job as cancelled; None, and nothing changed, where the worker has lost it."""
    return _end(engine, claim, "cancelled")


def give_back(engine: Engine, claim: Claim) -> JobState | None:
    """Queue a job again without counting the attempt: its worker has to go. One that was cancelled ends as that.

    None, and nothing changed, where the worker has lost it.
    """
    with transaction(engine) as session:
        if (found := _still(session, claim.job.id, claim.lease)) is None:
            return None
        state: JobState = "cancelled" if found.cancelled else "queued"
        return _leave(session, claim.job.id, state, attempts=found.attempts - 1)


def again(engine: Engine, claim: Claim, most_attempts: int, problem: dict[str, Any]) -> JobState | None:
    """Queue a job again that could not be done this time; after ``most_attempts`` it has failed with ``problem``.

    None, and nothing changed, where the worker has lost it.
    """
    with transaction(engine) as session:
        if (found := _still(session, claim.job.id, claim.lease)) is None:
            return None
        return _again(session, claim.job.id, found, most_attempts, problem)


def running(engine: Engine) -> tuple[Held, ...]:
    """The jobs that workers hold, with the beat of each."""
    held = select(_c.id, _c.lease, _c.beat).where(_c.state == "running")
    with reading(engine) as session:
        return tuple(Held(*row) for row in session.execute(held))


def take_away(engine: Engine, held: Held, most_attempts: int, reason: str) -> JobState | None:
    """Free a job from a worker that is dead: it is queued again, or, after ``most_attempts``, failed with ``reason``.

    Call this when the same ``held`` was seen for longer than a lease lasts, or when the worker is known to be dead.
    Nothing happens, and None comes back, where the worker has given a sign of life, or ended the job, since.
    """
    with transaction(engine) as session:
        if (found := _still(session, held.id, held.lease, held.beat)) is None:
            return None
        times = "once" if found.attempts == 1 else f"{found.attempts} times"
        problem = {
            "title": GpuplanError.title, "status": GpuplanError.http_status, "field": None,
            "detail": f"the job was begun {times} and never ended: {reason}",
            "fix": "ask for less at once, or give the workers more memory",
        }  # fmt: skip
        return _again(session, held.id, found, most_attempts, problem)


def prune(engine: Engine, before: dt.datetime) -> int:
    """Forget the jobs that ended before that moment; their plans stay. How many there were."""
    old = delete(_JOBS).where(_c.state.in_(FINAL), _c.finished_at < before).returning(_c.id)
    with transaction(engine) as session:
        return len(session.scalars(old).all())


def _num_in(session: Session, state: JobState) -> int:
    return session.scalar(select(func.count()).select_from(_JOBS).where(_c.state == state)) or 0


def _still(session: Session, job_id: str, lease: str, beat: int | None = None) -> Any:
    """Attempts and cancellation of a job that is held by this lease (with this beat), locked; None: not any more."""
    query = select(_c.attempts, _c.cancelled).where(_c.id == job_id, _c.lease == lease, _c.state == "running")
    if beat is not None:
        query = query.where(_c.beat == beat)
    return session.execute(query.with_for_update()).one_or_none()


def _again(session: Session, job_id: str, found: Any, most_attempts: int, problem: dict[str, Any]) -> JobState:
    if found.cancelled:
        return _leave(session, job_id, "cancelled")
    if found.attempts < most_attempts:
        return _leave(session, job_id, "queued")
    return _leave(session, job_id, "failed", problem=problem)


def _leave(session: Session, job_id: str, state: JobState, **changes: Any) -> JobState:
    session.execute(update(_JOBS).where(_c.id == job_id).values(_left(state) | changes))
    return state


def _end(engine: Engine, claim: Claim, state: JobState, **changes: Any) -> JobState | None:
    with transaction(engine) as session:
        ended = session.scalar(_of(claim).values(_left(state) | changes).returning(_c.id)) is not None
    return state if ended else None


def _of(claim: Claim) -> Update:
    """A change of the job as long as this claim holds it."""
    return update(_JOBS).where(_c.id == claim.job.id, _c.lease == claim.lease, _c.state == "running")


def _left(state: JobState) -> dict[str, Any]:
    return {"state": state, "lease": None, "finished_at": now() if state in FINAL else None}
