"""``/v1/deployments`` in this process, on a local target."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from api.app import create_app
from planner import audit
from planner.provision import replicas
from planner.service import keep
from planner.serving.plan import ServingPlan
from planner.settings import Settings
from tests.planner.provision.plans import CHEAPEST, plan

Answer = tuple[int, dict[str, Any]]


@pytest.fixture(scope="module")
def plans(store_with_catalogue: Path) -> tuple[ServingPlan, ServingPlan]:
    """One small instance, and two with a large one."""
    from profiles.db import connect

    engine = connect(f"sqlite:///{store_with_catalogue}")
    made = plan(engine, 1.0), plan(engine, 8.0)
    engine.dispose()
    return made


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A local target that this server may use, and none besides."""
    folder = tmp_path / "local"
    monkeypatch.setenv("GPUPLAN_DEPLOY_TARGETS", f"local:{folder}, kubernetes")
    yield f"local:{folder}"
    for records in folder.glob("*/replicas"):
        shutil.rmtree(records)
    for child in replicas._children:
        child.wait(10)


def post(client: TestClient, path: str, body: Any, **headers: str) -> Answer:
    answer = client.post(f"/v1/deployments{path}", json=body, headers={"Prefer": "wait=60", **headers})
    return answer.status_code, answer.json()


def test_the_whole_life(
    client: TestClient, worker: None, target: str, service_store: Engine, plans: tuple[ServingPlan, ServingPlan]
) -> None:
    small, mixed = (keep(made, made.spec, service_store) for made in plans)
    code, shown = post(client, "", {"plan_id": small, "target": target})
    assert (code, shown["name"], {change["action"] for change in shown["changes"]}) == (200, "chat", {"add"})
    assert client.get("/v1/deployments").json()["deployments"] == []
    code, done = post(client, "", {"plan_id": small, "target": target, "confirm": True})
    assert (code, done["deployment"]["state"], [unit["ready"] for unit in done["units"]]) == (201, "applied", [1])
    found = client.get("/v1/deployments/chat").json()
    assert (found["as_planned"], found["deployment"]["plan_id"]) == (True, small)
    assert post(client, "", {"plan_id": mixed, "target": target, "confirm": True})[0] == 201
    (unit,) = (path for path in Path(target.partition(":")[2]).glob("chat/objects/Unit.*l40s*"))
    unit.write_text(unit.read_text().replace('"fp8"', '"fp4"'))
    found = client.get("/v1/deployments/chat", params={"target": target}).json()
    assert not found["as_planned"]
    assert [field["path"] for field in found["drift"][0]["fields"]] == ["spec.precision"]
    code, shown = post(client, "/chat/rollback", {})
    assert (code, shown["plan_id"]) == (200, small)
    code, done = post(client, "/chat/rollback", {"confirm": True})
    assert (code, done["deployment"]["purpose"], done["deployment"]["plan_id"]) == (201, "rollback", small)
    assert post(client, "/chat/rollback", {"confirm": True})[0] == 409
    (listed,) = client.get("/v1/deployments").json()["deployments"]
    assert listed["plan_id"] == small
    assert post(client, "/chat/withdrawal", {})[1]["changes"][0]["action"] == "remove"
    assert post(client, "/chat/withdrawal", {"confirm": True})[1]["deployment"]["state"] == "removed"
    actions = {(entry.action, entry.actor) for entry in audit.entries(service_store)}
    assert {("deployment.apply", "local"), ("deployment.rollback", "local"), ("deployment.removed", "local")} <= actions


