"""Everything that can go wrong, told as RFC 9457 has it: ``application/problem+json`` with the field and the fix."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from planner.documents import mistake_of
from planner.errors import FailedCheck, GpuplanError, StoreError, UnknownName
from planner.registry import PLANNERS

MEDIA_TYPE = "application/problem+json"

MOST_MISTAKES = 20
"""Of one request that are told at once, as ``gpuplan plan`` does."""

RETRY_STORE_S = 5
"""After which a client may ask a store again that is locked or away: the time that a writer waits for another."""

_log = logging.getLogger("gpuplan.problems")


class Mistake(BaseModel):
    """One of several mistakes in a request."""

    field: str
    detail: str


class Problem(BaseModel):
    """What went wrong (RFC 9457): ``field`` is the path of what is wrong, ``fix`` what would make it work."""

    model_config = ConfigDict(extra="forbid")

    type: str = Field(examples=["urn:gpuplan:problem:invalid-input"])
    title: str
    status: int
    detail: str
    instance: str
    field: str | None = None
    fix: str | None = None
    errors: list[Mistake] = Field(default=[], description="where there are several")
    request_id: str | None = None


_MEANINGS = {
    400: "malformed HTTP",
    401: "no key, or one that lets nobody in",
    403: "a key without the scope, or a page of another site",
    404: "there is nothing of that name",
    405: "not a method of this path",
    409: "not possible in the state it is in, or nothing measured for what was asked",
    412: "it has changed since it was read",
    413: "the body is too large",
    415: "the body is of another media type",
    421: "the Host header is not one of this server",
    422: "the request cannot be meant as it stands",
    428: "say which version is meant (If-Match)",
    429: "more requests, or more waiting work, than is allowed",
    500: "a defect: the log tells it under the request id",
    502: "a cluster refused",
    503: "the store cannot be used just now",
}

PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"description": meaning, "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for status, meaning in _MEANINGS.items()
}
"""What any route may answer instead of what it is for, as OpenAPI documents it."""


class Refused(GpuplanError):
    """A request that HTTP itself has a status for; ``headers`` go into the answer."""

    def __init__(
        self, status: int, detail: str, *, title: str | None = None, field: str | None = None, fix: str | None = None,
        mistakes: Sequence[tuple[str, str]] = (), headers: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(detail, field=field, fix=fix, mistakes=mistakes)
        self.http_status = status
        self.title = title or HTTPStatus(status).phrase.lower()
        self.headers = dict(headers or {})


class NotFound(Refused):
    """Nothing of that name is there."""

    def __init__(self, kind: str, name: str) -> None:
        super().__init__(404, f"there is no {kind} {name!r}")


@contextmanager
def named_in_path(kind: str, name: str) -> Iterator[None]:
    """A name that is unknown was a part of the path: 404, where in a body it would be a mistake."""
    try:
        yield
    except UnknownName as error:
        raise NotFound(kind, name) from error


def answer_problems(app: FastAPI) -> None:
    """Have ``app`` answer every failure with a problem; defects are left to ``api.envelope``."""

    async def of_gpuplan(request: Request, error: Exception) -> Response:
        if not isinstance(error, GpuplanError):
            raise error
        return _of_error(request, error)

    async def of_validation(request: Request, error: Exception) -> Response:
        if not isinstance(error, RequestValidationError):
            raise error
        return _of_mistakes(request, error.errors())

    async def of_http(request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        title = HTTPStatus(error.status_code).phrase.lower()
        headers = error.headers if error.status_code != HTTPStatus.METHOD_NOT_ALLOWED else {"Allow": _methods(request)}
        return problem(request, error.status_code, title, error.detail, headers=headers)

    app.add_exception_handler(GpuplanError, of_gpuplan)
    app.add_exception_handler(RequestValidationError, of_validation)
    app.add_exception_handler(HTTPException, of_http)


def problem(
    request: Request, status: int, title: str, detail: str, *, field: str | None = None, fix: str | None = None,
    errors: Sequence[Mistake] = (), headers: Mapping[str, str] | None = None,
) -> Response:  # fmt: skip
    """The answer that says what went wrong."""
    content: dict[str, Any] = {
        "type": f"urn:gpuplan:problem:{title.replace(' ', '-')}", "title": title, "status": status, "detail": detail,
        "instance": request.url.path, "request_id": getattr(request.state, "request_id", None),
    }  # fmt: skip
    content |= {name: value for name, value in (("field", field), ("fix", fix)) if value}
    if errors:
        content["errors"] = [mistake.model_dump() for mistake in errors]
    # Escaped to ASCII: what is quoted from a request need not be text that UTF-8 can hold.
    return Response(json.dumps(content), status, headers, MEDIA_TYPE)


def of_job(request: Request, told: Mapping[str, Any]) -> Response:
    """Why a job failed, as it stands in the store."""
    return problem(
        request, int(told.get("status", 500)), str(told.get("title", GpuplanError.title)), str(told.get("detail", "")),
        field=told.get("field"), fix=told.get("fix"),
    )  # fmt: skip


def of_defect(request: Request) -> Response:
    """What a client learns of an exception that nobody expected."""
    return problem(request, 500, GpuplanError.title, "this should not have happened",
                   fix="report it with the log of the server under this request id")  # fmt: skip


def _methods(request: Request) -> str:
    """The methods that are documented for a path (the router names those of its first route alone)."""
    paths = request.app.openapi()["paths"]
    fitting = [path for path in paths if compile_path(path)[0].match(request.url.path)]
    most_exact = min(fitting, key=lambda path: path.count("{"), default=None)
    return ", ".join(sorted(method.upper() for method in paths.get(most_exact, ())))


def _of_error(request: Request, error: GpuplanError) -> Response:
    headers: Mapping[str, str] | None = getattr(error, "headers", None)
    if isinstance(error, StoreError):
        # Where the database lies is for the log alone.
        _log.error("store: %s", error)
        return problem(request, error.http_status, error.title, "the store cannot be used just now",
                       fix="try again; the log of the server says what is wrong",
                       headers={"Retry-After": str(RETRY_STORE_S)})  # fmt: skip
    if isinstance(error, FailedCheck):
        _log.error("failed check: %s", error)
    mistakes = [Mistake(field=field, detail=detail) for field, detail in error.mistakes]
    return problem(
        request, error.http_status, error.title, error.detail, field=error.field, fix=error.fix, errors=mistakes,
        headers=headers,
    )  # fmt: skip


def _of_mistakes(request: Request, found: Sequence[Any]) -> Response:
    # An entry that is wrong is left out of its list, which is then too short as well: no mistake of its own.
    inside = {each["loc"][:depth] for each in found for depth in range(len(each["loc"]))}
    found = [each for each in found if each["type"] != "too_short" or each["loc"] not in inside]
    mistakes = [_mistake(each) for each in found[:MOST_MISTAKES]]
    if len(found) == 1:
        return problem(request, 422, "invalid input", mistakes[0].detail, field=mistakes[0].field)
    return problem(request, 422, "invalid input", f"{len(found)} mistakes", field=mistakes[0].field, errors=mistakes)


def _mistake(found: Any) -> Mistake:
    """One mistake in our words; the place is where it lies in the body, or the name of a parameter."""
    if found["type"] in ("union_tag_invalid", "union_tag_not_found") and found["loc"] == ("body",):
        return Mistake(field="kind", detail=f"must be one of {', '.join(PLANNERS)}")
    where, *place = found["loc"] or ("body",)
    kind: type[BaseModel] = BaseModel
    inside = ""
    if place and place[0] in PLANNERS:  # the member of a union, which is no field of the request
        planner = PLANNERS[place.pop(0)]
        if place[:1] == ["spec"]:
            kind, inside = planner.spec_type, "spec"
            del place[0]
    told = cast(ErrorDetails, {**found, "loc": tuple(place)})
    field, detail = mistake_of(told, kind)
    return Mistake(field=".".join(part for part in (inside, field) if part) or str(where), detail=detail)
