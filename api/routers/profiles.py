"""``/v1/profiles``: what is known of GPUs, instances, prices, models, and what was measured."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query, Request, Response
from pydantic import Field

from api.etags import tagged
from api.pages import Limit, Page, link, next_path
from api.problems import NotFound, Refused
from api.routing import READERS, v1_router
from planner.errors import InvalidInput
from planner.types import Frozen
from profiles.names import KnownNames
from profiles.types import (
    BandwidthMeasurement,
    Batch,
    CollectiveMeasurement,
    Facts,
    GemmMeasurement,
    GpuType,
    GridIntensity,
    InstanceType,
    LayerMeasurement,
    Measurement,
    ModelCard,
    Price,
    RateProfile,
    TrainingMeasurement,
)

router = v1_router("profiles")

KINDS = {field.replace("_", "-"): field for field in Batch.model_fields}
"""Kinds of facts as paths have them, and the field of ``Facts``."""

AnyFact = (
    GpuType | InstanceType | Price | GridIntensity | ModelCard | Measurement | LayerMeasurement | RateProfile
    | GemmMeasurement | BandwidthMeasurement | TrainingMeasurement | CollectiveMeasurement
)  # fmt: skip

SAME: dict[int | str, dict[str, Any]] = {304: {"description": "The same as `If-None-Match` says"}}


class Summary(Frozen):
    """How many facts of each kind are known, and the digest of them all, which plans are made from."""

    digest: str
    num: dict[str, int]


class FactPage(Page):
    """Facts of one kind in a fixed order, as they were under this digest."""

    kind: str
    digest: str
    num_found: int = Field(description="facts on all pages together")
    items: tuple[AnyFact, ...]


@router.get("/profiles", dependencies=[READERS], responses=SAME, response_model=Summary)
def summarise_profiles(request: Request) -> Response:
    """Count what is known."""
    facts: Facts = request.app.state.facts.read()
    num = {kind: len(getattr(facts, field)) for kind, field in KINDS.items()}
    return tagged(request, Summary(digest=facts.digest, num=num).model_dump_json().encode(), facts.digest)


@router.get("/profiles/{kind}", dependencies=[READERS], responses=SAME, response_model=FactPage)
def list_profiles(
    request: Request,
    kind: Annotated[str, Path(max_length=100, description=", ".join(KINDS))],
    gpu: Annotated[str | None, Query(max_length=200, description="only of this GPU type")] = None,
    model: Annotated[str | None, Query(max_length=200, description="only of this model")] = None,
    provider: Annotated[str | None, Query(max_length=200, description="only of this provider")] = None,
    limit: Limit = 100,
    cursor: Annotated[str | None, Query(max_length=100, description="`next_cursor` of the page before")] = None,
) -> Response:
    """List the facts of one kind."""
    if kind not in KINDS:
        raise NotFound("kind of profile", kind)
    return facts_page(request, kind, {"gpu": gpu, "model": model, "provider": provider}, limit, cursor)


def facts_page(request: Request, kind: str, wanted: dict[str, str | None], limit: int, cursor: str | None) -> Response:
    """A page of the facts of a kind that have these values; a GPU under any of its names."""
    facts: Facts = request.app.state.facts.read()
    names = KnownNames.of(facts)
    asked = {name: value for name, value in wanted.items() if value is not None}
    if "gpu" in asked:
        asked["gpu"] = names.gpu(asked["gpu"], "gpu")
    if "model" in asked:
        asked["model"] = names.model(asked["model"])
    gpu_of = {(instance.provider, instance.name): instance.gpu for instance in facts.instances}
    found = [
        fact for fact in getattr(facts, KINDS[kind])
        if all(_value(fact, name, gpu_of) == value for name, value in asked.items())
    ]  # fmt: skip
    start = _start(cursor, facts.digest)
    stop = start + limit
    following = f"{facts.digest}.{stop}" if stop < len(found) else None
    page = FactPage(kind=kind, digest=facts.digest, num_found=len(found), items=tuple(found[start:stop]),
                    next_cursor=following, next=next_path(request, following))  # fmt: skip
    return tagged(request, page.model_dump_json().encode(), facts.digest, headers=link(page))


def _value(fact: Any, name: str, gpu_of: dict[tuple[str, str], str]) -> Any:
    """What a fact says of a filter: a GPU's or model's own name, or, of a price, the GPU of its instance type."""
    if (name == "gpu" and isinstance(fact, GpuType)) or (name == "model" and isinstance(fact, ModelCard)):
        return fact.name
    if name == "gpu" and isinstance(fact, Price):
        return gpu_of.get((fact.provider, fact.instance_type))
    return getattr(fact, name, None)


def _start(cursor: str | None, digest: str) -> int:
    if cursor is None:
        return 0
    of, _, start = cursor.partition(".")
    if not (start.isascii() and start.isdigit() and len(start) < 10):
        raise InvalidInput("is not a cursor of this list", field="cursor", fix="start again without a cursor")
    if of != digest:
        raise Refused(409, "what is known has changed since the page before", field="cursor",
                      fix="start again without a cursor")  # fmt: skip
    return int(start)
