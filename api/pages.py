"""Lists that are read page by page: ``?limit=&cursor=``, and the way to the next page in body and ``Link`` header."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Request, Response
from pydantic import Field

from planner.types import Frozen

Limit = Annotated[int, Query(ge=1, le=1000, description="entries of a page")]
Cursor = Annotated[
    str | None, Query(min_length=1, max_length=200, description="`next_cursor` of the page before; none: the first")
]

IdCursor = Annotated[
    str | None, Query(pattern="^[0-9a-f]{30}$", description="`next_cursor` of the page before; none: the first")
]
"""Of lists in the order of ids (``planner.identity.new_id``)."""


class Page(Frozen):
    """What every page has beside its entries."""

    next_cursor: str | None
    next: str | None = Field(description="path of the page after this one; null: this is the last")


def next_path(request: Request, cursor: str | None) -> str | None:
    """The path of the page after this one."""
    if cursor is None:
        return None
    url = request.url.include_query_params(cursor=cursor)
    return f"{url.path}?{url.query}"


def next_link(request: Request, response: Response, cursor: str | None) -> str | None:
    """As ``next_path``, and set as a ``Link`` header (RFC 8288) of a response that FastAPI makes."""
    path = next_path(request, cursor)
    if path is not None:
        response.headers["Link"] = f'<{path}>; rel="next"'
    return path


def paged(page: Page) -> Response:
    """The page as it is sent: quicker than through FastAPI, which would validate each entry again."""
    return Response(page.model_dump_json(), 200, link(page), "application/json")


def link(page: Page) -> dict[str, str]:
    """The ``Link`` header of a page."""
    return {"Link": f'<{page.next}>; rel="next"'} if page.next else {}
