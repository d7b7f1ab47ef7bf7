"""SkyServe services follow plans; what gpuplan did not start stays; a crash in the middle starts nothing twice."""

from __future__ import annotations

import enum
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine

from planner.errors import InvalidInput, ProvisioningFailed
from planner.provision.apply import How, apply_plan, roll_back, withdraw, would_change
from planner.provision.driver import Driver, Refused, Unreachable
from planner.provision.skypilot import Sky, driver_of, installed_sky
from planner.render.serving_skypilot import skypilot
from planner.render.serving_units import units
from planner.serving.plan import ServingPlan

Plans = tuple[ServingPlan, ServingPlan, ServingPlan]
HOW = How(actor="test", wait_s=0.2)


class SkyServe:
    """Services as SkyServe keeps them: every replica is ready at once, unless its instance type is short."""

    def __init__(self) -> None:
        self.services: dict[str, dict[str, Any]] = {}
        self.short: set[str] = set()
        self.calls: list[tuple[str, str]] = []
        self.dies_after_up = False

    def sdk(self) -> Sky:
        return Sky(self.statuses, self.up, self.update, self.down, check=lambda task: None)

    def statuses(self) -> dict[str, tuple[str, ...]]:
        return {name: self._replicas(task) for name, task in self.services.items()}

    def _replicas(self, task: dict[str, Any]) -> tuple[str, ...]:
        count = task["service"]["replica_policy"]["min_replicas"]
        short = task["resources"]["instance_type"] in self.short
        return ("FAILED_PROVISION" if short else "READY",) * count

    def up(self, task: dict[str, Any], name: str) -> None:
        assert name not in self.services, "SkyServe refuses a second service of a name"
        self.calls.append(("up", name))
        self.services[name] = task
        if self.dies_after_up:
            self.dies_after_up = False
            raise KeyboardInterrupt

    def update(self, task: dict[str, Any], name: str) -> None:
        assert name in self.services
        self.calls.append(("update", name))
        self.services[name] = task

    def down(self, name: str) -> None:
        self.calls.append(("down", name))
        del self.services[name]


@pytest.fixture
def serve() -> SkyServe:
    return SkyServe()


@pytest.fixture
def driver(serve: SkyServe, tmp_path: Path) -> Driver:
    return driver_of(tmp_path / "sky", serve.sdk())


def wanted(plan: ServingPlan, name: str = "chat") -> dict[str, int]:
    return {unit.id: unit.row.replicas for unit in units(plan, name)}


def running(serve: SkyServe) -> dict[str, int]:
    return {name: len(replicas) for name, replicas in serve.statuses().items()}


def test_a_plan_is_applied_changed_rolled_back_and_withdrawn(
    filled: Engine, plans: Plans, serve: SkyServe, driver: Driver
) -> None:
    first, second, _ = plans
    apply_plan(filled, driver, first, "chat", HOW)
    assert running(serve) == wanted(first)
    apply_plan(filled, driver, second, "chat", HOW)
    assert running(serve) == wanted(second)
    assert all(change.action == "leave" for change in would_change(filled, driver, second, "chat"))
    calls = list(serve.calls)
    apply_plan(filled, driver, second, "chat", HOW)
    assert serve.calls == calls
    roll_back(filled, driver, "chat", HOW)
    assert running(serve) == wanted(first)
    withdraw(filled, driver, "chat", "test")
    assert running(serve) == {}


def test_what_is_put_is_what_is_rendered(filled: Engine, plans: Plans, serve: SkyServe, driver: Driver) -> None:
    made = plans[1].model_copy(update={"spec": plans[1].spec.model_copy(update={"name": "chat"})})
    apply_plan(filled, driver, plans[1], "chat", HOW)
    assert {f"{name}.yaml" for name in serve.services} == set(skypilot(made))


def test_services_of_others_stay(filled: Engine, plans: Plans, serve: SkyServe, driver: Driver) -> None:
    foreign = next(iter(wanted(plans[0])))
    task = {"resources": {"instance_type": "theirs"}, "service": {"replica_policy": {"min_replicas": 1}}}
    serve.services = {foreign: task, "another": task}
    with pytest.raises(ProvisioningFailed, match="is there already"):
        apply_plan(filled, driver, plans[0], "chat", HOW)
    assert serve.calls == []
    driver.remove("chat", f"SkyServe/{foreign}")
    assert serve.services == {foreign: task, "another": task}


def test_a_crash_after_a_start_is_gone_on_from(filled: Engine, plans: Plans, serve: SkyServe, driver: Driver) -> None:
    serve.dies_after_up = True
    with pytest.raises(KeyboardInterrupt):
        apply_plan(filled, driver, plans[1], "chat", HOW)
    assert len(serve.services) == 1
    apply_plan(filled, driver, plans[1], "chat", HOW)
    assert running(serve) == wanted(plans[1])
    starts = [name for action, name in serve.calls if action == "up"]
    assert len(starts) == len(set(starts))


def test_a_short_instance_type_leads_to_another_plan(
    filled: Engine, plans: Plans, serve: SkyServe, driver: Driver
) -> None:
    serve.short = {plans[0].allocation[0].instance_type}
    (applied,) = [apply_plan(filled, driver, plans[0], "chat", How(actor="test", wait_s=0.2, fallback=True))]
    assert applied.notes
    assert not serve.short & {row.instance_type for row in applied.plan.allocation}
    assert set(wanted(applied.plan)) <= set(running(serve))


