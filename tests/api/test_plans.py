from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter
from sqlalchemy import Engine, event
from starlette.testclient import TestClient

from api.access import keys_store
from api.answers import JobAnswer, SavedPlan
from api.app import create_app
from api.examples import SPECS
from api.jobs import queue
from planner.audit import entries
from planner.settings import Settings
from tests.contract import EVERY_PLAN

EXPERTS = {"kind": "experts", "spec": SPECS["experts"]}
AT_ONCE = {"Prefer": "respond-async"}


def varied(num: int) -> dict[str, Any]:
    """A request that no other has."""
    return {"kind": "experts", "spec": {**SPECS["experts"], "name": f"number-{num}"}}


@pytest.mark.parametrize("kind", ["experts", "serving", "training"])
def test_a_plan_is_answered_saved_and_read_again(client: TestClient, worker: None, kind: str) -> None:
    made = client.post("/v1/plans", json={"kind": kind, "spec": SPECS[kind]}, headers={"Prefer": "wait=60"})
    assert made.status_code == 201, made.text
    plan = made.json()
    assert plan.keys() >= EVERY_PLAN | {"id"}
    assert plan["check"] == {"passed": True, "violations": []}
    assert made.headers["Location"] == f"/v1/plans/{plan['id']}"
    assert made.headers["Preference-Applied"] == "wait=60"
    TypeAdapter(SavedPlan).validate_python(plan)

    read = client.get(made.headers["Location"])
    assert read.json() == plan
    assert "immutable" in read.headers["Cache-Control"]
    again = client.get(made.headers["Location"], headers={"If-None-Match": read.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_who_does_not_wait_is_told_where_to_ask(client: TestClient, service_store: Engine) -> None:
    accepted = client.post("/v1/plans", json=EXPERTS, headers=AT_ONCE)
    assert accepted.status_code == 202
    assert accepted.headers["Preference-Applied"] == "respond-async"
    job = JobAnswer.model_validate_json(accepted.content)
    assert (job.status, job.kind) == ("queued", "plan")
    assert accepted.headers["Location"] == job.url == f"/v1/plans/{job.id}"
    assert client.get(job.url).status_code == 202
    assert queue.job(service_store, job.id).request["spec"]["name"] == "two-workloads"
    assert client.get("/v1/plans").json()["plans"] == []


def test_the_name_of_the_job_leads_to_the_plan(client: TestClient, request: pytest.FixtureRequest) -> None:
    url = client.post("/v1/plans", json=EXPERTS, headers=AT_ONCE).json()["url"]
    request.getfixturevalue("worker")
    answer = client.get(url)
    while answer.status_code == 202:
        answer = client.get(url)
    assert answer.status_code == 200
    assert answer.headers["Content-Location"] == f"/v1/plans/{answer.json()['id']}"


def test_waiting_ends_when_it_was_asked_to(client: TestClient) -> None:
    answer = client.post("/v1/plans", json=EXPERTS, headers={"Prefer": "wait=1"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")


@pytest.mark.parametrize("prefer", ["wait=", "wait=-1", "wait=1e3", "handling=lenient", "", "wait", "\x01"])
def test_preferences_without_sense_are_ignored(prefer: str) -> None:
    from starlette.requests import Request

    from api.waiting import DEFAULT_WAIT_S, preferred_wait_s

    request = Request({"type": "http", "headers": [(b"prefer", prefer.encode())]})
    assert preferred_wait_s(request) == (DEFAULT_WAIT_S, None)


def test_an_infeasible_plan_is_an_answer(client: TestClient, worker: None) -> None:
    spec = json.loads(json.dumps(SPECS["serving"]))
    spec["limits"] = {"budget_usd_per_hour": 0.01}
    made = client.post("/v1/plans", json={"kind": "serving", "spec": spec}, headers={"Prefer": "wait=60"})
    assert made.status_code == 201
    assert made.json()["outcome"] == "infeasible"
    assert made.json()["conflicts"]
    assert client.get(made.headers["Location"] + "/render", params={"target": "kubernetes"}).status_code == 422


def test_what_cannot_be_planned_is_a_problem_with_its_field(client: TestClient, worker: None) -> None:
    spec = json.loads(json.dumps(SPECS["serving"]))
    spec["services"][0]["model"] = "nobody/knows-this"
    answer = client.post("/v1/plans", json={"kind": "serving", "spec": spec})
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["field"] == "services[0].model"
    failed = client.get("/v1/jobs", params={"status": "failed"}).json()["jobs"][0]
    assert failed["problem"]["field"] == "services[0].model"
    told = client.get(failed["url"])
    assert (told.status_code, told.json()["status"]) == (200, "failed")


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"kind": "nothing", "spec": {}}, "kind"),
        ({"spec": {}}, "kind"),
        ({"kind": "experts"}, "spec"),
        ({**EXPERTS, "time_limit_s": 601}, "time_limit_s"),
        ({**EXPERTS, "time_limit_s": -1}, "time_limit_s"),
        ({**EXPERTS, "seed": 2**40}, "seed"),
        ({**EXPERTS, "tmie_limit_s": 3}, "tmie_limit_s"),
        ({"kind": "experts", "spec": {**SPECS["experts"], "topology": {"gpus": 4}}}, "spec.topology.slots_per_gpu"),
        ({"kind": "experts", "spec": []}, "spec"),
        ([], "body"),
        (None, "body"),
    ],
)
def test_mistakes_are_named_by_their_place(client: TestClient, document: Any, field: str) -> None:
    answer = client.post("/v1/plans", json=document)
    assert answer.status_code == 422, answer.text
    mistakes = [mistake["field"] for mistake in answer.json().get("errors", [])]
    assert field in [answer.json()["field"], *mistakes]
    assert client.get("/v1/jobs").json()["jobs"] == []


