from __future__ import annotations

import asyncio
import json
import threading
import time
from typing import Any

import pytest
from sqlalchemy import Engine
from sse_starlette.sse import AppStatus
from starlette.testclient import TestClient

from api import waiting
from api.examples import SPECS
from api.jobs import queue
from api.jobs.types import Status
from api.waiting import Waiting
from planner.errors import StoreError

EXPERTS = {"kind": "experts", "spec": SPECS["experts"]}
AT_ONCE = {"Prefer": "respond-async"}


def submit(engine: Engine, num: int = 1) -> list[str]:
    return [queue.submit(engine, "plan", {"kind": "experts"}, "test", most_queued=100).id for _ in range(num)]


def events_of(text: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(event, id, data) of a stream."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            found.append((fields["event"], fields["id"], json.loads(fields["data"])))
    return found


def test_events_tell_how_far_a_job_is_until_it_ends(client: TestClient, service_store: Engine) -> None:
    (job_id,) = submit(service_store)

    def work() -> None:
        claim = queue.claim(service_store, "test")
        assert claim is not None
        time.sleep(1)  # until somebody listens, on a busy machine too
        for share in (0.25, 0.5):
            time.sleep(0.2)
            queue.beat(service_store, claim, share, f"at {share}")
        time.sleep(0.2)
        queue.finish(service_store, claim, result={"found": 1})

    thread = threading.Thread(target=work)
    thread.start()
    stream = client.get(f"/v1/jobs/{job_id}/events")
    thread.join()
    assert stream.headers["Content-Type"].startswith("text/event-stream")
    told = events_of(stream.text)
    assert [event for event, _, _ in told[:-1]] == ["progress"] * (len(told) - 1)
    assert told[-1][0] == told[-1][1] == told[-1][2]["status"] == "done"
    shares = [data["progress"] for _, _, data in told]
    assert shares == sorted(shares)
    assert {0.25, 0.5, 1.0} <= set(shares)
    assert len({name for _, name, _ in told}) == len(told)

    late = events_of(client.get(f"/v1/jobs/{job_id}/events").text)
    assert [event for event, _, _ in late] == ["done"]
    assert client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "done"}).status_code == 204
    assert client.get("/v1/jobs/none/events").status_code == 404


@pytest.mark.parametrize("state", ["failed", "cancelled"])
def test_events_end_with_what_became_of_it(client: TestClient, service_store: Engine, state: str) -> None:
    (job_id,) = submit(service_store)
    if state == "cancelled":
        queue.cancel(service_store, job_id)
    else:
        claim = queue.claim(service_store, "test")
        assert claim is not None
        queue.fail(service_store, claim, {"title": "t", "status": 422, "detail": "d", "field": None, "fix": None})
    ((event, _, data),) = events_of(client.get(f"/v1/jobs/{job_id}/events").text)
    assert (event, data["status"]) == (state, state)
    assert (data["problem"] is not None) == (state == "failed")


def test_jobs_are_listed_by_what_they_are(client: TestClient, service_store: Engine) -> None:
    ids = submit(service_store, 5)
    queue.cancel(service_store, ids[0])
    pages = []
    url: str | None = "/v1/jobs?status=queued&limit=2"
    while url:
        page = client.get(url).json()
        pages.append([job["id"] for job in page["jobs"]])
        url = page["next"]
    assert pages == [[ids[4], ids[3]], [ids[2], ids[1]]]
    assert [job["id"] for job in client.get("/v1/jobs?status=cancelled").json()["jobs"]] == ids[:1]
    assert client.get("/v1/jobs?kind=sweep").json()["jobs"] == []
    assert client.get("/v1/jobs?cursor=x").status_code == 422
    assert client.get("/v1/jobs?kind=x").status_code == 422
    details = client.get(f"/v1/jobs/{ids[1]}").json()
    assert (details["request"], details["result"]) == ({"kind": "experts"}, None)


def test_all_who_wait_are_served_by_one_look(service_store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[int] = []
    states = queue.states

    def counted(engine: Engine, ids: Any) -> dict[str, Status]:
        looks.append(len(ids))
        return states(engine, ids)

    monkeypatch.setattr(queue, "states", counted)

    async def wait() -> None:
        those = Waiting(service_store)
        ids = submit(service_store, 40)
        waiters = [asyncio.create_task(those.until_final(ids[i % 40], 20)) for i in range(80)]
        await asyncio.sleep(0.3)
        assert not any(waiter.done() for waiter in waiters)
        for job_id in ids:
            queue.cancel(service_store, job_id)
        await asyncio.gather(*waiters)
        await asyncio.sleep(3 * waiting.POLL_S)
        num_looks = len(looks)
        await asyncio.sleep(5 * waiting.POLL_S)
        assert len(looks) == num_looks  # nobody waits, nobody looks

    asyncio.run(wait())
    assert max(looks) == 40


def test_waiting_outlives_a_store_that_goes_away(service_store: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AWAY_POLL_S", 0.02)
    states, failing = queue.states, iter([True, True, False])

    def sometimes(engine: Engine, ids: Any) -> dict[str, Status]:
        if next(failing, False):
            raise StoreError("gone for a moment")
        return states(engine, ids)

    monkeypatch.setattr(queue, "states", sometimes)
    (job_id,) = submit(service_store)
    queue.cancel(service_store, job_id)
    begun = time.monotonic()
    asyncio.run(Waiting(service_store).until_final(job_id, 20))
    assert time.monotonic() - begun < 10


def test_a_server_that_stops_keeps_nobody_waiting(
    client: TestClient, service_store: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AppStatus, "should_exit", True)
    begun = time.monotonic()
    answer = client.post("/v1/plans", json=EXPERTS, headers={"Prefer": "wait=60"})
    assert answer.status_code == 202
    assert queue.job(service_store, answer.json()["id"]).state == "queued"
    assert time.monotonic() - begun < 30


def test_waiting_for_what_is_not_there_ends(service_store: Engine) -> None:
    begun = time.monotonic()
    asyncio.run(Waiting(service_store).until_final("none", 20))
    assert time.monotonic() - begun < 10
