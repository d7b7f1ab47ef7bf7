"""``/v1/planners``: which planners there are, and what they take."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from fastapi import Path, Request, Response
from pydantic import JsonValue

from api.etags import tagged
from api.examples import SPECS
from api.problems import named_in_path
from api.routing import READERS, v1_router
from planner.registry import PLANNERS, planner_for
from planner.types import Frozen
from profiles.types import content_digest

router = v1_router("planners")

SAME: dict[int | str, dict[str, Any]] = {304: {"description": "The same as `If-None-Match` says"}}


class PlannerEntry(Frozen):
    """A planner in a list."""

    kind: str
    question: str
    url: str


class PlannerList(Frozen):
    """Every planner."""

    planners: tuple[PlannerEntry, ...]


class TargetEntry(Frozen):
    """A system that plans can be rendered for."""

    target: str
    description: str


class PlannerDetails(PlannerEntry):
    """A planner with the JSON Schemas of what it takes and gives, and a spec to begin with."""

    spec_schema: dict[str, JsonValue]
    plan_schema: dict[str, JsonValue]
    example: dict[str, JsonValue]
    targets: tuple[TargetEntry, ...]


@router.get("/planners", dependencies=[READERS], responses=SAME, response_model=PlannerList)
def list_planners(request: Request) -> Response:
    """List the planners: which question each answers."""
    return _tagged(request, _listing())


@router.get("/planners/{kind}", dependencies=[READERS], responses=SAME, response_model=PlannerDetails)
def get_planner(request: Request, kind: Annotated[str, Path(max_length=100)]) -> Response:
    """Read what a planner takes and gives, as JSON Schemas, with an example."""
    with named_in_path("planner", kind):
        planner_for(kind)
    return _tagged(request, _details(kind))


def _tagged(request: Request, text: bytes) -> Response:
    return tagged(request, text, content_digest(text.decode()))


@cache
def _listing() -> bytes:
    entries = tuple(PlannerEntry(kind=p.kind, question=p.question, url=_url(p.kind)) for p in PLANNERS.values())
    return PlannerList(planners=entries).model_dump_json().encode()


@cache
def _details(kind: str) -> bytes:
    from planner.render.targets import RENDERERS

    planner = PLANNERS[kind]
    targets = RENDERERS.get(kind, {}).values()
    return PlannerDetails(
        kind=kind, question=planner.question, url=_url(kind), spec_schema=planner.spec_type.model_json_schema(),
        plan_schema=planner.plan_type.model_json_schema(mode="serialization"), example=SPECS[kind],
        targets=tuple(TargetEntry(target=t.target, description=t.description) for t in targets),
    ).model_dump_json().encode()  # fmt: skip


def _url(kind: str) -> str:
    return f"/v1/planners/{kind}"
