"""``GET /v1/plans/{id}/view``: what people see of a plan is what its planner shows."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.examples import SPECS
from api.routers import plans
from planner.documents import validated
from planner.registry import PLANNERS, planner_for
from planner.store import load_plan
from planner.types import View

WAIT = {"Prefer": "wait=60"}


@pytest.mark.parametrize("kind", ["experts", "serving", "training"])
def test_the_view_is_the_planners_own(client: TestClient, worker: None, service_store: Engine, kind: str) -> None:
    plan_id = client.post("/v1/plans", json={"kind": kind, "spec": SPECS[kind]}, headers=WAIT).json()["id"]
    answer = client.get(f"/v1/plans/{plan_id}/view")
    plan = validated(PLANNERS[kind].plan_type, load_plan(service_store, plan_id).plan, "plan")
    assert View.model_validate(answer.json()) == planner_for(kind).view(plan)
    assert answer.json()["headline"].startswith(SPECS[kind]["name"])
    again = client.get(f"/v1/plans/{plan_id}/view", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_cannot_be_planned_has_a_view_too(client: TestClient, worker: None) -> None:
    spec = json.loads(json.dumps(SPECS["serving"]))
    spec["limits"] = {"budget_usd_per_hour": 0.01}
    url = client.post("/v1/plans", json={"kind": "serving", "spec": spec}, headers=WAIT).headers["Location"]
    view = client.get(f"{url}/view").json()
    assert view["headline"] == "chat: no mix meets the request"
    assert view["tables"][0]["rows"][0][0] == "limits.budget_usd_per_hour"
    assert view["notes"]


def test_a_large_plan_is_viewed_in_a_process_of_its_own(
    client: TestClient, worker: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"kind": "experts", "spec": SPECS["experts"]}
    url = client.post("/v1/plans", json=body, headers=WAIT).headers["Location"]
    here = client.get(f"{url}/view")
    monkeypatch.setattr(plans, "MOST_VIEWED_HERE_BYTES", 0)
    apart = client.get(f"{url}/view")
    assert (apart.content, apart.headers["ETag"]) == (here.content, here.headers["ETag"])


@pytest.mark.parametrize("name", ["none", "..%2f..%2fetc", "%00", "a" * 64])
def test_there_is_no_view_of_what_is_not_there(client: TestClient, name: str) -> None:
    answer = client.get(f"/v1/plans/{name}/view")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_what_is_not_made_yet_has_no_view(client: TestClient) -> None:
    job = client.post("/v1/plans", json={"kind": "experts", "spec": SPECS["experts"]},
                      headers={"Prefer": "respond-async"}).json()  # fmt: skip
    assert client.get(f"/v1/plans/{job['id']}/view").status_code == 409
