"""Health, readiness and metrics, as probes and Prometheus ask for them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine, text

from api.access import keys_store
from api.app import create_app
from api.jobs import queue
from api.ops import metrics, routes, store
from api.ops.metrics import job_ended
from planner.errors import StoreError
from planner.settings import Settings


class _Workers:
    def __init__(self, num_alive: int) -> None:
        self.num_alive = num_alive

    def alive(self) -> int:
        return self.num_alive


def _get(engine: Engine, *paths: str, workers: Any = None, headers: Any = None) -> list[httpx.Response]:
    app = create_app(engine, Settings(), open_to_loopback=headers is None, supervisor=workers)

    async def got() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", headers=headers) as client:
            return [await client.get(path) for path in paths]

    return asyncio.run(got())


def _values(answer: httpx.Response) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families: Iterable[Any] = text_string_to_metric_families(answer.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def test_alive(engine: Engine) -> None:
    (answer,) = _get(engine, "/healthz", headers={})
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_ready_with_a_worker_beside(any_engine: Engine) -> None:
    (answer,) = _get(any_engine, "/readyz", workers=_Workers(1))
    assert (answer.status_code, answer.json()) == (200, {"ready": True, "store": "ok", "workers": "alive"})


def test_ready_with_a_worker_elsewhere(any_engine: Engine) -> None:
    (without,) = _get(any_engine, "/readyz", workers=_Workers(0))
    store.sign_of_life(any_engine, "elsewhere", 1)
    (with_one,) = _get(any_engine, "/readyz")
    assert (without.status_code, without.json()["workers"]) == (503, "none")
    assert (with_one.status_code, with_one.json()["workers"]) == (200, "alive")


def test_not_ready_with_a_schema_of_another_version(any_engine: Engine) -> None:
    with any_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    (answer,) = _get(any_engine, "/readyz", workers=_Workers(1))
    assert (answer.status_code, answer.json()["store"]) == (503, "other version")


def test_not_ready_without_a_store(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Engine) -> bool:
        raise StoreError("postgresql://ann@db.example/plans cannot be used (secret of the network)")

    monkeypatch.setattr(store, "is_current", away)
    (answer,) = _get(engine, "/readyz", workers=_Workers(1), headers={})
    assert (answer.status_code, answer.json()["store"]) == (503, "out of reach")
    assert "db.example" not in answer.text, "who needs no key learns no names"


def test_a_store_that_hangs_is_asked_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    going_on, asked = threading.Event(), []

    def hang(_: Engine) -> bool:
        asked.append(1)
        going_on.wait(10)
        return True

    monkeypatch.setattr(store, "is_current", hang)
    monkeypatch.setattr(routes, "PATIENCE_S", 0.05)
    monkeypatch.setattr(routes, "ASKED_AGAIN_S", 0.0)
    threading.Timer(1.0, going_on.set).start()
    answers = _get(engine, *["/readyz"] * 4, workers=_Workers(1))
    assert {answer.status_code for answer in answers} == {503}
    assert len(asked) == 1


def test_metrics_need_a_key_where_everything_does(engine: Engine) -> None:
    _, reads = keys_store.create(engine, "prometheus", ["read"], None)
    _, plans = keys_store.create(engine, "ann", ["plan"], None)
    statuses = [
        _get(engine, "/metrics", headers=headers)[0].status_code
        for headers in ({}, {"Authorization": f"Bearer {reads}"}, {"Authorization": f"Bearer {plans}"})
    ]
    assert statuses == [401, 200, 403]


def test_metrics_tell_of_requests_jobs_and_the_queue(any_engine: Engine) -> None:
    queue.submit(any_engine, "plan", {}, "ann", most_queued=10)
    queue.submit(any_engine, "plan", {}, "ann", most_queued=10)
    assert queue.claim(any_engine, "worker") is not None
    store.sign_of_life(any_engine, "elsewhere", 3)
    before = _values(_get(any_engine, "/metrics")[0])
    job_ended("plan", "done", 2.5, {"kind": "serving", "outcome": "optimal", "solve_s": 2.0, "gap": 0.0})
    job_ended("simulation", "done", 4.0, {"num_requests": 1000, "wall_seconds": 0.5})
    job_ended("plan", "failed", 0.1)
    answer = _get(any_engine, "/healthz", "/nowhere/at/all", "/metrics")[-1]
    after = _values(answer)

    def grown(name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return after[key] - before.get(key, 0.0)

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert after["gpuplan_jobs", frozenset({("state", "queued")})] == 1
    assert after["gpuplan_jobs", frozenset({("state", "running")})] == 1
    assert after["gpuplan_workers", frozenset()] == 3
    assert after["gpuplan_store_up", frozenset()] == 1
    assert 0 < after["gpuplan_oldest_queued_job_seconds", frozenset()] < 60
    assert grown("gpuplan_http_requests_total", method="GET", route="/healthz", status="200") == 1
    assert grown("gpuplan_http_requests_total", method="GET", route="none", status="404") == 1
    assert grown("gpuplan_http_request_seconds_count", method="GET", route="/healthz") == 1
    assert grown("gpuplan_jobs_ended_total", kind="plan", state="done") == 1
    assert grown("gpuplan_jobs_ended_total", kind="plan", state="failed") == 1
    assert grown("gpuplan_solve_seconds_sum", kind="serving", outcome="optimal") == 2.0
    assert grown("gpuplan_plan_gap_bucket", kind="serving", outcome="optimal", le="0.0") == 1
    assert grown("gpuplan_simulated_requests_total") == 1000
    assert grown("gpuplan_simulation_seconds_total") == 0.5


def test_metrics_of_a_server_whose_store_is_gone(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Engine) -> None:
        raise StoreError("cannot be used")

    monkeypatch.setattr(queue, "depth", away)
    values = _values(_get(engine, "/metrics")[0])
    assert values["gpuplan_store_up", frozenset()] == 0
    assert ("gpuplan_workers", frozenset()) not in values


def test_labels_are_templates_not_what_callers_send(engine: Engine) -> None:
    _get(engine, *(f"/v1/plans/{n:032x}" for n in range(20)), *(f"/made/up/{n}" for n in range(20)))
    routes_seen = {dict(labels).get("route") for _, labels in _values(_get(engine, "/metrics")[0])}
    assert "/v1/plans/{plan_id}" in routes_seen
    assert not any((route and "00000" in route) or (route and "made" in route) for route in routes_seen)


def test_every_metric_has_a_help_text_and_the_prefix(engine: Engine) -> None:
    text = _get(engine, "/metrics")[0].text
    for family in text_string_to_metric_families(text):
        assert family.name.startswith(("gpuplan_", "process_"))
        assert family.documentation
    assert metrics.CONTENT_TYPE.startswith("text/plain")
