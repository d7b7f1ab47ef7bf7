"""Every request gets a name, a line in the log, and its place in the metrics."""

from __future__ import annotations

import re
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.ops.metrics import request_ended
from planner.identity import new_id

HEADER = "X-Request-ID"
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
CLIENT_WENT_AWAY = 499
"""Where nothing was answered because nobody waited any more (nginx's number for it; never sent)."""

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
"""What a caller may name a request: it goes into logs and headers as it is."""

_log = structlog.get_logger("gpuplan.access")


class Observed:
    """Wraps the whole application, so that what any part of it answers is seen.

    ``scope["state"]`` gets ``request_id``; ``rate_headers``, where a route left some there, go into the answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; an exception of the application is logged and goes on to the server."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        given = Headers(scope=scope).get(HEADER, "")
        request_id = given if _NAME.fullmatch(given) else new_id()
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                for name, value in state.get("rate_headers", {}).items():
                    headers[name] = value
            await send(message)

        begun_s = time.perf_counter()
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self.app(scope, receive, sending)
            except Exception:
                status = status or 500
                _log.exception("a defect")
                raise
            finally:
                _record(scope, status or CLIENT_WENT_AWAY, time.perf_counter() - begun_s)


def _record(scope: Scope, status: int, seconds: float) -> None:
    method = scope["method"] if scope["method"] in METHODS else "other"
    request_ended(method, getattr(scope.get("route"), "path", "none"), status, seconds)
    caller = scope["state"].get("caller")
    # The path as it was sent, still quoted: nothing in it can break a line. What follows "?" stays out.
    path = scope.get("raw_path", b"").partition(b"?")[0].decode("latin-1")
    _log.info("request", method=method, path=path[:200], status=status, ms=round(1000 * seconds, 2),
              caller=caller.id if caller else None)  # fmt: skip
