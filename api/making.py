"""What is made by workers: a job in the queue first, then the answer, or where to ask for it."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from api import problems
from api.access.auth import Caller
from api.answers import PATHS, job_answer
from api.etags import FOR_EVER, tagged
from api.jobs import queue
from api.jobs.types import FINAL, Job, JobKind
from api.problems import Refused
from api.waiting import preferred_wait_s
from planner import audit

RETRY_S = "1"


async def made_by_job(
    request: Request, caller: Caller, kind: JobKind, document: dict[str, Any], new_id: str
) -> Response:
    """Queue a job called ``new_id`` and answer with what it made, or 202 where that takes longer than the caller waits.

    Raises ``Overloaded`` where too many jobs wait already, and ``StoreError``.
    """
    state = request.app.state
    wait_s, applied = preferred_wait_s(request)
    job = await run_in_threadpool(_submit, request, caller, kind, document, new_id)
    if state.supervisor is not None:
        state.supervisor.wake()
    if wait_s and job.state not in FINAL:
        await state.waiting.until_final(job.id, wait_s)
        job = await run_in_threadpool(queue.job, state.engine, job.id)
    answer = await _answer(request, job)
    if applied is not None:
        answer.headers["Preference-Applied"] = applied
    return answer


async def _answer(request: Request, job: Job) -> Response:
    if job.state == "failed":
        return problems.of_job(request, job.problem or {})
    if job.state == "cancelled":
        raise Refused(409, f"job {job.id} was cancelled", title="cancelled", fix="ask again")
    if job.state != "done":
        return not_yet(job)
    if job.kind == "plan" and job.plan_id is not None:
        text = await run_in_threadpool(request.app.state.plan_texts.read, job.plan_id)
        location = f"{PATHS['plan']}/{job.plan_id}"
    else:
        text, location = found_by(job), f"{PATHS[job.kind]}/{job.id}"
    return Response(text, 201, {"Location": location}, "application/json")


def not_yet(job: Job) -> Response:
    """202: how far the job is, and where to ask again."""
    answer = job_answer(job)
    return Response(answer.model_dump_json(), 202, {"Location": answer.url, "Retry-After": RETRY_S}, "application/json")


def how_far(job: Job) -> Response:
    """What is known of a job that has no answer: 202 while it can have one, 200 once it cannot."""
    if job.state not in FINAL:
        return not_yet(job)
    return Response(job_answer(job).model_dump_json(), 200, media_type="application/json")


def found_by(job: Job) -> str:
    """The result of a job that is done, with its id."""
    return json.dumps({"id": job.id, **(job.result or {})}, allow_nan=False)


def _submit(request: Request, caller: Caller, kind: JobKind, document: dict[str, Any], new_id: str) -> Job:
    state = request.app.state
    request_id = getattr(request.state, "request_id", None)
    job = queue.submit(
        state.engine, kind, document, caller.actor, request_id, new_id, most_queued=state.settings.most_queued
    )
    audit.record(
        state.engine, caller.actor, f"{kind}.request", job.id, request_id, {"kind": document.get("kind", kind)}
    )
    return job


def found_or_how_far(request: Request, kind: JobKind, job_id: str) -> Response:
    """What a job of this kind found, or how far it is; ``NotFound`` where there is no such job."""
    with problems.named_in_path(kind, job_id):
        job = queue.job(request.app.state.engine, job_id)
    if job.kind != kind:
        raise problems.NotFound(kind, job_id)
    if job.state != "done":
        return how_far(job)
    return tagged(request, found_by(job).encode(), job.id, cache=FOR_EVER)
