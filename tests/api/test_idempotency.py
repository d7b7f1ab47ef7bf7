from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import threading
import time

import httpx
import pytest
from sqlalchemy import Engine, update
from starlette.testclient import TestClient

from api import idempotency_store as store
from api.examples import SPECS
from api.jobs import queue
from api.tables import IdempotencyRow
from profiles.db import transaction

EXPERTS = {"kind": "experts", "spec": SPECS["experts"]}
AT_ONCE = {"Prefer": "respond-async"}


def age(engine: Engine, by: dt.timedelta) -> None:
    """Make all keys look older."""
    with transaction(engine) as session:
        session.execute(update(IdempotencyRow).values(created_at=dt.datetime.now(dt.UTC) - by))


def test_the_same_key_gives_the_same_answer(client: TestClient, service_store: Engine) -> None:
    headers = {**AT_ONCE, "Idempotency-Key": "one"}
    first, second = (client.post("/v1/plans", json=EXPERTS, headers=headers) for _ in range(2))
    assert (first.status_code, first.content) == (second.status_code, second.content)
    assert first.headers["Location"] == second.headers["Location"]
    assert "Idempotency-Replayed" not in first.headers
    assert second.headers["Idempotency-Replayed"] == "true"
    assert len(queue.jobs(service_store).jobs) == 1
    other = client.post("/v1/plans", json={**EXPERTS, "seed": 1}, headers=headers)
    assert (other.status_code, other.json()["field"]) == (422, "Idempotency-Key")
    elsewhere = client.post(
        "/v1/sweeps", json={**EXPERTS, "vary": [{"path": "name", "values": ["a"]}]}, headers=headers
    )
    assert elsewhere.status_code == 422
    assert len(queue.jobs(service_store).jobs) == 1


def test_a_plan_is_replayed_too(client: TestClient, worker: None, service_store: Engine) -> None:
    headers = {"Idempotency-Key": "made"}
    first, second = (client.post("/v1/plans", json=EXPERTS, headers=headers) for _ in range(2))
    assert first.status_code == second.status_code == 201
    assert first.json() == second.json()
    assert len(queue.jobs(service_store).jobs) == 1


def test_many_at_once_make_one_job(client: TestClient, service_store: Engine) -> None:
    answers: list[int] = []

    def ask() -> None:
        headers = {**AT_ONCE, "Idempotency-Key": "many"}
        answers.append(client.post("/v1/plans", json=EXPERTS, headers=headers).status_code)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 202 in answers
    assert set(answers) <= {202, 409}
    assert len(queue.jobs(service_store).jobs) == 1


def test_what_was_refused_may_be_tried_again(client: TestClient, service_store: Engine) -> None:
    headers = {**AT_ONCE, "Idempotency-Key": "again"}
    app = client.app
    app.state.settings = app.state.settings.model_copy(update={"most_queued": 1})  # type: ignore[attr-defined]
    blocking = client.post("/v1/plans", json={**EXPERTS, "seed": 7}, headers=AT_ONCE).json()
    assert client.post("/v1/plans", json=EXPERTS, headers=headers).status_code == 429
    client.delete(blocking["url"])
    assert client.post("/v1/plans", json=EXPERTS, headers=headers).status_code == 202


@pytest.mark.parametrize("key", ["", " ", " a", "é", "a" * 256, "a\tb"])
def test_keys_that_are_none(client: TestClient, key: str) -> None:
    answer = client.post("/v1/plans", json=EXPERTS, headers=[("Idempotency-Key", key.encode()), ("Prefer", "wait=0")])
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


def test_two_keys_are_a_mistake(client: TestClient) -> None:
    answer = client.post("/v1/plans", json=EXPERTS, headers=[("Idempotency-Key", "a"), ("Idempotency-Key", "b")])
    assert (answer.status_code, answer.json()["field"]) == (422, "Idempotency-Key")


def test_a_key_is_taken_once_and_taken_over_after_a_while(any_engine: Engine) -> None:
    first = store.reserve(any_engine, "ann", "k", "f", "id-1")
    assert (first.mine, first.reserved_id) == (True, "id-1")
    assert not store.reserve(any_engine, "ann", "k", "f", "id-2").mine
    assert store.reserve(any_engine, "bob", "k", "f", "id-3").mine
    age(any_engine, store.TAKEN_OVER)
    over = store.reserve(any_engine, "ann", "k", "f", "id-4")
    assert (over.mine, over.reserved_id) == (True, "id-1")
    assert not store.reserve(any_engine, "ann", "k", "f", "id-5").mine
    store.free(any_engine, "ann", "k")
    assert store.reserve(any_engine, "ann", "k", "f", "id-6").reserved_id == "id-1"
    store.keep(any_engine, "ann", "k", 201, {"Location": "/x"}, "{}")
    store.free(any_engine, "ann", "k")
    assert store.reserve(any_engine, "ann", "k", "f", "id-7").answer == store.Answer(201, {"Location": "/x"}, "{}")
    age(any_engine, store.KEPT + dt.timedelta(seconds=1))
    assert store.reserve(any_engine, "ann", "k", "other", "id-8").reserved_id == "id-8"


SERVER = """
import sys, uvicorn
from api import making
from api.app import create_app
from planner.settings import Settings
from profiles.db import connect
if sys.argv[3] == "hang":  # between the job and its answer
    async def hang(*_):
        print("hanging", flush=True)
        import asyncio; await asyncio.sleep(600)
    making._answer = hang
app = create_app(connect(sys.argv[1]), Settings(), open_to_loopback=True)
uvicorn.run(app, port=int(sys.argv[2]), log_level="error")
"""


def test_a_server_that_is_killed_in_between_makes_no_second_job(service_store: Engine) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url, headers = f"http://127.0.0.1:{port}/v1/plans", {**AT_ONCE, "Idempotency-Key": "killed"}

    def start(how: str) -> subprocess.Popen[bytes]:
        database = service_store.url.render_as_string()
        process = subprocess.Popen([sys.executable, "-c", SERVER, database, str(port), how], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz")
                return process
            except httpx.ConnectError:
                assert process.poll() is None
                time.sleep(0.05)

    killed = start("hang")

    def ask() -> None:
        with pytest.raises(httpx.HTTPError):
            httpx.post(url, json=EXPERTS, headers=headers)

    asking = threading.Thread(target=ask)
    asking.start()
    while not queue.jobs(service_store).jobs:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    asking.join()
    server = start("well")
    try:
        assert httpx.post(url, json=EXPERTS, headers=headers).status_code == 409
        age(service_store, store.TAKEN_OVER)
        answer = httpx.post(url, json=EXPERTS, headers=headers)
    finally:
        server.kill()
        server.wait()
    (job,) = queue.jobs(service_store).jobs
    assert (answer.status_code, answer.json()["id"]) == (202, job.id)
