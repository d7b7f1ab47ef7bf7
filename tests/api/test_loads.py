"""``GET /v1/plans/{id}/loads``: of placements of experts, and of nothing else."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from api.examples import SPECS
from api.routers import loads

WAIT = {"Prefer": "wait=60"}


@pytest.mark.parametrize("bytes_read_here", [loads.MOST_VIEWED_HERE_BYTES, 0])
def test_loads_average_to_the_plans_balancedness(
    client: TestClient, worker: None, monkeypatch: pytest.MonkeyPatch, bytes_read_here: int
) -> None:
    monkeypatch.setattr(loads, "MOST_VIEWED_HERE_BYTES", bytes_read_here)
    made = client.post("/v1/plans", json={"kind": "experts", "spec": SPECS["experts"]}, headers=WAIT).json()
    found = client.get(f"/v1/plans/{made['id']}/loads").json()
    plan = next(placement for placement in found["placements"] if placement["name"] == "plan")
    assert sum(plan["balancedness"]) / len(found["layers"]) == pytest.approx(made["balancedness"])


def test_other_plans_have_none(client: TestClient, worker: None) -> None:
    made = client.post("/v1/plans", json={"kind": "serving", "spec": SPECS["serving"]}, headers=WAIT).json()
    answer = client.get(f"/v1/plans/{made['id']}/loads")
    assert answer.status_code == 409
    assert "serving" in answer.json()["detail"]
    assert client.get("/v1/plans/nothing/loads").status_code == 404