def test_a_nested_kind_is_not_mistaken_for_the_planner(client: TestClient) -> None:
    spec = json.loads(json.dumps(SPECS["power"]))
    del spec["workloads"][0]["demand"]["kind"]
    told = client.post("/v1/plans", json={"kind": "power", "spec": spec}).json()
    assert told["field"] == "spec.workloads[0].demand"
    assert "serving" not in told["detail"]


def test_parameters_that_are_not_known_are_named(client: TestClient) -> None:
    answer = client.get("/v1/plans?knd=serving")
    assert (answer.status_code, answer.json()["field"]) == (422, "knd")
    assert answer.json()["fix"].startswith("did you mean kind?")


def test_every_mistake_is_told_at_once(client: TestClient) -> None:
    spec = {"name": "x", "services": [{"nmae": "chat", "model": "m", "workload": {"requests_per_s": "many"}}]}
    told = client.post("/v1/plans", json={"kind": "serving", "spec": spec}).json()
    by_field = {mistake["field"]: mistake["detail"] for mistake in told["errors"]}
    assert by_field["spec.services[0].nmae"] == "unknown field; did you mean 'name'?"
    assert "spec.services[0].workload.requests_per_s" in by_field
    assert "spec.services" not in by_field


def test_lists_are_whole_and_without_doubles(client: TestClient, worker: None) -> None:
    made = {client.post("/v1/plans", json=varied(i)).json()["id"] for i in range(7)}
    seen: list[str] = []
    url: str | None = "/v1/plans?kind=experts&limit=3"
    while url:
        page = client.get(url)
        seen += [entry["id"] for entry in page.json()["plans"]]
        url = page.json()["next"]
        assert page.headers.get("Link") == (f'<{url}>; rel="next"' if url else None)
    assert len(seen) == 7
    assert set(seen) == made
    assert client.get("/v1/plans?kind=power").json()["plans"] == []
    assert client.get("/v1/plans?cursor=nonsense").status_code == 422
    assert client.get("/v1/plans?kind=nonsense").status_code == 422
    assert client.get("/v1/plans?limit=1001").status_code == 422


def test_checks_and_files_of_a_plan(client: TestClient, worker: None) -> None:
    url = client.post("/v1/plans", json=EXPERTS).headers["Location"]
    check = client.get(f"{url}/check")
    assert check.json()["passed"]
    assert client.get(f"{url}/check", headers={"If-None-Match": check.headers["ETag"]}).status_code == 304

    files = client.get(f"{url}/render", params={"target": "vllm"}).json()["files"]
    archive = client.get(f"{url}/render", params={"target": "vllm"}, headers={"Accept": "application/zip"})
    assert archive.headers["Content-Type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(archive.content)) as opened:
        assert {name: opened.read(name).decode() for name in opened.namelist()} == files
    wrong = client.get(f"{url}/render", params={"target": "vlm"})
    assert (wrong.status_code, wrong.json()["field"]) == (422, "target")
    assert "vllm" in wrong.json()["fix"]


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a/../../b", "..\\..\\x", "C:\\x", "..", "", "./x"]
)
def test_names_in_archives_stay_inside(name: str) -> None:
    from api.routers.plans import _zipped

    with zipfile.ZipFile(io.BytesIO(_zipped({name: "x"}))) as archive:
        (kept,) = archive.namelist()
    assert kept
    assert not kept.startswith("/")
    assert ":" not in kept
    assert ".." not in kept.split("/")


