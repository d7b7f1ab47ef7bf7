from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from api.examples import SPECS, SWEEP_REQUESTS
from api.requests import ReplayOptions
from planner.simulate import Options

FULL = {"Prefer": "wait=60"}


@pytest.fixture
def plan(client: TestClient, worker: None) -> dict[str, Any]:
    """A serving plan that is saved."""
    made = client.post("/v1/plans", json={"kind": "serving", "spec": SPECS["serving"]}, headers=FULL)
    assert made.status_code == 201, made.text
    document: dict[str, Any] = made.json()
    return document


def test_a_plan_is_replayed(client: TestClient, plan: dict[str, Any]) -> None:
    traffic = {"chat": {"arrivals": "gamma", "cv": 3, "duration_s": 60}}
    made = client.post("/v1/simulations", json={"plan_id": plan["id"], "traffic": traffic}, headers=FULL)
    assert made.status_code == 201, made.text
    found = made.json()
    assert found["num_requests"] > 100
    assert 0 <= found["slo_attainment"] <= 1
    read = client.get(made.headers["Location"])
    assert read.json() == found
    assert client.get(made.headers["Location"], headers={"If-None-Match": read.headers["ETag"]}).status_code == 304
    assert client.get(made.headers["Location"].replace("simulations", "sweeps")).status_code == 404

    whole = {key: value for key, value in plan.items() if key != "id"}
    again = client.post("/v1/simulations", json={"plan": whole, "traffic": traffic}, headers=FULL).json()
    assert {**again, "wall_seconds": 0, "id": ""} == {**found, "wall_seconds": 0, "id": ""}


def test_given_requests_are_replayed_one_by_one(client: TestClient, plan: dict[str, Any]) -> None:
    requests = {"arrival_s": [0, 1, 1.5], "input_tokens": [10, 200, 3000], "output_tokens": [5, 50, 1]}
    made = client.post("/v1/simulations", json={"plan_id": plan["id"], "traffic": {"chat": requests}}, headers=FULL)
    assert made.json()["events"]["completed"] == 3
    wrong = {**requests, "arrival_s": [0, 2, 1]}
    answer = client.post("/v1/simulations", json={"plan_id": plan["id"], "traffic": {"chat": wrong}}, headers=FULL)
    assert (answer.status_code, answer.json()["field"]) == (422, "traffic: arrival_s")
    answer = client.post("/v1/simulations", json={"plan_id": plan["id"], "traffic": {"chta": requests}}, headers=FULL)
    assert (answer.status_code, answer.json()["field"]) == (422, "traffic")


def test_replays_of_nothing(client: TestClient) -> None:
    answer = client.post("/v1/simulations", json={"plan_id": "none"})
    assert (answer.status_code, answer.json()["field"]) == (422, "plan_id")
    assert client.post("/v1/simulations", json={}).status_code == 422


def test_options_of_replays_are_those_of_the_planner() -> None:
    """They are written down twice: the fields, their defaults and their limits stay equal."""
    assert ReplayOptions.model_fields.keys() == Options.model_fields.keys()
    assert ReplayOptions().model_dump(exclude={"failures"}) == Options().model_dump(exclude={"failures"})
    for name in ReplayOptions.model_fields:
        for value in (-1, 0, 1, 2**31 - 1, "x", True):
            accepted = []
            for options in (ReplayOptions, Options):
                try:
                    options.model_validate({name: value})
                    accepted.append(True)
                except ValidationError:
                    accepted.append(False)
            # Ours may be narrower (no number beyond reason), never wider.
            assert accepted[1] >= accepted[0], (name, value)


def test_a_sweep_has_a_row_for_each_combination(client: TestClient, worker: None) -> None:
    request = json.loads(json.dumps(SWEEP_REQUESTS["growth"]["value"]))
    made = client.post("/v1/sweeps", json=request, headers=FULL)
    assert made.status_code == 201, made.text
    rows = made.json()["rows"]
    assert [row["changes"] for row in rows] == [{"services[0].workload.requests_per_s": v} for v in (8, 16, 32)]
    costs = [row["objective"] for row in rows]
    assert costs == sorted(costs)
    assert client.get(made.headers["Location"]).json() == made.json()


def test_sweeps_with_mistakes_are_refused_at_once(client: TestClient) -> None:
    request = json.loads(json.dumps(SWEEP_REQUESTS["growth"]["value"]))
    request["vary"][0]["path"] = "services[0].wrkload.requests_per_s"
    answer = client.post("/v1/sweeps", json=request)
    assert answer.status_code == 422
    assert "did you mean 'workload'" in answer.json()["detail"]
    assert client.post("/v1/sweeps", json={**request, "time_limit_s": 10_000}).status_code == 422
    assert client.get("/v1/jobs").json()["jobs"] == []
