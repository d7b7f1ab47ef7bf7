"""The HTML document that every page starts from: Streamlit's, told where its server is.

Without that it asks below the address of each page first, as ``/serving/_stcore/health``, and every deep link begins
with requests that fail.
"""

from __future__ import annotations

from starlette.datastructures import URL
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_OTHERS = ("/static/", "/_stcore/", "/media/", "/component/", "/app/")
"""What Streamlit serves beside the document."""

_FIRST_PAGE = "/overview"
"""What people write by analogy; Streamlit has the first page at the root alone."""

_CHANGES = (
    (b"<head>", b"<head><script>window.__streamlit = {BACKEND_BASE_URL: location.origin}</script>"),
    (b"<title>Streamlit</title>", b"<title>gpuplan</title>"),
)


class OwnDocument:
    """ASGI middleware: changes the document, leaves all else as it is."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http" and scope["path"] == _FIRST_PAGE:
            await RedirectResponse(URL(scope=scope).replace(path="/"))(scope, receive, send)
            return
        if scope["type"] != "http" or scope["method"] != "GET" or scope["path"].startswith(_OTHERS):
            await self.app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name not in _ABOUT_FORM]
        began: Message = {}
        body = b""

        async def collect(message: Message) -> None:
            nonlocal began, body
            if message["type"] == "http.response.start":
                began = message
            else:
                body += message.get("body", b"")

        await self.app({**scope, "headers": plain}, receive, collect)
        for old, new in _CHANGES:
            body = body.replace(old, new, 1)
        kept = [(name, value) for name, value in began["headers"] if name not in _ABOUT_CONTENT]
        response = Response(body, began["status"])
        response.raw_headers = [*kept, (b"content-length", str(len(body)).encode())]
        await response(scope, receive, send)


_ABOUT_FORM = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")
_ABOUT_CONTENT = (b"content-length", b"etag", b"last-modified")
