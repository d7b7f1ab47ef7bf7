"""A disk without room: what would write is refused with 503 and can be asked again, what reads goes on."""

from __future__ import annotations

from typing import Any

from httpx import Response
from sqlalchemy import Engine, event
from starlette.testclient import TestClient

from api.examples import SPECS


def _fill(engine: Engine) -> Any:
    """Leave SQLite no page more than it has, which it reports as it does a full disk; return what undoes it."""

    def limit(connection: Any, _: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {connection.execute('PRAGMA page_count').fetchone()[0]}")

    def free() -> None:
        event.remove(engine, "connect", limit)
        engine.dispose()

    engine.dispose()
    event.listen(engine, "connect", limit)
    return free


def test_a_full_disk_refuses_what_writes_and_nothing_is_half_done(client: TestClient, service_store: Engine) -> None:
    def asked(number: int) -> Response:
        request = {"kind": "experts", "spec": {**SPECS["experts"], "name": f"number-{number}"}}
        headers = {"Prefer": "respond-async", "Idempotency-Key": f"key-{number}"}
        return client.post("/v1/plans", json=request, headers=headers)

    free = _fill(service_store)
    answers = [asked(number) for number in range(40)]  # the pages that are there have room for some
    refused = answers[-1]
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "5"
    assert "fix" in refused.json()
    assert str(service_store.url.database) not in refused.text
    assert {answer.status_code for answer in answers} <= {202, 503}
    for path in ("/healthz", "/v1/plans", "/v1/jobs", "/v1/profiles"):
        assert client.get(path).status_code == 200, path
    free()
    assert [asked(number).status_code for number in range(40)] == [202] * 40, "each may be tried again"
    listed = client.get("/v1/jobs?limit=100").json()["jobs"]
    assert len(listed) == 40, "and was made once"
