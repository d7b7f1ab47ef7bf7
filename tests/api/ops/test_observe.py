"""What every request gets: a name, a line in the log, a place in the metrics."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import httpx
import pytest
from starlette.types import Receive, Scope, Send
from structlog.testing import capture_logs

from api.ops import observe
from api.ops.observe import Observed


async def _hello(scope: Scope, receive: Receive, send: Send) -> None:
    scope["state"]["rate_headers"] = {"RateLimit": '"requests";r=1;t=2'}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["state"]["request_id"].encode()})


async def _broken(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("nobody expected this")


async def _gone(scope: Scope, receive: Receive, send: Send) -> None:
    """The client went away before anything was answered."""


def _ask(app: Any, method: str = "GET", path: str = "/a", headers: Any = None) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(Observed(app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, headers=headers)

    return asyncio.run(asked())


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, int]]:
    seen: list[tuple[str, str, int]] = []
    monkeypatch.setattr(
        observe, "request_ended", lambda method, route, status, _s: seen.append((method, route, status))
    )
    return seen


def test_a_request_has_a_name_that_everybody_sees() -> None:
    answer = _ask(_hello)
    assert re.fullmatch(r"[0-9a-f]{30}", answer.headers["X-Request-ID"])
    assert answer.text == answer.headers["X-Request-ID"] != _ask(_hello).text
    assert answer.headers["RateLimit"] == '"requests";r=1;t=2'


def test_a_caller_may_name_a_request() -> None:
    assert _ask(_hello, headers={"X-Request-ID": "build-17_a.b"}).text == "build-17_a.b"


@pytest.mark.parametrize("name", ["", " ", "a b", "a\tb", "x" * 65, "<script>", "é", "a;b", '"', "{{7*7}}", "a/b"])
def test_but_not_with_anything(name: str) -> None:
    answer = _ask(_hello, headers=[(b"X-Request-ID", name.encode())])
    assert re.fullmatch(r"[0-9a-f]{30}", answer.headers["X-Request-ID"])


def test_the_log_has_a_line_per_request_without_its_query(counted: list[tuple[str, str, int]]) -> None:
    with capture_logs() as lines:
        _ask(_hello, path="/a%0Ab%1b[31m/" + "c" * 300 + "?key=gpk_1_2")
    (line,) = lines
    assert (line["event"], line["method"], line["status"]) == ("request", "GET", 200)
    assert line["path"].startswith("/a%0Ab%1b")
    assert len(line["path"]) == 200
    assert line["ms"] >= 0
    assert counted == [("GET", "none", 200)]


def test_a_defect_is_logged_counted_and_passed_on(counted: list[tuple[str, str, int]]) -> None:
    with capture_logs() as lines:
        assert _ask(_broken).status_code == 500
    assert [line["event"] for line in lines] == ["a defect", "request"]
    assert counted == [("GET", "none", 500)]


def test_strange_methods_and_clients_that_went_away(counted: list[tuple[str, str, int]]) -> None:
    _ask(_hello, method="BREW")
    scope = {"type": "http", "method": "GET", "headers": [], "path": "/", "raw_path": b"/"}
    asyncio.run(Observed(_gone)(scope, None, None))  # type: ignore[arg-type]
    assert counted == [("other", "none", 200), ("GET", "none", 499)]
