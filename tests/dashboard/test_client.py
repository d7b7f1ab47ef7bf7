"""Services that are none, or away, or answer strangely: always an error in words, never the key in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from dashboard.client import Client, Refused, ServiceError, Unreachable

Answering = Callable[[int, bytes, dict[str, str]], str]


@pytest.fixture
def answering() -> Iterator[Answering]:
    """A server that gives every request the same answer; its address."""
    servers = []

    def start(status: int, body: bytes, headers: dict[str, str]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, b"<html>log in</html>", {}),
        (200, b"[1, 2]", JSON),
        (200, b"null", JSON),
        (200, b"\xff\xfe{", JSON),
        (200, b'{"plans": [', {**JSON, "Content-Length": "1000"}),
        (302, b"", {"Location": "http://elsewhere.invalid/"}),
        (502, b"<html>", {"Content-Type": "text/html"}),
        (503, b"<html>", {"Content-Type": "text/html"}),
    ],
)
def test_what_is_not_the_service_counts_as_away(
    answering: Answering, status: int, body: bytes, headers: dict[str, str]
) -> None:
    with pytest.raises(Unreachable):
        Client(answering(status, body, headers)).get("/v1/plans")


@pytest.mark.parametrize("body", [b'{"title": 5, "status": "x", "detail": [1]}', b"<b>boom</b>", b"[]"])
def test_a_refusal_has_the_status_that_was_answered(answering: Answering, body: bytes) -> None:
    with pytest.raises(Refused) as refused:
        Client(answering(400, body, JSON)).get("/v1/plans")
    assert refused.value.status == 400
    assert isinstance(refused.value.title, str)


@pytest.mark.parametrize("key", ["abc\ndef", "abc\x7fdef", "ключ", "abc\u200bdef"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ServiceError) as refused:
        Client("http://127.0.0.1:9", key).get("/v1/plans")
    assert isinstance(refused.value, Refused)
    assert refused.value.status == 401
    assert key not in str(refused.value)
    assert "abc" not in str(refused.value)