def test_names_do_not_leave_the_folder(tmp_path: Path, driver: Driver) -> None:
    for key in ("SkyServe/../../x", "SkyServe/a/b", "SkyServe/"):
        with pytest.raises(ProvisioningFailed, match="cannot name a service"):
            driver.remove("chat", key)
    with pytest.raises(InvalidInput):
        driver.actual("../chat")


def test_records_that_cannot_be_read_are_not_taken_for_none(
    filled: Engine, plans: Plans, tmp_path: Path, driver: Driver
) -> None:
    apply_plan(filled, driver, plans[0], "chat", HOW)
    (record,) = (tmp_path / "sky/chat").glob("*.json")
    record.write_text("{")
    with pytest.raises(ProvisioningFailed, match="cannot be read"):
        driver.actual("chat")


# SkyPilot's SDK


class ApiServerConnectionError(RuntimeError):
    pass


class ClusterNotUpError(Exception):
    pass


@pytest.fixture
def fake_sdk(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Modules of SkyPilot's shape, whose requests do what ``answers`` says; the real shape is tested below."""

    def get(request: Any) -> Any:
        if isinstance(request, Exception):
            raise request
        return request

    class Task(SimpleNamespace):
        @staticmethod
        def from_yaml_config(config: dict[str, Any]) -> Task:
            config.pop("service", None)  # as the real one does
            return Task(config=config, secrets={})

        def update_secrets(self, secrets: dict[str, str]) -> Task:
            self.secrets |= secrets
            return self

    made: list[tuple[str, Any]] = []
    serve: Any = ModuleType("sky.serve")
    serve.UpdateMode = enum.Enum("UpdateMode", ["ROLLING"])
    serve.status = lambda names: sky.answer
    serve.up = lambda task, name: made.append((name, task))
    sky: Any = ModuleType("sky")
    sky.exceptions = SimpleNamespace(
        ApiServerConnectionError=ApiServerConnectionError, ClusterNotUpError=ClusterNotUpError
    )
    sky.get, sky.Task, sky.serve, sky.made, sky.answer = get, Task, serve, made, []
    monkeypatch.setitem(sys.modules, "sky", sky)
    monkeypatch.setitem(sys.modules, "sky.serve", serve)
    return sky


def test_answers_of_the_sdk(fake_sdk: Any) -> None:
    sky = installed_sky()
    ready = SimpleNamespace(name="READY")
    fake_sdk.answer = [{"name": "a", "replica_info": [{"status": ready}, {"status": ready}]}]
    assert sky.statuses() == {"a": ("READY", "READY")}
    fake_sdk.answer = ClusterNotUpError("no controller")
    assert sky.statuses() == {}
    fake_sdk.answer = ApiServerConnectionError("nobody there\nat all")
    with pytest.raises(Unreachable, match=r"nobody there$"):
        sky.statuses()
    fake_sdk.answer = RuntimeError("boom")
    with pytest.raises(Refused, match="boom"):
        sky.statuses()


def test_a_token_goes_to_skypilot_and_nowhere_else(
    fake_sdk: Any, filled: Engine, plans: Plans, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    driver = driver_of(tmp_path / "sky", installed_sky())
    (document,) = driver.desired(plans[0], "chat").values()
    driver.put("chat", document, False)
    ((name, task),) = fake_sdk.made
    assert name == document["name"]
    assert task.secrets == {"HF_TOKEN": "hf_secret"}
    assert "service" in document["spec"]["task"]
    for path in (tmp_path / "sky").rglob("*.json"):
        assert "hf_secret" not in path.read_text()


def test_without_skypilot_the_target_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sky", None)
    with pytest.raises(InvalidInput, match="not installed"):
        installed_sky()


REAL = """
import inspect
import sky
from sky import serve
inspect.signature(serve.up).bind(object(), "name")
inspect.signature(serve.update).bind(object(), "name", serve.UpdateMode.ROLLING)
inspect.signature(serve.down).bind(["name"])
inspect.signature(serve.status).bind(None)
inspect.signature(sky.get).bind("request")
assert {"READY", "FAILED_PROVISION"} <= set(serve.ReplicaStatus.__members__)
assert issubclass(sky.exceptions.ApiServerConnectionError, Exception)
assert issubclass(sky.exceptions.ClusterNotUpError, Exception)
task = sky.Task.from_yaml_config({"run": "true", "secrets": {"HF_TOKEN": ""}}).update_secrets({"HF_TOKEN": "x"})
assert task.secrets["HF_TOKEN"].get_secret_value() == "x"
print("as expected")
"""


@pytest.mark.skipif("GPUPLAN_VALIDATORS" not in os.environ, reason="GPUPLAN_VALIDATORS names no Python with skypilot")
def test_the_real_sdk_has_what_is_called(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), "SKYPILOT_DISABLE_USAGE_COLLECTION": "1"}
    ran = subprocess.run([os.environ["GPUPLAN_VALIDATORS"], "-c", REAL], capture_output=True, text=True, check=True,
                         env=environment, timeout=120)  # fmt: skip
    assert "as expected" in ran.stdout
