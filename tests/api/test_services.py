"""Services and nights over HTTP: versions, scopes, decisions, and a night as a job."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.app import create_app
from api.routers.services import Replanned
from planner.replan import store
from planner.replan.request import ReplanOptions
from planner.replan.run import replan
from planner.service import answer, keep
from planner.serving.spec import Limits
from planner.settings import Settings
from planner.types import SolveOptions
from tests.planner.replan.services import FIRST_DAY, flat, service

URL = "/v1/services/chat"


def document(rate: float = 1.4, **terms: Any) -> dict[str, Any]:
    """A service as a client sends it."""
    return service(rates=flat(21, rate), **terms).model_dump(mode="json")


def test_made_read_changed_and_deleted(client: TestClient) -> None:
    assert client.get("/v1/services").json()["services"] == []
    made = client.put(URL, json=document())
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    read = client.get(URL)
    assert read.json() == made.json()
    assert client.get(URL, headers={"If-None-Match": read.headers["etag"]}).status_code == 304
    changed = client.put(URL, json=document(2.0), headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    assert [s["name"] for s in client.get("/v1/services").json()["services"]] == ["chat"]
    assert client.delete(URL, headers={"If-Match": '"2"'}).status_code == 204
    assert client.get(URL).status_code == 404
    assert [entry["action"] for entry in client.get("/v1/audit").json()["entries"]][:3] == [
        "service.delete", "service.save", "service.save",
    ]  # fmt: skip


def test_stale_versions_change_nothing(client: TestClient) -> None:
    client.put(URL, json=document())
    for headers, status in (
        ({}, 428),
        ({"If-Match": '"7"'}, 412),
        ({"If-Match": "1"}, 412),
        ({"If-Match": 'W/"1"'}, 412),
    ):
        answer = client.put(URL, json=document(2.0), headers=headers)
        assert (answer.status_code, answer.json()["field"]) == (status, "If-Match")
        assert client.delete(URL, headers=headers).status_code == status
    assert client.get(URL).json()["version"] == 1
    assert client.put("/v1/services/other", json=document(), headers={"If-Match": '"1"'}).status_code in (412, 422)
    assert client.put(URL, json=document(2.0), headers={"If-Match": "*"}).json()["version"] == 2


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("other", {}, "name"),
        ("chat", {"terms": {"quantile": 95}}, "terms.quantile"),
        ("chat", {"terms": {"mode": "weekly"}}, "terms.mode"),
        ("chat", {"time_zone": "Mars/Olympus"}, "time_zone"),
        ("chat", {"demand": [{"service": "nobody", "files": ["/x.csv"]}]}, "no service"),
        ("chat", {"demand": [{"service": "chat"}]}, "demand"),
        ("chat", {"demand": [{"service": "chat", "observed": {"start": "0001-01-01T00:00+14:00",
                                                              "requests_per_s": [1]}}]}, "demand[0].observed.start"),
        ("chat", {"demand": [{"service": "chat", "files": ["x.csv"]}]}, "demand"),
        ("../chat", {}, ""),
        ("chat", {"name": "../../etc"}, "name"),
        ("chat", {"name": "$(id)"}, "name"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_names_the_field(
    client: TestClient, name: str, change: dict[str, Any], field: str
) -> None:
    answer = client.put(f"/v1/services/{name}", json=document() | change)
    assert answer.status_code in (404, 405, 422)
    assert field in answer.text
    assert client.get("/v1/services").json()["services"] == []


def test_scopes(key_for: Callable[..., dict[str, str]], service_store: Engine) -> None:
    read, plan, admin = key_for("read"), key_for("plan"), key_for("admin")
    with TestClient(
        create_app(service_store, Settings(), open_to_loopback=False), base_url="http://127.0.0.1"
    ) as closed:
        assert closed.put(URL, json=document()).status_code == 401
        assert closed.put(URL, json=document(), headers=read).status_code == 403
        assert closed.put(URL, json=document(), headers=plan).status_code == 201
        files = document() | {"demand": [{"service": "chat", "files": ["/etc/passwd"]}], "name": "files"}
        refused = closed.put("/v1/services/files", json=files, headers=plan)
        assert refused.status_code == 403
        assert "admin" in refused.json()["detail"]
        assert closed.put("/v1/services/files", json=files, headers=admin).status_code == 201
        asks = document() | {"refresh": [{"format": "gpuhunt", "options": {"provider": "aws"}}]}
        refused = closed.put(URL, json=asks, headers=plan | {"If-Match": "*"})
        assert (refused.status_code, refused.json()["field"]) == (403, "refresh")
        assert closed.get(URL, headers=read).status_code == 200
        assert closed.delete(URL, headers=read | {"If-Match": "*"}).status_code == 403


def test_decisions_page_by_page(client: TestClient, service_store: Engine) -> None:
    assert client.get(f"{URL}/decisions").status_code == 404
    store.save(service_store, service(rates=flat(30, 1.4)))
    days = [FIRST_DAY + dt.timedelta(days=i) for i in range(3)]
    for day in days:
        replan(service_store, day, ReplanOptions())
    first = client.get(f"{URL}/decisions", params={"limit": 2}).json()
    assert [d["date"] for d in first["decisions"]] == [str(days[2]), str(days[1])]
    rest = client.get(first["next"]).json()
    assert [d["date"] for d in rest["decisions"]] == [str(days[0])]
    assert rest["next"] is None
    assert rest["decisions"][0]["decision"] == "first_plan"
    assert client.get(URL).json()["running"]["plans"][0]["plan_id"]


def test_a_night_is_a_job(client: TestClient, service_store: Engine) -> None:
    store.save(service_store, service(rates=flat(21, 1.4)))
    asked = client.post("/v1/replans", json={"date": str(FIRST_DAY)}, headers={"Prefer": "respond-async"})
    assert asked.status_code == 202
    job = client.get(asked.headers["location"]).json()
    assert (job["kind"], job["status"]) == ("replan", "queued")
    assert job["request"]["services"] == ["chat"]
    assert job["request"]["date"] == str(FIRST_DAY)


def test_a_night_that_a_worker_decides(client: TestClient, worker: None, service_store: Engine) -> None:
    assert client.post("/v1/replans", json={}).json()["reports"] == []  # nothing is saved yet
    store.save(service_store, service(rates=flat(21, 1.4)))
    done = client.post("/v1/replans", json={"date": str(FIRST_DAY)}, headers={"Prefer": "wait=60"})
    assert done.status_code == 201
    (report,) = Replanned.model_validate(done.json()).reports
    assert report.decision == "first_plan"
    assert client.get(done.headers["location"]).json()["result"] == {"reports": done.json()["reports"]}
    (entry,) = [e for e in client.get("/v1/audit").json()["entries"] if e["action"] == "service.replan"]
    assert (entry["actor"], entry["subject"]) == ("local", "chat")


def test_what_runs_can_be_said(
    client: TestClient, service_store: Engine, key_for: Callable[..., dict[str, str]]
) -> None:
    def say(plan_id: str | None, version: int | None, url: str = URL, **headers: str) -> tuple[int, dict[str, Any]]:
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        answer = client.put(f"{url}/running", json={"plan_id": plan_id}, headers=headers)
        return answer.status_code, answer.json()

    store.save(service_store, service(rates=flat(21, 1.4)))
    spec = service(rates=flat(1, 1.0)).spec
    plan_id, useless = (
        keep(answer("serving", asked, service_store, SolveOptions()), asked, service_store)
        for asked in (spec, spec.model_copy(update={"limits": Limits(budget_usd_per_hour=0.1)}))
    )
    assert say(plan_id, None)[0] == 428
    assert say(plan_id, 7)[0] == 412
    assert say(plan_id, 1, "/v1/services/chta")[0] == 404
    for wrong in ("nothing", useless):
        status, problem = say(wrong, 1)
        assert (status, problem["field"]) == (422, "plan_id")
    assert client.put(f"{URL}/running", json={}, headers={"If-Match": "*"}).status_code == 422
    status, said = say(plan_id, 1)
    assert (status, said["version"], said["running"]["plans"][0]["plan_id"]) == (200, 2, plan_id)
    assert said["running"]["plans"][0]["fleet"][0]["instances"] > 0
    assert say(None, 1)[0] == 412
    assert say(None, 2)[1]["running"] is None
    assert client.get("/v1/audit").json()["entries"][0]["action"] == "service.running"
    keys = {403: key_for("plan"), 200: key_for("provision")}
    with TestClient(
        create_app(service_store, Settings(), open_to_loopback=False), base_url="http://127.0.0.1"
    ) as closed:
        for status, key in keys.items():
            headers = key | {"If-Match": "*"}
            assert closed.put(f"{URL}/running", json={"plan_id": plan_id}, headers=headers).status_code == status


@pytest.mark.parametrize(
    ("refresh", "field"),
    [({"format": "skypilot", "file": "/x.csv"}, "refresh[0]: format"),
     ({"format": "skypilot-catalogue", "file": "/x.csv", "options": {"path": "/y.csv"}}, "refresh[0]: --path"),
     ({"format": "skypilot-catalogue", "file": "/x.csv", "options": {"as_of": "today"}}, "refresh[0]: --as-of"),
     ({"format": "skypilot-catalogue"}, "refresh[0].file"),
     ({"format": "skypilot-catalogue", "file": "x.csv"}, "refresh")],
)  # fmt: skip
def test_sources_that_cannot_be_meant(client: TestClient, refresh: dict[str, Any], field: str) -> None:
    refused = client.put(URL, json=document() | {"refresh": [refresh]})
    assert (refused.status_code, refused.json()["field"]) == (422, field)


@pytest.mark.parametrize(
    "body",
    [{"date": "9999-12-31"}, {"date": "0001-01-01"}, {"date": "yesterday"}, {"services": []}, {"services": ["nobody"]},
     {"options": {"solve": {"time_limit_s": 1e5}}}, {"what": 1}],
)  # fmt: skip
def test_a_night_that_cannot_be_meant(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/v1/replans", json=body).status_code == 422
