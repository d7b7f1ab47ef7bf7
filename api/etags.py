"""Answers that a client may keep: with an entity tag, and 304 where it has the same already (RFC 9110, 8.8.3)."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request, Response

FOR_EVER = "private, max-age=31536000, immutable"
"""Cache-Control of what never changes, as plans, which are named by their content."""

ASK_AGAIN = "private, no-cache"
"""Cache-Control of what may change: kept, but asked for again with its tag."""


def tagged(
    request: Request, content: bytes, tag: str, *, cache: str = ASK_AGAIN, media_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> Response:  # fmt: skip
    """The content with its tag, or 304 without it where ``If-None-Match`` names the tag."""
    kept = {"ETag": f'"{tag}"', "Cache-Control": cache, "Vary": "Accept, Authorization", **(headers or {})}
    if matches(request.headers.get("if-none-match"), tag):
        return Response(status_code=304, headers=kept)
    return Response(content, 200, kept, media_type)


def matches(header: str | None, tag: str) -> bool:
    """Whether ``If-None-Match`` names the tag; weak tags count, as for GET they do."""
    if header is None:
        return False
    named = [one.strip().removeprefix("W/") for one in header.split(",")]
    return "*" in named or f'"{tag}"' in named