def test_a_shortage_is_a_problem_that_says_what_came(
    client: TestClient, worker: None, target: str, service_store: Engine, plans: tuple[ServingPlan, ServingPlan]
) -> None:
    folder = Path(target.partition(":")[2])
    folder.mkdir()
    (folder / "capacity.json").write_text(json.dumps({CHEAPEST: 0}))
    plan_id = keep(plans[0], plans[0].spec, service_store)
    body = {"plan_id": plan_id, "target": target, "confirm": True, "wait_s": 0.3}
    code, problem = post(client, "", body)
    assert (code, problem["title"]) == (502, "provisioning failed")
    assert f"there are only 0 instances of {CHEAPEST}" in problem["detail"]
    code, done = post(client, "", {**body, "fallback": True})
    assert (code, done["deployment"]["state"]) == (201, "applied")
    assert f"0 of 1 {CHEAPEST}" in done["notes"][0]


def test_repeated_requests_apply_once(
    client: TestClient, worker: None, target: str, service_store: Engine, plans: tuple[ServingPlan, ServingPlan]
) -> None:
    plan_id = keep(plans[0], plans[0].spec, service_store)
    body = {"plan_id": plan_id, "target": target, "confirm": True}
    headers = {"Idempotency-Key": "once"}
    first, again = (client.post("/v1/deployments", json=body, headers={**headers, "Prefer": "wait=60"}) for _ in "12")
    assert (first.status_code, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert first.json() == again.json()


@pytest.mark.parametrize("scopes", [("read",), ("read", "plan")])
def test_only_the_scope_provision_changes_anything(
    service_store: Engine, key_for: Callable[..., dict[str, str]], target: str, scopes: tuple[str, ...]
) -> None:
    app = create_app(service_store, Settings(), open_to_loopback=False)
    key, provisioner = key_for(*scopes), key_for("provision")
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for path, body in (("", {"plan_id": "x", "target": target}), ("/x/rollback", {}), ("/x/withdrawal", {})):
            assert post(client, path, body, **key)[0] == 403
            assert post(client, path, body)[0] == 401
        assert client.get("/v1/deployments", headers=key).status_code == 200
        assert client.get("/v1/deployments").status_code == 401
        assert post(client, "/x/rollback", {}, **provisioner)[0] == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"target": "kubernetes:prod/default"}, "target"),
        ({"target": "local:/etc"}, "target"),
        ({"target": "moon"}, "target"),
        ({"plan_id": "nowhere"}, "plan"),
        ({"name": "../../etc"}, "name"),
        ({"name": "A B"}, "name"),
        ({"name": "a" * 41}, "name"),
        ({"wait_s": -1}, "wait_s"),
        ({"wait_s": 1e9}, "wait_s"),
        ({"kubeconfig": "/etc/kube"}, "kubeconfig"),
    ],
)
def test_mistakes_are_named(
    client: TestClient, worker: None, target: str, service_store: Engine, plans: tuple[ServingPlan, ServingPlan],
    change: dict[str, Any], field: str,
) -> None:  # fmt: skip
    plan_id = keep(plans[0], plans[0].spec, service_store)
    for confirm in (False, True):
        code, problem = post(client, "", {"plan_id": plan_id, "target": target, "confirm": confirm, **change})
        assert code == 422, problem
        assert field in json.dumps(problem)


def test_what_is_not_there_is_404(client: TestClient, target: str) -> None:
    assert client.get("/v1/deployments/nothing").status_code == 404
    assert client.get("/v1/deployments/..%2F..%2Fetc").status_code in (404, 422)
    assert post(client, "/nothing/rollback", {})[0] == 404
    assert post(client, "/nothing/withdrawal", {"confirm": True})[0] == 404


def test_pages(client: TestClient, target: str, service_store: Engine, plans: tuple[ServingPlan, ServingPlan]) -> None:
    from planner.provision import store

    plan_id = keep(plans[0], plans[0].spec, service_store)
    for name in ("a", "b", "c"):
        store.begin(service_store, name, target, plan_id, "apply")
    seen, path = [], "/v1/deployments?limit=2"
    while path:
        page = client.get(path).json()
        seen += [row["name"] for row in page["deployments"]]
        path = page["next"]
    assert seen == ["c", "b", "a"]
