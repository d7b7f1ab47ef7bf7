"""``/v1/deployments``: plans that run somewhere. Nothing changes unless a request says ``confirm``."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Body, Path, Query, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from api.access.auth import Caller
from api.answers import JobAnswer
from api.idempotency import MAY_REPEAT, once
from api.making import made_by_job
from api.pages import Cursor, Limit, next_link
from api.problems import NotFound
from api.routing import READERS, Provisioner, Store, v1_router
from api.waiting import MAY_WAIT
from planner.provision import store
from planner.provision.changes import Change
from planner.provision.driver import UnitState
from planner.provision.store import Deployment
from planner.types import Frozen
from profiles.db import connect

router = v1_router("deployments")

NAME = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
Name = Annotated[str, Path(pattern=NAME, description="of the deployment")]
Target = Annotated[str, Field(min_length=1, max_length=500, description="one that this server may apply to")]
Seconds = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
Confirm = Annotated[bool, Field(description="do it; without this, the answer says what would change")]


class DeploymentList(Frozen):
    """The newest application under each name and target, newest first."""

    deployments: tuple[Deployment, ...]
    next_cursor: str | None
    next: str | None


class DeploymentStatus(Frozen):
    """How a deployment stands. ``drift``: what applying the same plan again would change."""

    deployment: Deployment
    changing: bool
    drift: tuple[Change, ...]
    units: tuple[UnitState, ...]
    as_planned: bool


class Preview(Frozen):
    """What would change."""

    name: str
    target: str
    plan_id: str
    changes: tuple[Change, ...]


class Deployed(Frozen):
    """What was done: the job's id, the deployment, its units, and what a person should know."""

    id: str
    deployment: Deployment
    units: tuple[UnitState, ...]
    notes: tuple[str, ...]


class DeploymentRequest(Frozen):
    """Make a target run a saved serving plan."""

    plan_id: Annotated[str, Field(min_length=1, max_length=64)]
    target: Target = "local"
    name: Annotated[str, Field(pattern=NAME)] | None = Field(default=None, description="None: the spec's name")
    confirm: Confirm = False
    wait_s: Seconds = Field(default=600.0, description="for units to be ready; 0: change all at once")
    fallback: bool = Field(default=False, description="where an instance type is short, go on with the next best plan")
    take_over: bool = Field(default=False, description="also what others changed since")


class RollbackRequest(Frozen):
    """Go back to the plan before; each rollback goes one further."""

    target: Target | None = Field(default=None, description="needed where the name is at several targets")
    confirm: Confirm = False
    wait_s: Seconds = 600.0
    take_over: bool = False


class WithdrawalRequest(Frozen):
    """Remove everything that was made under a name."""

    target: Target | None = None
    confirm: Confirm = False


CHANGED: dict[int | str, dict[str, Any]] = {
    200: {"model": Preview, "description": "Nothing was done: what would change"},
    201: {"model": Deployed, "description": "Done"},
    202: {"model": JobAnswer, "description": "Under way: ask again at `Location`"},
}
READ: dict[int | str, dict[str, Any]] = {200: {"model": DeploymentStatus, "description": "How it stands"}}
MAKES: dict[str, Any] = {"dependencies": [MAY_WAIT, MAY_REPEAT], "response_model": None, "responses": CHANGED}


@router.post("/deployments", **MAKES)
async def create_deployment(
    request: Request, caller: Provisioner, body: Annotated[DeploymentRequest, Body()]
) -> Response:
    """Apply a plan. A cluster that refuses, and instances that do not come, are told as problems (502)."""
    return await _change(request, caller, "apply", body.model_dump(mode="json"))


@router.get("/deployments", dependencies=[READERS])
def list_deployments(
    request: Request, response: Response, engine: Store, limit: Limit = 50, cursor: Cursor = None
) -> DeploymentList:
    """List what was applied where."""
    found = store.newest(engine, limit + 1, cursor)
    following = found[limit - 1].id if len(found) > limit else None
    return DeploymentList(
        deployments=found[:limit], next_cursor=following, next=next_link(request, response, following)
    )


@router.get("/deployments/{name}", dependencies=[READERS], response_model=None, responses=READ)
async def get_deployment(
    request: Request, engine: Store, name: Name,
    target: Annotated[str | None, Query(min_length=1, max_length=500, description="where, if at several")] = None,
) -> Response:  # fmt: skip
    """Say how a deployment stands: what differs from its plan, field by field, and what is ready."""
    await _known(engine, name)
    return _json(await request.app.state.apart.run(_status, _url(request), name, target))


@router.post("/deployments/{name}/rollback", **MAKES)
async def roll_back_deployment(
    request: Request, caller: Provisioner, engine: Store, name: Name, body: Annotated[RollbackRequest, Body()]
) -> Response:
    """Go back to the plan that was applied before."""
    await _known(engine, name)
    return await _change(request, caller, "rollback", {**body.model_dump(mode="json"), "name": name})


@router.post("/deployments/{name}/withdrawal", **MAKES)
async def withdraw_deployment(
    request: Request, caller: Provisioner, engine: Store, name: Name, body: Annotated[WithdrawalRequest, Body()]
) -> Response:
    """Remove everything that was made under a name, and nothing else."""
    await _known(engine, name)
    return await _change(request, caller, "withdraw", {**body.model_dump(mode="json"), "name": name})


async def _change(request: Request, caller: Caller, action: str, asked: dict[str, Any]) -> Response:
    document = {**asked, "action": action, "actor": caller.actor}
    confirmed = document.pop("confirm")

    async def make(new_id: str) -> Response:
        if confirmed:
            return await made_by_job(request, caller, "deployment", document, new_id)
        return _json(await request.app.state.apart.run(_preview, _url(request), document))

    return await once(request, caller, make)


def _json(document: dict[str, Any]) -> Response:
    return Response(json.dumps(document, allow_nan=False), media_type="application/json")


async def _known(engine: Store, name: str) -> None:
    if not await run_in_threadpool(store.history, engine, name):
        raise NotFound("deployment", name)


def _url(request: Request) -> str:
    url: str = request.app.state.engine.url.render_as_string(hide_password=False)
    return url


def _preview(url: str, document: dict[str, Any]) -> dict[str, Any]:
    from planner.provision.job import preview

    engine = connect(url)
    try:
        return preview(document, engine)
    finally:
        engine.dispose()


def _status(url: str, name: str, target: str | None) -> dict[str, Any]:
    from planner.provision.job import status_of

    engine = connect(url)
    try:
        return status_of(engine, name, target)
    finally:
        engine.dispose()
