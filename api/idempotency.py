"""POSTs that may be repeated: the same ``Idempotency-Key`` gives the same answer, and makes nothing twice.

As draft-ietf-httpapi-idempotency-key-header has it: the first answer again, 409 while the first is at work, 422 for a
key that was used for something else. Keys belong to their caller and are kept for 24 hours. What could not be made
(4xx, 5xx) may be tried again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated

import structlog
from fastapi import Depends, Header, Request, Response
from starlette.concurrency import run_in_threadpool

from api import idempotency_store as store
from api.access.auth import Caller
from api.problems import Refused
from planner.errors import Conflict, InvalidInput, StoreError
from planner.identity import new_id

HEADER = "Idempotency-Key"
REPLAYED = "Idempotency-Replayed"


MOST_KEY = 255
_KEY = r"[!-~]([ -~]*[!-~])?"
"""A line of printable ASCII that neither begins nor ends with a space."""


def _documented(
    _: Annotated[
        str | None,
        Header(
            alias=HEADER,
            pattern=f"^{_KEY}$",
            max_length=MOST_KEY,
            description="any text of your own; repeated with it, this makes nothing twice",
        ),
    ] = None,
) -> None: ...


MAY_REPEAT = Depends(_documented)
"""Dependency of the routes that call ``once``, for their documentation."""

_RETRY_S = "1"

_log = structlog.get_logger("gpuplan.idempotency")


async def once(request: Request, caller: Caller, make: Callable[[str], Awaitable[Response]]) -> Response:
    """Answer with ``make(new_id)``, or as it was answered before under the request's key.

    ``make`` gets the id of what it makes: the same one again when it is called after a crash. Its answer has its body
    in memory.

    Raises
    ------
    InvalidInput
        If there are several keys.
    Conflict, Refused
        If a request with this key is at work (409), or was for something else (422).
    StoreError
        If the store cannot be written.
    """
    given = request.headers.getlist(HEADER)
    if not given:
        return await make(new_id())
    if len(given) > 1:
        raise InvalidInput("is there more than once", field=HEADER, fix="send one")
    key = given[0]
    engine, owner = request.app.state.engine, caller.id
    fingerprint = await _fingerprint(request)
    found = await run_in_threadpool(store.reserve, engine, owner, key, fingerprint, new_id())
    if found.fingerprint != fingerprint:
        raise Refused(422, "was used for another request", title="idempotency key used", field=HEADER,
                      fix="use a new key for a new request")  # fmt: skip
    if found.answer is not None:
        kept = found.answer
        return Response(kept.body, kept.status, {**kept.headers, REPLAYED: "true"})
    if not found.mine:
        raise _AtWork("a request with this key is at work", field=HEADER, fix="try again in a moment")
    try:
        answer = await make(found.reserved_id)
    except Exception:
        with suppress(StoreError):
            await run_in_threadpool(store.free, engine, owner, key)
        raise
    if answer.status_code >= 400:
        await run_in_threadpool(store.free, engine, owner, key)
        return answer
    headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
    try:
        await run_in_threadpool(
            store.keep, engine, owner, key, answer.status_code, headers, bytes(answer.body).decode()
        )
    except StoreError as error:  # what was made is made: whoever repeats it finds the same
        _log.warning("the answer is not kept", reason=str(error))
    return answer


class _AtWork(Conflict):
    """The first request with a key has not been answered yet."""

    headers = {"Retry-After": _RETRY_S}  # noqa: RUF012 - never changed


async def _fingerprint(request: Request) -> str:
    digest = hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n".encode())
    digest.update(await request.body())
    return digest.hexdigest()
