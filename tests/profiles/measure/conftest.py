"""A small server that answers as an endpoint would, or as one that is broken."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

MODEL = "tiny"


class Endpoint(ThreadingHTTPServer):
    """A running server: how it behaves can be changed while it runs."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.models: object = {"data": [{"id": MODEL}]}
        self.models_status = 200
        self.key: str | None = None
        self.chat = "tokens"
        self.num_chats = 0
        self.keys_seen: set[str | None] = set()
        self.stop = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.stop.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_GET(self) -> None:
        endpoint = self.server
        endpoint.keys_seen.add(self.headers.get("Authorization"))
        if endpoint.key and self.headers.get("Authorization") != f"Bearer {endpoint.key}":
            self._send(401, b"no")
        elif isinstance(endpoint.models, bytes):
            self._send(200, endpoint.models)
        else:
            self._send(endpoint.models_status, json.dumps(endpoint.models).encode())

    def do_POST(self) -> None:
        endpoint = self.server
        endpoint.num_chats += 1
        endpoint.keys_seen.add(self.headers.get("Authorization"))
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if endpoint.chat == "error":
            self._send(500, b"broken")
        elif endpoint.chat == "hang":
            endpoint.stop.wait(120)
        else:
            self._stream(asked, 0 if endpoint.chat == "nothing" else asked["max_completion_tokens"])

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, asked: dict[str, Any], tokens: int) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for _ in range(tokens):
            time.sleep(0.002)
            self._event({"choices": [{"index": 0, "delta": {"content": "word "}}]})
        if tokens:
            prompt = len(asked["messages"][0]["content"][0]["text"].split())
            usage = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
            self._event({"choices": [], "usage": usage})
        self.wfile.write(b"data: [DONE]\n\n")

    def _event(self, event: object) -> None:
        self.wfile.write(b"data: " + json.dumps(event).encode() + b"\n\n")
        self.wfile.flush()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    running = Endpoint()
    yield running
    running.close()


@pytest.fixture
def eventually() -> Callable[[Callable[[], bool]], None]:
    """Wait until something is true; fails when it does not become so in a minute."""

    def wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.02)

    return wait