@pytest.mark.parametrize("path", ["", "/check", "/render?target=vllm", "/compare?to=x"])
@pytest.mark.parametrize("name", ["none", "..%2f..%2fetc", "%00", "🦊", "a" * 64, "'; DROP TABLE saved_plans; --"])
def test_what_is_not_there_is_404(client: TestClient, name: str, path: str) -> None:
    answer = client.get(f"/v1/plans/{name}{path}")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_cancelling_ends_what_waits_and_nothing_else(client: TestClient, service_store: Engine) -> None:
    job = client.post("/v1/plans", json=EXPERTS, headers=AT_ONCE).json()
    assert client.delete(job["url"]).status_code == 204
    told = client.get(job["url"])
    assert (told.status_code, told.json()["status"]) == (200, "cancelled")
    assert client.delete(job["url"]).status_code == 409
    assert client.delete("/v1/plans/none").status_code == 404

    running = client.post("/v1/plans", json=EXPERTS, headers=AT_ONCE).json()
    assert queue.claim(service_store, "test") is not None
    asked = client.delete(f"/v1/jobs/{running['id']}")
    assert (asked.status_code, asked.json()["status"]) == (202, "running")


def test_a_plan_that_is_made_cannot_be_cancelled(client: TestClient, worker: None) -> None:
    url = client.post("/v1/plans", json=EXPERTS).headers["Location"]
    assert client.delete(url).status_code == 409
    assert client.get(url).status_code == 200


def test_keys_cancel_only_what_they_asked_for(service_store: Engine, key_for: Callable[..., dict[str, str]]) -> None:
    app = create_app(service_store, Settings(), open_to_loopback=False)
    mine, other, admin, reader = key_for("plan", "read"), key_for("plan"), key_for("admin"), key_for("read")
    with TestClient(app) as client:
        job = client.post("/v1/plans", json=EXPERTS, headers={**mine, **AT_ONCE}).json()
        assert client.get(job["url"], headers=reader).status_code == 202
        assert client.delete(job["url"], headers=reader).status_code == 403
        assert client.delete(job["url"], headers=other).status_code == 403
        assert client.delete(job["url"]).status_code == 401
        assert client.get("/v1/jobs?mine=true", headers=mine).json()["jobs"][0]["id"] == job["id"]
        assert client.get("/v1/jobs?mine=true", headers=reader).json()["jobs"] == []
        assert client.get("/v1/audit", headers=mine).status_code == 403
        assert client.delete(job["url"], headers=admin).status_code == 204
        log = client.get("/v1/audit", headers=admin).json()["entries"]
    assert [(entry["action"], entry["subject"]) for entry in log] == [
        ("plan.cancel", job["id"]), ("plan.request", job["id"]),
    ]  # fmt: skip
    names = {key.id for key in keys_store.keys(service_store)}
    assert any(name in entries(service_store)[-1].actor for name in names)


def test_a_full_queue_is_429(service_store: Engine) -> None:
    app = create_app(service_store, Settings(most_queued=1), open_to_loopback=False)
    _, key = keys_store.create(service_store, "test", ["plan"], None)
    with TestClient(app, headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.post("/v1/plans", json=varied(0), headers=AT_ONCE).status_code == 202
        answer = client.post("/v1/plans", json=varied(1), headers=AT_ONCE)
    assert answer.status_code == 429
    assert answer.json()["fix"]


def test_a_store_that_is_away_is_503_without_its_place(app: FastAPI, client: TestClient, service_store: Engine) -> None:
    place = service_store.url.database or ""
    service_store.dispose()
    moved = Path(place).rename(f"{place}.away")
    Path(place).mkdir()
    for answer in (client.get("/v1/plans"), client.post("/v1/plans", json=EXPERTS), client.get("/v1/profiles")):
        assert answer.status_code == 503
        assert "Retry-After" in answer.headers
        assert place not in answer.text
    Path(place).rmdir()
    moved.rename(place)
    assert client.get("/v1/plans").status_code == 200


def test_a_read_only_store_is_read(client: TestClient, service_store: Engine) -> None:
    def refuse_writes(connection: Any, _: object) -> None:
        connection.execute("PRAGMA query_only = ON")

    event.listen(service_store, "connect", refuse_writes)
    service_store.dispose()
    assert client.get("/v1/plans").status_code == 200
    assert client.get("/v1/profiles").status_code == 200
    for headers in (AT_ONCE, {**AT_ONCE, "Idempotency-Key": "k"}):
        assert client.post("/v1/plans", json=EXPERTS, headers=headers).status_code == 503
    event.remove(service_store, "connect", refuse_writes)
    service_store.dispose()
    assert client.post("/v1/plans", json=EXPERTS, headers={**AT_ONCE, "Idempotency-Key": "k"}).status_code == 202
