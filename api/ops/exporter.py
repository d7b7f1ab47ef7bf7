"""The metrics on a port of their own, without a key: for scrapers that can send none, on a network that is trusted."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from sqlalchemy import Engine

from api.ops import metrics, replicas
from planner.errors import GpuplanError, InvalidInput, UnknownName

Page = Callable[[str], bytes]
"""The text at a path; ``UnknownName`` where there is none."""


def pages(engine: Engine) -> Page:
    """``/metrics``, and the replicas of saved services below ``/metrics/replicas/``."""

    def page(path: str) -> bytes:
        if path == "/metrics":
            return metrics.exposition(engine)
        service, _, deployment = path.removeprefix(replicas.PATH).partition("/")
        if not path.startswith(replicas.PATH) or not service:
            raise UnknownName("page", path, ("/metrics", replicas.PATH))
        return replicas.exposition(engine, service, deployment or None)

    return page


@contextlib.contextmanager
def exporting(page: Page, host: str, port: int) -> Iterator[int]:
    """Answer scrapes on ``host`` until the block ends; gives the port, which is a free one where 0 was asked for.

    Raises ``InvalidInput`` where nothing can listen there.
    """
    try:
        server = ThreadingHTTPServer((host, port), _handler(page))
    except OSError as error:
        raise InvalidInput(
            f"cannot listen on {host} port {port}: {error.strerror}", field="--metrics-port", fix="choose another port"
        ) from None
    thread = Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(page: Page) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 10  # seconds for a client to say what it wants
        server_version, sys_version = "gpuplan", ""

        def do_GET(self) -> None:
            try:
                status, text = 200, page(self.path.partition("?")[0])
            except UnknownName as error:
                status, text = 404, f"{error.detail}\n".encode()
            except GpuplanError as error:
                status, text = 503, f"{error.title}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", metrics.CONTENT_TYPE)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it
            """Scrapes are no news."""

    return Handler
