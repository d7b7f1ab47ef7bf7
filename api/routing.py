"""How routes are declared: their prefix, how bodies are read, and who may call them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy import Engine

from api.access.auth import Caller, admitted, needs
from api.limits import LimitedRequest
from planner.errors import UnknownName

Reader = Annotated[Caller, Depends(needs("read"))]
Maker = Annotated[Caller, Depends(needs("plan"))]
Provisioner = Annotated[Caller, Depends(needs("provision"))]
Admin = Annotated[Caller, Depends(needs("admin"))]
"""Parameters of routes that ask who calls, once they are let through."""

READERS = Depends(needs("read"))
ADMINS = Depends(needs("admin"))
"""Dependencies of routes that do not."""

ANY_FILE: dict[str, Any] = {"requestBody": {"required": True, "content": {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
}}}  # fmt: skip
"""``openapi_extra`` of routes whose body is a file as it is."""


class StrictRoute(APIRoute):
    """A route of those who have a key, with no parameters but its own.

    Its body is limited and, if JSON, read strictly (``api.limits``), but not before the caller is known.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, behind the door and the reading of the body."""
        handle, takes_json = super().get_route_handler(), self.body_field is not None
        known = tuple(_parameters(self.dependant))

        async def strictly(request: Request) -> Response:
            await admitted(request)
            for name in request.query_params:
                if name not in known:
                    raise UnknownName("parameter", name, known, field=name, fix=_listing(known))
            limited = LimitedRequest(request.scope, request.receive)
            if takes_json:
                await limited.read_json()
            return await handle(limited)

        return strictly


def _parameters(dependant: Dependant) -> Iterator[str]:
    """Names of the query parameters of a route and of what it depends on."""
    for parameter in dependant.query_params:
        inside = getattr(parameter.field_info.annotation, "model_fields", None)  # one model may hold several
        yield from [parameter.alias] if inside is None else inside
    for needed in dependant.dependencies:
        yield from _parameters(needed)


def _listing(known: Sequence[str]) -> str:
    return f"parameters: {', '.join(known)}" if known else "this takes no parameters"


def v1_router(tag: str) -> APIRouter:
    """An empty router for ``/v1/...``; ``tag`` groups its routes in the documentation."""
    return APIRouter(prefix="/v1", tags=[tag], route_class=StrictRoute)


def _engine(request: Request) -> Engine:
    engine: Engine = request.app.state.engine
    return engine


Store = Annotated[Engine, Depends(_engine)]
"""Parameter of routes: the store."""
