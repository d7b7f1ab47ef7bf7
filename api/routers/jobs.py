"""``/v1/jobs``: what is queued, what runs, what became of it, and events while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import Header, Path, Query, Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from api.answers import JobAnswer, JobDetails, JobList, job_answer, job_details
from api.jobs import queue
from api.jobs.types import FINAL, JobKind, JobState
from api.pages import IdCursor, Limit, next_path, paged
from api.problems import named_in_path
from api.routers.plans import cancel
from api.routing import READERS, Maker, Reader, Store, v1_router

router = v1_router("jobs")

PING_S = 15
"""Between signs of life of a stream: proxies commonly close what is silent for a minute."""

JobId = Annotated[str, Path(max_length=64)]
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Events until it has ended"},
    204: {"description": "The last event was seen already: do not connect again"},
}


@router.get("/jobs", response_model=JobList)
def list_jobs(
    request: Request,
    caller: Reader,
    engine: Store,
    kind: Annotated[JobKind | None, Query()] = None,
    status: Annotated[JobState | None, Query()] = None,
    mine: Annotated[bool, Query(description="only what this key asked for")] = False,
    limit: Limit = 50,
    cursor: IdCursor = None,
) -> Response:
    """List jobs, newest first."""
    page = queue.jobs(engine, kind, status, caller.actor if mine else None, limit, cursor)
    found = tuple(job_answer(job) for job in page.jobs)
    return paged(JobList(jobs=found, next_cursor=page.next_cursor, next=next_path(request, page.next_cursor)))


@router.get("/jobs/{job_id}", dependencies=[READERS])
def get_job(engine: Store, job_id: JobId) -> JobDetails:
    """Read a job: how far it is, what was asked, and what came of it."""
    with named_in_path("job", job_id):
        return job_details(queue.job(engine, job_id))


@router.delete("/jobs/{job_id}", response_model=None, status_code=204, responses={
    202: {"model": JobAnswer, "description": "It runs, and will stop soon"}, 204: {"description": "Cancelled"},
})  # fmt: skip
def cancel_job(request: Request, caller: Maker, job_id: JobId) -> Response:
    """Cancel a job of one's own; with the scope `admin` anybody's."""
    return cancel(request, caller, job_id)


@router.get("/jobs/{job_id}/events", dependencies=[READERS], response_model=None, responses=EVENTS)
async def watch_job(
    request: Request, engine: Store, job_id: JobId,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:  # fmt: skip
    """Follow a job by server-sent events: `progress` while it runs, then `done`, `failed` or `cancelled`.

    The first event says how far it is, so that nothing is missed by connecting late or again.
    """
    with named_in_path("job", job_id):
        await run_in_threadpool(queue.job, engine, job_id)
    if last_event_id in FINAL:
        return Response(status_code=204)
    return EventSourceResponse(_events(request, job_id), ping=PING_S)


async def _events(request: Request, job_id: str) -> AsyncIterator[ServerSentEvent]:
    engine, waiting = request.app.state.engine, request.app.state.waiting
    async for status in waiting.changes(job_id):
        final = status.state in FINAL
        answer = job_answer(await run_in_threadpool(queue.job, engine, job_id))
        yield ServerSentEvent(
            answer.model_dump_json(), event=status.state if final else "progress",
            id=status.state if final else f"{status.state}-{status.progress:.4f}",
        )  # fmt: skip
