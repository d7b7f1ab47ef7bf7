"""What surrounds every answer: headers for browsers, who may ask at all, and 500 for what nobody expected."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

import structlog
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import docs
from api.problems import of_defect, problem

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_POLICY = "default-src 'none'; frame-ancestors 'none'"
_POLICY_OF_DOCS = f"{_POLICY}; style-src 'unsafe-inline'"
"""The documentation has a look; everything else is data."""

_SAFE = ("GET", "HEAD", "OPTIONS")

_log = structlog.get_logger("gpuplan.requests")


class Envelope:
    """ASGI middleware around all but the log.

    ``loopback_only``: only names of this machine lead here. Otherwise a page of any site could reach the server through
    a name of its own (DNS rebinding).
    """

    def __init__(self, app: ASGIApp, *, loopback_only: bool) -> None:
        self._app = app
        self._loopback_only = loopback_only

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request, begun = Request(scope, receive), False

        async def enveloped(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                _add_headers(MutableHeaders(scope=message), request.url.path)
            await send(message)

        try:
            answer: ASGIApp = self._refusal(request) or self._app
            await answer(scope, receive, enveloped)
        except ClientDisconnect:
            _log.info("the client went away")
        except Exception:
            _log.exception("a defect")
            if not begun:
                await of_defect(request)(scope, receive, enveloped)

    def _refusal(self, request: Request) -> Response | None:
        host = request.headers.get("host", "")
        if self._loopback_only and not is_loopback(_name_in(f"//{host}")):
            return problem(request, 421, "misdirected request", f"this server is not {host[:100]!r}", field="Host",
                           fix="use http://127.0.0.1 or http://localhost")  # fmt: skip
        origin = request.headers.get("origin")
        if origin is not None and request.method not in _SAFE and _netloc(origin) != host:
            return problem(request, 403, "forbidden", "pages of other sites may not change anything here",
                           field="Origin", fix="send no Origin from programs")  # fmt: skip
        return None


def is_loopback(host: str | None) -> bool:
    """Whether a host is this machine, by name or address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _netloc(origin: str) -> str | None:
    """Host and port of an origin; None where it has none."""
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None


def _name_in(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _add_headers(headers: MutableHeaders, path: str) -> None:
    for name, value in _HEADERS.items():
        headers[name] = value
    headers["Content-Security-Policy"] = _POLICY_OF_DOCS if path == docs.PATH else _POLICY
    headers.setdefault("Cache-Control", "no-store")
