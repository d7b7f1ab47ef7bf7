from __future__ import annotations

from typing import Any

from starlette.testclient import TestClient

from api.examples import SPECS


def made(client: TestClient, **changes: Any) -> str:
    answer = client.post("/v1/plans", json={"kind": "experts", "spec": {**SPECS["experts"], **changes}})
    plan_id: str = answer.json()["id"]
    return plan_id


def test_two_plans_are_compared(client: TestClient, worker: None) -> None:
    old = made(client)
    new = made(client, topology={"gpus": 8, "nodes": 2, "slots_per_gpu": 2})
    asked = client.post("/v1/comparisons", json={"plans": [old, new]})
    assert asked.status_code == 200
    changes = {change["path"]: (change["old"], change["new"]) for change in asked.json()["spec"]}
    assert changes == {"topology.slots_per_gpu": (3, 2)}
    read = client.get(f"/v1/plans/{old}/compare", params={"to": new})
    assert read.json() == asked.json()
    again = client.get(f"/v1/plans/{old}/compare", params={"to": new}, headers={"If-None-Match": read.headers["ETag"]})
    assert again.status_code == 304
    assert client.post("/v1/comparisons", json={"plans": [old, old]}).json()["same"]
    assert client.post("/v1/comparisons", json={"plans": [old, "none"]}).status_code == 422
    assert client.get(f"/v1/plans/{old}/compare", params={"to": "none"}).status_code == 422
    assert client.get("/v1/plans/none/compare", params={"to": old}).status_code == 404
