"""``/v1/plans``: every planner through one door."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress
from typing import Annotated, Any

from fastapi import Body, Header, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from api.answers import PATHS, Files, JobAnswer, PlanCheck, PlanEntry, PlanList, SavedPlan, job_answer
from api.etags import ASK_AGAIN, FOR_EVER, tagged
from api.examples import PLAN_REQUESTS
from api.idempotency import MAY_REPEAT, once
from api.jobs import queue
from api.making import how_far, made_by_job
from api.pages import Cursor, Limit, next_path, paged
from api.problems import NotFound, Refused, named_in_path
from api.requests import PlanRequest, as_document
from api.routing import READERS, Maker, Store, v1_router
from api.waiting import MAY_WAIT
from planner import audit, store
from planner.documents import validated
from planner.errors import Conflict, InvalidInput, UnknownName
from planner.registry import PLANNERS, planner_for
from planner.types import Plan, View
from profiles.types import content_digest

router = v1_router("plans")

MOST_VIEWED_HERE_BYTES = 2**20
"""Plans up to this size are read and drawn in a few hundredths of a second; larger ones in a process of their own."""

PlanId = Annotated[str, Path(max_length=64, description="of a saved plan, or of the job that makes one")]

MADE: dict[int | str, dict[str, Any]] = {
    201: {"model": SavedPlan, "description": "The plan, saved at `Location`. `infeasible` is an outcome too"},
    202: {"model": JobAnswer, "description": "Not done yet: ask again at `Location`"},
}
READ: dict[int | str, dict[str, Any]] = {
    200: {"model": SavedPlan | JobAnswer, "description": "The plan, or why there will be none"},
    202: {"model": JobAnswer, "description": "Not done yet"},
    304: {"description": "The same as `If-None-Match` says"},
}


@router.post("/plans", dependencies=[MAY_WAIT, MAY_REPEAT], status_code=201, response_model=None, responses=MADE)
async def create_plan(
    request: Request,
    caller: Maker,
    body: Annotated[PlanRequest, Body(openapi_examples=PLAN_REQUESTS)],
) -> Response:
    """Plan: answers with the plan when it is done within the time that `Prefer` says, else with where to ask.

    Specs are whole here: what a spec file may leave to other files (traces, links, series) has to be in them.
    """
    check_time_limit(request, body.time_limit_s)

    async def make(new_id: str) -> Response:
        return await made_by_job(request, caller, "plan", as_document(body), new_id)

    return await once(request, caller, make)


@router.get("/plans", dependencies=[READERS], response_model=PlanList)
def list_plans(
    request: Request,
    engine: Store,
    kind: Annotated[
        str | None, Query(description="only plans of this planner", json_schema_extra={"enum": [*PLANNERS]})
    ] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """List saved plans, newest first."""
    if kind is not None:
        planner_for(kind)
    page = store.list_plans(engine, kind, limit, cursor)
    entries = tuple(
        PlanEntry(
            id=p.id, kind=p.kind, name=p.name, spec_id=p.spec_id, outcome=p.outcome, objective=p.objective,
            profile_digest=p.profile_digest, created_at=p.created_at, url=f"{PATHS['plan']}/{p.id}",
        )
        for p in page.plans
    )  # fmt: skip
    following = next_path(request, page.next_cursor)
    return paged(PlanList(plans=entries, next_cursor=page.next_cursor, next=following))


@router.get("/plans/{plan_id}", dependencies=[READERS], response_model=None, responses=READ)
async def get_plan(request: Request, plan_id: PlanId) -> Response:
    """Read a saved plan by its id, or by the id of the job that makes it."""
    texts = request.app.state.plan_texts
    text = texts.kept(plan_id)
    if text is not None:
        return tagged(request, text, plan_id, cache=FOR_EVER)
    return await run_in_threadpool(_plan_or_job, request, plan_id)


@router.delete("/plans/{plan_id}", response_model=None, status_code=204, responses={
    202: {"model": JobAnswer, "description": "It runs, and will stop soon"}, 204: {"description": "Cancelled"},
})  # fmt: skip
def cancel_plan(request: Request, caller: Maker, engine: Store, plan_id: PlanId) -> Response:
    """Cancel the making of a plan. Plans that are made stay: 409."""
    try:
        store.load_plan(engine, plan_id)
    except UnknownName:
        return cancel(request, caller, plan_id)
    raise Conflict(f"plan {plan_id} is made", fix="cancel only what is queued or running")


@router.get("/plans/{plan_id}/check", dependencies=[READERS], responses={304: READ[304]}, response_model=PlanCheck)
async def check_plan(request: Request, plan_id: PlanId) -> Response:
    """Check a plan again, independently, against what the store knows now."""
    state = request.app.state
    plan_id = await run_in_threadpool(id_in_path, request, plan_id)
    digest = (await run_in_threadpool(state.facts.read)).digest
    text = await state.checks.read(plan_id, digest)
    return tagged(request, text, f"{plan_id}-{digest}", cache=ASK_AGAIN)


@router.get("/plans/{plan_id}/view", dependencies=[READERS], response_model=View, responses={304: READ[304]})
async def view_plan(request: Request, plan_id: PlanId) -> Response:
    """Read what people see of a plan: a headline, facts, tables and notes, already formatted."""
    state = request.app.state
    plan_id = await run_in_threadpool(id_in_path, request, plan_id)
    text = await run_in_threadpool(state.plan_texts.read, plan_id)
    if len(text) <= MOST_VIEWED_HERE_BYTES:
        shown = await run_in_threadpool(viewed, text)
    else:
        shown = await state.apart.run(viewed, text)
    return tagged(request, shown, content_digest(shown.decode()))


ZIP = {"schema": {"type": "string", "format": "binary"}}


@router.get("/plans/{plan_id}/render", dependencies=[READERS], response_model=None, responses={
    200: {"model": Files, "description": "Files by name; as one archive with `Accept: application/zip`",
          "content": {"application/zip": ZIP}}, 304: READ[304],
})  # fmt: skip
async def render_plan(
    request: Request,
    plan_id: PlanId,
    target: Annotated[str, Query(min_length=1, max_length=100, description="as `GET /v1/planners/{kind}` lists")],
    accept: Annotated[str | None, Header()] = None,
) -> Response:
    """Render a plan as the files that another system reads."""
    plan_id = await run_in_threadpool(id_in_path, request, plan_id)
    text = await run_in_threadpool(request.app.state.plan_texts.read, plan_id)
    files = await request.app.state.apart.run(rendered, text, target)
    tag = f"{plan_id}-{target.encode().hex()}"
    if "application/zip" in (accept or ""):
        name = {"Content-Disposition": f'attachment; filename="{plan_id}.zip"'}
        return tagged(request, _zipped(files), f"{tag}-zip", media_type="application/zip", headers=name)
    return tagged(request, Files(target=target, files=files).model_dump_json().encode(), tag)


def check_time_limit(request: Request, time_limit_s: float) -> None:
    """Refuse a solve that may take longer than this server allows."""
    most_s = request.app.state.settings.most_time_limit_s
    if time_limit_s > most_s:
        raise InvalidInput(f"{time_limit_s:g} s is more than the {most_s:g} s that this server allows",
                           field="time_limit_s", fix="ask for less, or raise GPUPLAN_MOST_TIME_LIMIT_S")  # fmt: skip


def cancel(request: Request, caller: Maker, job_id: str) -> Response:
    """Cancel a job: 204 where it has not begun, 202 where its worker has to stop first."""
    engine = request.app.state.engine
    with named_in_path("job", job_id):
        job = queue.job(engine, job_id)
        if job.owner != caller.actor and not caller.may("admin"):
            raise Refused(403, "this was asked for by somebody else", fix="use their key, or one with the scope admin")
        job = queue.cancel(engine, job_id)
    audit.record(engine, caller.actor, f"{job.kind}.cancel", job.id, getattr(request.state, "request_id", None))
    if job.state == "cancelled":
        return Response(status_code=204)
    return Response(job_answer(job).model_dump_json(), 202, media_type="application/json")


def saved_id(request: Request, plan_id: str, field: str | None = None) -> str:
    """The id of the saved plan that is meant by its own or its job's id.

    Raises ``UnknownName`` at ``field`` where there is neither, and ``Conflict`` where the job has not made it.
    """
    texts = request.app.state.plan_texts
    with suppress(UnknownName):
        texts.read(plan_id)
        return plan_id
    try:
        job = queue.job(request.app.state.engine, plan_id)
    except UnknownName:
        raise UnknownName("plan", plan_id, (), field=field) from None
    if job.plan_id is None:
        raise Conflict(f"there is no plan yet: job {plan_id} is {job.state}", field=field, fix="wait until it is done")
    return job.plan_id


def id_in_path(request: Request, plan_id: str) -> str:
    """As ``saved_id``, of a plan that the path names; ``NotFound`` where there is none."""
    with named_in_path("plan", plan_id):
        return saved_id(request, plan_id)


def as_plan(text: bytes) -> Plan:
    """The plan in a saved text."""
    document = json.loads(text)
    del document["id"]
    plan: Plan = validated(PLANNERS[document["kind"]].plan_type, document, "plan")
    return plan


def viewed(text: bytes) -> bytes:
    """The view of a plan in a saved text, as JSON."""
    plan = as_plan(text)
    return planner_for(plan.kind).view(plan).model_dump_json().encode()


def rendered(text: bytes, target: str) -> dict[str, str]:
    """Files of a plan for a target; raises what ``planner.render.targets.render_plan`` raises."""
    from planner.render import targets  # only where something is rendered: it draws pictures too

    try:
        return targets.render_plan(as_plan(text), target)
    except UnknownName as error:
        raise InvalidInput(error.detail, field="target", fix=error.fix) from None


def _plan_or_job(request: Request, plan_id: str) -> Response:
    state = request.app.state
    try:
        return tagged(request, state.plan_texts.read(plan_id), plan_id, cache=FOR_EVER)
    except UnknownName:
        pass
    try:
        job = queue.job(state.engine, plan_id)
    except UnknownName:
        raise NotFound("plan", plan_id) from None
    if job.kind != "plan":
        raise NotFound("plan", plan_id)
    if job.plan_id is None:
        return how_far(job)
    made_at = {"Content-Location": f"{PATHS['plan']}/{job.plan_id}"}
    return tagged(request, state.plan_texts.read(job.plan_id), job.plan_id, headers=made_at)


def _zipped(files: dict[str, str]) -> bytes:
    """The files as an archive; the same files give the same bytes."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(_safe(name)), text)
    return out.getvalue()


def _safe(name: str) -> str:
    """A name that stays inside of where the archive is unpacked."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
    return "/".join(parts).replace(":", "_") or "file"
