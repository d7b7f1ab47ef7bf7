"""Traces: sent where the environment says, and no cost otherwise."""

from __future__ import annotations

import builtins
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from fastapi import FastAPI

from api.ops.tracing import VARIABLES, trace_if_asked
from planner.errors import InvalidInput

TRACED = """
import asyncio, sys, httpx
from fastapi import FastAPI
from api.ops.tracing import trace_if_asked
app = FastAPI()
app.get("/v1/plans/{plan_id}")(lambda plan_id: plan_id)
app.get("/healthz")(lambda: "alive")
trace_if_asked(app)
async def ask():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        for path in ("/v1/plans/7", "/healthz"):
            assert (await client.get(path, headers={"Authorization": "Bearer gpk_secret"})).status_code == 200
asyncio.run(ask())
"""


NOT_ASKED = """
import sys, api.app, api.ops.tracing
from fastapi import FastAPI  # which imports the small opentelemetry-api itself, where it is there
api.ops.tracing.trace_if_asked(FastAPI())
print([name for name in sys.modules if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""


def test_nothing_is_imported_where_nobody_asks() -> None:
    done = subprocess.run([sys.executable, "-c", NOT_ASKED], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_who_asks_without_the_extra_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *arguments: Any) -> Any:
        if name.startswith("opentelemetry"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setenv(VARIABLES[0], "http://127.0.0.1:4318")
    with pytest.raises(InvalidInput, match="traces need opentelemetry") as caught:
        trace_if_asked(FastAPI())
    assert caught.value.fix is not None
    assert "gpuplan[otel]" in caught.value.fix


def test_spans_of_requests_reach_a_collector_without_keys() -> None:
    pytest.importorskip("opentelemetry.instrumentation.fastapi")
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    bodies: list[bytes] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        subprocess.run(
            [sys.executable, "-c", TRACED], check=True, capture_output=True,
            env={"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_COMPRESSION": "none", "PATH": "",
                 "PYTHONPATH": ":".join(path for path in sys.path if path)},
        )  # fmt: skip
    finally:
        server.shutdown()
        server.server_close()
    sent = b"".join(bodies)
    assert b"/v1/plans/{plan_id}" in sent
    assert b"gpuplan" in sent
    assert b"healthz" not in sent
    assert b"gpk_secret" not in sent
