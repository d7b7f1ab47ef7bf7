"""The documentation holds: requests made from it never fail, and answers are what it says.

``GPUPLAN_SCHEMATHESIS_CASES=5000 pytest tests/api/test_openapi.py -n 0 -s`` tries as many random requests, and every
boundary value of every field besides; it says how many there were.
"""

from __future__ import annotations

import copy
import os
from collections import Counter
from typing import Any

import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, settings
from pydantic import TypeAdapter
from sqlalchemy import Engine, create_engine
from starlette.testclient import TestClient

import api.waiting
from api.apart import MOST_S
from api.app import create_app
from api.examples import SPECS
from api.requests import PlanRequest
from planner.registry import PLANNERS, planner_for
from planner.service import make_plan
from planner.settings import Settings
from planner.store import list_plans
from planner.types import SolveOptions

CASES = int(os.environ.get("GPUPLAN_SCHEMATHESIS_CASES", "300"))
DOCUMENT = create_app(create_engine("sqlite://"), Settings(), open_to_loopback=True).openapi()
NUM_OPERATIONS = sum(len(path) for path in DOCUMENT["paths"].values())

WITHOUT_A_KEY = {"/healthz", "/readyz"}

# Each request carries a key: what happens without one is tried for all operations below.
UNSECURED = copy.deepcopy(DOCUMENT)
for path in UNSECURED["paths"].values():
    for operation in path.values():
        operation.pop("security", None)

schema = schemathesis.openapi.from_dict(UNSECURED)
schema.config.update(base_url="http://127.0.0.1", request_timeout=MOST_S + 10)  # what the service itself gives up after
schema.config.phases.coverage.enabled = "GPUPLAN_SCHEMATHESIS_CASES" in os.environ  # thousands of cases by itself
schema.config.checks.positive_data_acceptance.expected_statuses += ["422"]  # what no schema can say, as sums to 1
counted: Counter[int] = Counter()
serving: list[FastAPI] = []


async def newest(scope: Any, receive: Any, send: Any) -> None:
    """The application of the test that runs."""
    await serving[-1](scope, receive, send)


schema.app = newest


@pytest.fixture
def plan_id(service_store: Engine) -> str:
    """A saved plan, so that some of what is asked for is there."""
    spec = planner_for("experts").spec_type.model_validate(SPECS["experts"])
    make_plan("experts", spec, service_store, SolveOptions())
    return list_plans(service_store).plans[0].id


class Idle:
    """Workers that are there and do nothing."""

    def alive(self) -> int:
        return 1

    def wake(self) -> None: ...

    start = stop = wake


@pytest.fixture
def headers(service_store: Engine, key_for: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A key that may do everything, at an application that lets in nobody without."""
    monkeypatch.setattr(api.waiting, "DEFAULT_WAIT_S", 0)
    serving.append(create_app(service_store, Settings(), open_to_loopback=False, supervisor=Idle()))  # type: ignore[arg-type]
    return key_for("admin")


@schema.parametrize()
@settings(
    max_examples=max(2, CASES // NUM_OPERATIONS),
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_answers_are_as_documented(case: Any, headers: dict[str, str], plan_id: str) -> None:
    if case.path_parameters and case.meta.generation.mode.is_positive and sum(counted.values()) % 2:
        case.path_parameters = {name: plan_id if name == "plan_id" else v for name, v in case.path_parameters.items()}
    response = case.call(headers=headers)
    counted[response.status_code] += 1
    case.validate_response(response, headers=headers)


def test_nothing_is_answered_without_a_key(headers: dict[str, str]) -> None:
    with TestClient(serving[-1]) as client:
        for path, operations in DOCUMENT["paths"].items():
            for method in operations:
                for shown in ({}, {"Authorization": headers["Authorization"][:-1]}, {"Authorization": "Bearer x"}):
                    answer = client.request(method, path.replace("{", "").replace("}", ""), headers=shown)
                    if path not in WITHOUT_A_KEY:
                        # Bodies and parameters are looked at first; what they lack is said to anybody.
                        assert answer.status_code in (401, 422), (method, path, answer.text)


def test_every_operation_has_a_name_a_tag_and_a_sentence() -> None:
    operations = [operation for path in DOCUMENT["paths"].values() for operation in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert all(operation["tags"] and operation["description"] for operation in operations)


def test_every_kind_has_a_worked_example() -> None:
    body = DOCUMENT["paths"]["/v1/plans"]["post"]["requestBody"]["content"]["application/json"]
    assert body["examples"].keys() == PLANNERS.keys()
    for kind, example in body["examples"].items():
        assert TypeAdapter(PlanRequest).validate_python(example["value"]).kind == kind


def test_it_said_how_many() -> None:
    print(f"\n{sum(counted.values())} requests: {dict(sorted(counted.items()))}")
    assert counted
    assert max(counted) < 500
