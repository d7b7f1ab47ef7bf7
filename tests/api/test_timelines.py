"""The pipeline schedule of saved training plans."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from api.examples import SPECS
from planner.training.plan import Configuration
from planner.training.timeline import Timeline, timeline

SMALL: dict[str, Any] = {
    "model": "tiny", "shape": {"num_layers": 8, "hidden_size": 1024, "num_attention_heads": 8, "vocab_size": 8000},
    "sequence_length": 1024, "global_batch": 32, "tokens": 1e9,
    "cluster": {"groups": [{"gpu": "A100-80GB", "nodes": 2, "gpus_per_node": 2}]},
    "choices": {"frameworks": ["megatron-lm"], "recompute": ["none"]},
}  # fmt: skip


def made(client: TestClient, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    asked = client.post("/v1/plans", json={"kind": kind, "spec": spec}, headers={"Prefer": "wait=60"})
    assert asked.status_code == 201, asked.text
    plan: dict[str, Any] = asked.json()
    return plan


def test_the_schedule_of_each_configuration(client: TestClient, worker: None) -> None:
    plan = made(client, "training", SMALL)
    rows = [i for i, c in enumerate(plan["ranked"]) if c["pipeline_parallel"] > 1]
    assert rows
    for row in {0, rows[0]}:
        read = client.get(f"/v1/plans/{plan['id']}/timeline", params={"row": row})
        assert read.status_code == 200
        drawn = timeline(Configuration.model_validate(plan["ranked"][row]))
        assert Timeline.model_validate(read.json()) == drawn
    assert client.get(f"/v1/plans/{plan['id']}/timeline").json()["num_stages"] == plan["ranked"][0]["pipeline_parallel"]
    again = client.get(f"/v1/plans/{plan['id']}/timeline", headers={"If-None-Match": read.headers["ETag"]})
    assert again.status_code == (304 if row == 0 else 200)


@pytest.mark.parametrize(("row", "status"), [(1000, 422), (-1, 422), ("best", 422)])
def test_rows_that_are_not_there(client: TestClient, worker: None, row: Any, status: int) -> None:
    plan = made(client, "training", SMALL)
    refused = client.get(f"/v1/plans/{plan['id']}/timeline", params={"row": row})
    assert refused.status_code == status
    assert "row" in refused.text


def test_plans_without_a_schedule(client: TestClient, worker: None) -> None:
    experts = made(client, "experts", SPECS["experts"])
    assert client.get(f"/v1/plans/{experts['id']}/timeline").status_code == 409
    too_tight = made(client, "training", {**SMALL, "deadline_days": 1e-9})
    assert too_tight["outcome"] == "infeasible"
    refused = client.get(f"/v1/plans/{too_tight['id']}/timeline")
    assert refused.status_code == 409
    assert "infeasible" in refused.json()["detail"]
    without_gradients = made(client, "training", {**SMALL, "finetune": {"method": "zeroth_order"}})
    assert client.get(f"/v1/plans/{without_gradients['id']}/timeline").status_code == 409
    assert client.get("/v1/plans/nobody/timeline").status_code == 404
