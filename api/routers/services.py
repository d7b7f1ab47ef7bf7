"""``/v1/services``: what is planned every night, and what was decided; ``/v1/replans``: plan it now."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import Body, Header, Path, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.access.auth import Caller
from api.access.errors import Forbidden
from api.answers import JobAnswer
from api.etags import tagged
from api.examples import SPECS
from api.idempotency import MAY_REPEAT, once
from api.making import made_by_job
from api.pages import Limit, next_link
from api.problems import Refused, named_in_path
from api.requests import as_document
from api.routers.plans import check_time_limit
from api.routing import READERS, Maker, Provisioner, Store, v1_router
from api.waiting import MAY_WAIT
from planner import audit
from planner.documents import validated
from planner.errors import Conflict, InvalidInput, UnknownName
from planner.identity import now
from planner.registry import planner_for
from planner.replan import store
from planner.replan.fleets import all_day, runnable
from planner.replan.refresh import check as check_sources
from planner.replan.report import Report
from planner.replan.request import ReplanJob, ReplanRequest
from planner.replan.service import Running, SavedService
from planner.replan.service_file import paths_of
from planner.store import load_plan
from planner.types import Frozen

router = v1_router("services")

Name = Annotated[str, Path(max_length=63)]
IfMatch = Annotated[str | None, Header(description="the ETag that was read; `*`: any")]


class ServiceAnswer(Frozen):
    """A saved service and what runs; ``version`` is its ETag."""

    name: str
    version: int
    service: SavedService
    running: Running | None
    created_at: dt.datetime
    updated_at: dt.datetime


class RunningRequest(Frozen):
    """What runs, all day."""

    plan_id: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        description="a saved serving plan; null: nothing runs"
    )


class ServiceList(Frozen):
    """Saved services, by name."""

    services: tuple[ServiceAnswer, ...]
    next_cursor: str | None
    next: str | None


class DecisionList(Frozen):
    """Decisions, newest first."""

    decisions: tuple[Report, ...]
    next_cursor: str | None
    next: str | None


class Replanned(Frozen):
    """What was decided, one report for each service."""

    id: str
    reports: tuple[Report, ...]


SERVICES: dict[str, Any] = {
    "hourly": {
        "summary": "a chat assistant, planned by the hour from rates that were observed",
        "value": {
            "name": "chat", "time_zone": "Europe/Berlin", "spec": SPECS["serving"],
            "demand": [{"service": SPECS["serving"]["services"][0]["name"],
                        "observed": {"start": "2026-03-01T00:00:00+01:00", "requests_per_s": [5.2, 4.8, 4.6, None]}}],
            "terms": {"mode": "hourly", "quantile": 0.95},
        },
    },
}  # fmt: skip
SAME: dict[int | str, dict[str, Any]] = {304: {"description": "The same as `If-None-Match` says"}}
MADE: dict[int | str, dict[str, Any]] = {
    201: {"model": Replanned, "description": "What was decided, kept at `Location`"},
    202: {"model": JobAnswer, "description": "Not done yet: ask again at `Location`"},
}


@router.get("/services", dependencies=[READERS])
def list_services(
    request: Request,
    response: Response,
    engine: Store,
    limit: Limit = 50,
    cursor: Annotated[str | None, Query(max_length=63, description="`next_cursor` of the page before")] = None,
) -> ServiceList:
    """List the services that are planned every night."""
    found = store.load_all(engine, limit + 1, cursor)
    after = found[limit - 1].name if len(found) > limit else None
    answers = tuple(_answer(stored) for stored in found[:limit])
    return ServiceList(services=answers, next_cursor=after, next=next_link(request, response, after))


@router.get("/services/{name}", dependencies=[READERS], response_model=ServiceAnswer, responses=SAME)
def get_service(request: Request, engine: Store, name: Name) -> Response:
    """Read a service and what runs; its ETag is what a change of it has to name."""
    with named_in_path("service", name):
        stored = store.load(engine, name)
    return tagged(request, _answer(stored).model_dump_json().encode(), str(stored.version))


@router.put("/services/{name}", response_model=ServiceAnswer, responses={
    201: {"model": ServiceAnswer, "description": "There was none of that name"},
})  # fmt: skip
def put_service(
    request: Request,
    caller: Maker,
    engine: Store,
    name: Name,
    body: Annotated[SavedService, Body(openapi_examples=SERVICES)],
    if_match: IfMatch = None,
) -> Response:
    """Save a service. To replace one, `If-Match` names the ETag that was read. What runs stays as it is.

    Files are read on the server, so naming any takes the scope `admin`; rates can be given as `observed` instead.
    """
    if body.name != name:
        raise InvalidInput(f"is {body.name!r}, the path says {name!r}", field="name", fix="make them the same")
    _check_paths(body, caller)
    check_sources(body.refresh)
    current = store.find(engine, name)
    with _named_version():
        stored = store.save(engine, body, _expected(current, if_match))
    _audit(request, caller, "service.save", stored)
    return _changed(stored, 201 if current is None else 200)


@router.put("/services/{name}/running", response_model=ServiceAnswer)
def put_running(
    request: Request,
    caller: Provisioner,
    engine: Store,
    name: Name,
    body: Annotated[RunningRequest, Body()],
    if_match: IfMatch = None,
) -> Response:
    """Say what runs, where it is not what was decided last; `If-Match` names the ETag that was read."""
    with named_in_path("service", name):
        current = store.load(engine, name)
        expected = _expected(current, if_match)
        now_runs = None if body.plan_id is None else _all_day(engine, body.plan_id)
        with _named_version():
            stored = store.set_running(engine, name, now_runs, expected)
    _audit(request, caller, "service.running", stored)
    return _changed(stored, 200)


@router.delete("/services/{name}", status_code=204, response_model=None)
def delete_service(request: Request, caller: Maker, engine: Store, name: Name, if_match: IfMatch = None) -> Response:
    """Forget a service and its decisions; `If-Match` names the ETag that was read. What runs goes on running."""
    with named_in_path("service", name):
        stored = store.load(engine, name)
        with _named_version():
            store.remove(engine, name, _expected(stored, if_match))
    _audit(request, caller, "service.delete", stored)
    return Response(status_code=204)


@router.get("/services/{name}/decisions", dependencies=[READERS])
def list_decisions(
    request: Request,
    response: Response,
    engine: Store,
    name: Name,
    limit: Limit = 50,
    cursor: Annotated[dt.date | None, Query(description="`next_cursor` of the page before: older days")] = None,
) -> DecisionList:
    """Read what was decided, night by night, newest first."""
    with named_in_path("service", name):
        found = store.decisions(engine, name, limit + 1, cursor)
    after = found[limit - 1].date.isoformat() if len(found) > limit else None
    return DecisionList(decisions=found[:limit], next_cursor=after, next=next_link(request, response, after))


@router.post("/replans", dependencies=[MAY_WAIT, MAY_REPEAT], status_code=201, response_model=None, responses=MADE)
async def create_replan(request: Request, caller: Maker, body: Annotated[ReplanRequest, Body()]) -> Response:
    """Plan services for a day: forecast, plan, compare with what runs, decide. A day that is decided stays as it is."""
    check_time_limit(request, body.options.solve.time_limit_s)
    known = await run_in_threadpool(store.names, request.app.state.engine)
    for i, name in enumerate(body.services or ()):
        if name not in known:
            raise InvalidInput(f"there is no service {name!r}", field=f"services[{i}]",
                               fix="`GET /v1/services` lists those that are saved")  # fmt: skip
    services = known if body.services is None else body.services
    asked = ReplanJob(date=body.date or now().date(), services=services, options=body.options, actor=caller.actor)

    async def make(new_id: str) -> Response:
        return await made_by_job(request, caller, "replan", as_document(asked), new_id)

    return await once(request, caller, make)


def _answer(stored: store.Stored) -> ServiceAnswer:
    return ServiceAnswer(
        name=stored.name, version=stored.version, service=stored.service, running=stored.running,
        created_at=stored.created_at, updated_at=stored.updated_at,
    )  # fmt: skip


def _changed(stored: store.Stored, status: int) -> Response:
    headers = {"ETag": f'"{stored.version}"', "Location": f"/v1/services/{stored.name}"}
    return Response(_answer(stored).model_dump_json(), status, headers, "application/json")


def _all_day(engine: Store, plan_id: str) -> Running:
    try:
        saved = load_plan(engine, plan_id)
    except UnknownName as error:
        raise InvalidInput(error.detail, field="plan_id", fix="`GET /v1/plans` lists those that are saved") from None
    plan = validated(planner_for(saved.kind).plan_type, saved.plan, "plan")
    return all_day(runnable(plan, "plan_id"), plan_id)


def _check_paths(service: SavedService, caller: Caller) -> None:
    paths = paths_of(service)
    if (paths or service.refresh) and not caller.may("admin"):
        field = "refresh" if service.refresh else "demand"
        raise Forbidden("files on the server, and facts for all, are for keys with the scope admin", field=field,
                        fix="give rates as `observed`, or ask whoever has such a key")  # fmt: skip
    relative = next((path for path in paths if not path.is_absolute()), None)
    if relative is not None:
        field = "refresh" if any(relative == source.file for source in service.refresh) else "demand"
        raise InvalidInput(f"{str(relative)[:200]!r} is a relative path", field=field, fix="write it in full")


def _expected(current: store.Stored | None, if_match: str | None) -> int:
    """The version that the caller means, as ``store.save`` takes it."""
    if if_match is None:
        if current is None:
            return store.NEW
        raise Refused(428, "is there already: say which version is to change", field="If-Match",
                      fix="read it, and send its ETag as If-Match")  # fmt: skip
    tags = [tag.strip() for tag in if_match.split(",")]
    if current is None or not ("*" in tags or f'"{current.version}"' in tags):
        raise Refused(412, "it is not as it was read", field="If-Match", fix="read it again, then change that")
    return current.version


@contextmanager
def _named_version() -> Iterator[None]:
    """A version that changed between reading and writing: 412, as if it had changed before."""
    try:
        yield
    except Conflict as error:
        raise Refused(412, error.detail, field="If-Match", fix=error.fix) from error


def _audit(request: Request, caller: Caller, action: str, stored: store.Stored) -> None:
    audit.record(
        request.app.state.engine, caller.actor, action, stored.name, getattr(request.state, "request_id", None),
        {"version": stored.version},
    )  # fmt: skip
