"""Services and nights over HTTP: versions, scopes, decisions, and a night as a job."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.app import create_app
from planner.replan import store
from planner.replan.request import ReplanOptions
from planner.replan.run import replan
from planner.settings import Settings
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


@pytest.mark.parametrize("body", [{"date": "yesterday"}, {"services": []}, {"services": ["nobody"]},
                                  {"options": {"solve": {"time_limit_s": 1e5}}}, {"what": 1}])  # fmt: skip
def test_a_night_that_cannot_be_meant(client: TestClient, body: dict[str, Any]) -> None:
    assert client.post("/v1/replans", json=body).status_code == 422
