from __future__ import annotations

import re
import subprocess
import sys

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from tests.api.conftest import LOOPBACK


@pytest.mark.parametrize("path", ["/healthz", "/v1/planners", "/v1/plans/none", "/nowhere", "/docs", "/openapi.json"])
def test_every_answer_has_headers_for_browsers_and_an_id(client: TestClient, path: str) -> None:
    headers = client.get(path, headers={"Origin": "https://evil.example"}).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["X-Request-ID"]
    assert not [name for name in headers if name.startswith("access-control-")]


def test_the_id_of_a_request_is_the_callers_where_it_is_harmless(client: TestClient) -> None:
    assert (
        client.get("/v1/plans/none", headers={"X-Request-ID": "a-b.c_9-12345"}).json()["request_id"] == "a-b.c_9-12345"
    )
    assert client.get("/v1/plans/none", headers={"X-Request-ID": "a b\x7f"}).json()["request_id"] != "a b\x7f"


def test_names_that_are_not_this_machine_lead_nowhere(app: FastAPI) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8000", "", "[::1", "10.0.0.1"):
        with TestClient(app, base_url="http://127.0.0.1", client=LOOPBACK) as client:
            answer = client.get("/healthz", headers={"Host": host})
        assert (answer.status_code, answer.json()["field"]) == (421, "Host"), host
    for host in ("localhost", "localhost:8000", "127.0.0.1:1", "[::1]:8000"):
        with TestClient(app, base_url="http://127.0.0.1", client=LOOPBACK) as client:
            assert client.get("/healthz", headers={"Host": host}).status_code == 200, host


def test_pages_of_other_sites_change_nothing(client: TestClient) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:9"):
        for method, path in (("POST", "/v1/profiles/import?format=gpuplan"), ("DELETE", "/v1/plans/x")):
            answer = client.request(method, path, headers={"Origin": origin})
            assert answer.status_code in (401, 403)


def test_a_defect_tells_nothing_of_the_inside(
    app: FastAPI, client: TestClient, capfd: pytest.CaptureFixture[str]
) -> None:
    @app.get("/broken")
    def broken() -> None:
        raise RuntimeError("the secret of the house")

    answer = client.get("/broken")
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.json()["request_id"]
    assert "secret" not in answer.text
    assert "RuntimeError" not in answer.text


def test_methods_that_a_path_does_not_have(client: TestClient) -> None:
    answer = client.put("/v1/plans/x")
    assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET")


def test_the_documentation_needs_nothing_from_elsewhere(client: TestClient) -> None:
    answer = client.get("/docs")
    assert "/v1/plans/{plan_id}" in answer.text
    assert "&quot;kind&quot;: &quot;experts&quot;" in answer.text, "examples are shown"
    assert not re.search(r"<script|https?://|src=|@import", answer.text)
    assert "http" not in answer.headers["Content-Security-Policy"]


def test_the_server_imports_nothing_heavy() -> None:
    heavy = (
        "numba",
        "pandas",
        "ortools",
        "highspy",
        "pulp",
        "scipy",
        "ray",
        "matplotlib",
        "alembic",
        "statsmodels",
        "kubernetes",
    )
    script = f"import sys, api.app; print([name for name in {heavy} if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
