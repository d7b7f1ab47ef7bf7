"""The Kubernetes target against a real control plane, where ``GPUPLAN_TEST_KUBECONFIG`` names one.

Its user may make namespaces and nodes: nodes and kubelets are pretended. Each test has a namespace of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from planner import audit
from planner.errors import ProvisioningFailed
from planner.provision import store
from planner.provision.apply import How, apply_plan, roll_back, withdraw, would_change
from planner.provision.cluster import Cluster, Refusal, cluster_at
from planner.provision.driver import Driver
from planner.provision.kubernetes import driver_of
from planner.provision.status import status
from planner.serving.plan import ServingPlan
from tests.planner.provision.front import Front
from tests.planner.provision.plans import CHEAPEST, OTHER
from tests.planner.provision.pretend_nodes import pretend_nodes

KUBECONFIG = "GPUPLAN_TEST_KUBECONFIG"
pytestmark = pytest.mark.skipif(KUBECONFIG not in os.environ, reason=f"{KUBECONFIG} names no cluster")

HOW = How("test", wait_s=60)
NOW = replace(HOW, wait_s=4)
NODES = {CHEAPEST: ("NVIDIA-L4", 2), OTHER: ("NVIDIA-L40S", 4)}
Plans = tuple[ServingPlan, ServingPlan, ServingPlan]


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The official client's core and apps."""
    from kubernetes import client, config

    path = os.environ[KUBECONFIG]
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", path)
    made = config.new_client_from_config(path)
    return client.CoreV1Api(made), client.AppsV1Api(made)


@pytest.fixture
def raw(clients: Any) -> Iterator[Cluster]:
    """A namespace of its own."""
    core, _ = clients
    name = f"gpuplan-test-{uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": name}})
    context = cluster_at("").name.rpartition("/")[0]
    yield cluster_at(f"{context}/{name}")
    core.delete_namespace(name)


@pytest.fixture
def front(clients: Any, raw: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Front]:
    """What stands in front of it, where ``KUBECONFIG`` leads."""
    core, _ = clients
    served = Front(core.api_client, old=not _serves_budgets(raw))
    (tmp_path / "kubeconfig").write_text(served.kubeconfig(raw.namespace))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "kubeconfig"))
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
    yield served
    served.close()


@pytest.fixture
def real(front: Front) -> Driver:
    """The target there."""
    return driver_of(cluster_at(""))


def _serves_budgets(cluster: Cluster) -> bool:
    versions = cluster.request("get", "/apis/policy")["versions"]
    return any(version["version"] == "v1" for version in versions)


def replicas(apps: Any, cluster: Cluster) -> dict[str, int]:
    return {item.spec.template.spec.node_selector["node.kubernetes.io/instance-type"]: item.spec.replicas
            for item in apps.list_namespaced_deployment(cluster.namespace).items}  # fmt: skip


def wanted(plan: ServingPlan) -> dict[str, int]:
    return {row.instance_type: row.replicas for row in plan.allocation}


def test_the_whole_life(filled: Engine, clients: Any, raw: Cluster, real: Driver, plans: Plans) -> None:
    core, apps = clients
    small, mixed, large = plans
    with pretend_nodes(core, raw.namespace, NODES):
        assert {change.action for change in would_change(filled, real, mixed, "chat")} == {"add"}
        apply_plan(filled, real, mixed, "chat", HOW)
        assert replicas(apps, raw) == wanted(mixed)
        assert would_change(filled, real, mixed, "chat") == ()
        assert status(filled, real, "chat").as_planned
        apply_plan(filled, real, large, "chat", HOW)
        assert replicas(apps, raw) == wanted(large)
        apply_plan(filled, real, small, "chat", HOW)
        assert roll_back(filled, real, "chat", HOW).plan == large
        assert roll_back(filled, real, "chat", HOW).plan == mixed
        assert replicas(apps, raw) == wanted(mixed)
        withdraw(filled, real, "chat", "test")
    assert real.actual("chat") == {}


def test_drift_and_what_others_own(filled: Engine, clients: Any, raw: Cluster, real: Driver, plans: Plans) -> None:
    core, apps = clients
    with pretend_nodes(core, raw.namespace, NODES):
        apply_plan(filled, real, plans[0], "chat", HOW)
        (deployment,) = apps.list_namespaced_deployment(raw.namespace).items
        name = deployment.metadata.name
        change = {"spec": {"replicas": 2}, "metadata": {"annotations": {"theirs": "stays"}}}
        apps.patch_namespaced_deployment(name, raw.namespace, change, field_manager="somebody")
        (found,) = status(filled, real, "chat").drift
        assert [(field.path, field.before, field.after) for field in found.fields] == [("spec.replicas", 2, 1)]
        assert "somebody" in found.obstacle
        with pytest.raises(ProvisioningFailed, match=r"nothing was changed.*spec\.replicas"):
            apply_plan(filled, real, plans[0], "chat", HOW)
        apply_plan(filled, real, plans[0], "chat", replace(HOW, take_over=True))
        after = apps.read_namespaced_deployment(name, raw.namespace)
        assert (after.spec.replicas, after.metadata.annotations["theirs"]) == (1, "stays")


def test_objects_of_others_stay(filled: Engine, clients: Any, raw: Cluster, real: Driver, plans: Plans) -> None:
    core, _ = clients
    core.create_namespaced_config_map(raw.namespace, {"metadata": {"name": "theirs"}, "data": {"a": "b"}})
    key = next(key for key in real.desired(plans[0], "chat") if key.startswith("Service/"))
    service = {"metadata": {"name": key.partition("/")[2]}, "spec": {"ports": [{"port": 1}]}}
    core.create_namespaced_service(raw.namespace, service)
    with pytest.raises(ProvisioningFailed, match="was not made by gpuplan"):
        apply_plan(filled, real, plans[0], "chat", HOW)
    real.remove("chat", key)
    assert core.read_namespaced_service(service["metadata"]["name"], raw.namespace).spec.ports[0].port == 1
    raw.request("delete", f"/api/v1/namespaces/{raw.namespace}/services/{service['metadata']['name']}")
    apply_plan(filled, real, plans[0], "chat", replace(HOW, wait_s=0))
    withdraw(filled, real, "chat", "test")
    assert core.read_namespaced_config_map("theirs", raw.namespace).data == {"a": "b"}


def test_a_short_type_is_seen_and_the_next_best_plan_runs(
    filled: Engine, clients: Any, raw: Cluster, real: Driver, plans: Plans
) -> None:
    core, apps = clients
    with pretend_nodes(core, raw.namespace, {OTHER: NODES[OTHER]}):
        with pytest.raises(ProvisioningFailed, match=r"didn't match.*next best plan costs"):
            apply_plan(filled, real, plans[0], "chat", NOW)
        applied = apply_plan(filled, real, plans[0], "chat", replace(NOW, wait_s=20, fallback=True))
        assert replicas(apps, raw) == wanted(applied.plan)
        assert CHEAPEST not in replicas(apps, raw)
        assert f"0 of 1 {CHEAPEST}" in applied.notes[0]


def test_a_cluster_without_nodes_is_short(filled: Engine, real: Driver, plans: Plans) -> None:
    with pytest.raises(ProvisioningFailed, match=rf"(no nodes available|didn't match).*Short: 0 of 1 {CHEAPEST}"):
        apply_plan(filled, real, plans[0], "chat", NOW)


def test_too_few_gpus_of_a_type(filled: Engine, clients: Any, raw: Cluster, real: Driver, plans: Plans) -> None:
    core, _ = clients
    with (
        pretend_nodes(core, raw.namespace, {OTHER: ("NVIDIA-L40S", 1)}),
        pytest.raises(ProvisioningFailed, match=rf"1 of 4 .*Insufficient nvidia.com/gpu.*1 of 4 {OTHER}"),
    ):
        apply_plan(filled, real, plans[2], "chat", NOW)


def test_a_quota_refuses_a_part(filled: Engine, clients: Any, raw: Cluster, real: Driver, plans: Plans) -> None:
    core, apps = clients
    quota = {"metadata": {"name": "few"}, "spec": {"hard": {"count/deployments.apps": "0"}}}
    core.create_namespaced_resource_quota(raw.namespace, quota)
    deadline = 50
    while not core.read_namespaced_resource_quota("few", raw.namespace).status.hard and deadline:
        deadline -= 1
    with pytest.raises(ProvisioningFailed, match="exceeded quota"):
        apply_plan(filled, real, plans[0], "chat", NOW)
    core.delete_namespaced_resource_quota("few", raw.namespace)
    apply_plan(filled, real, plans[0], "chat", replace(HOW, wait_s=0))
    assert replicas(apps, raw) == wanted(plans[0])


def test_kill_9_of_the_command_at_every_write(
    filled: Engine, clients: Any, raw: Cluster, real: Driver, front: Front, plans: Plans, tmp_path: Path
) -> None:
    """Each process is killed in its first write, done or not yet answered; the same command goes on to the end."""
    _, apps = clients
    small, _, large = plans

    def command(plan: ServingPlan) -> subprocess.Popen[bytes]:
        path = tmp_path / "plan.json"
        path.write_text(plan.model_dump_json())
        words = ("apply", str(path), "--target", "kubernetes", "--name", "chat", "--yes", "--wait", "60")
        program = "from planner.cli import main; main()"
        return subprocess.Popen([sys.executable, "-c", program, *words, "--database", str(filled.url)])

    def run(plan: ServingPlan, dies_at: tuple[int, str] | None = None) -> int:
        start = front.writes
        process = command(plan)

        def at_write(number: int, when: str) -> None:
            if (number - start, when) == dies_at:
                process.kill()
                process.wait()
                raise ConnectionAbortedError

        front.at_write = at_write
        return process.wait(60)

    with pretend_nodes(clients[0], raw.namespace, NODES):
        assert run(small) == 0
        before, kills, code = front.writes, 0, -9
        while code == -9 and kills < 30:
            # Each gets one write done: the first, of which it never hears, or the one before the one it dies in.
            code = run(large, [(1, "after"), (2, "before")][kills % 2])
            kills += code == -9
            if kills < 4:  # the traffic did not move yet
                assert replicas(apps, raw)[CHEAPEST] == wanted(small)[CHEAPEST]
        assert code == 0
        writes = _steps(real, small, large)
        assert kills >= len(writes) - 1
        assert front.writes - before - kills // 2 == len(writes)  # nothing twice, but for what never arrived
        assert status(filled, real, "chat").as_planned
        assert real.actual("chat").keys() == real.desired(large, "chat").keys()
        assert [row.state for row in store.history(filled, "chat")] == ["applied", "applied"]
        applied = [entry for entry in audit.entries(filled) if entry.action == "deployment.apply"]
        assert len(applied) == 2
        withdraw(filled, real, "chat", "test")
    assert real.actual("chat") == {}


def _steps(driver: Driver, before: ServingPlan, after: ServingPlan) -> set[str]:
    """Keys of everything that changes between two plans."""
    one, other = driver.desired(before, "chat"), driver.desired(after, "chat")
    return {key for key in one.keys() | other.keys() if one.get(key) != other.get(key)}


def test_an_old_server_is_told_apart(filled: Engine, raw: Cluster, plans: Plans) -> None:
    if _serves_budgets(raw):
        pytest.skip("this server has every kind")
    with pytest.raises(ProvisioningFailed, match="does not list PodDisruptionBudgets") as caught:
        apply_plan(filled, driver_of(raw), plans[0], "chat", HOW)
    assert "1.21" in str(caught.value)
    with pytest.raises(Refusal):
        raw.request("get", f"/apis/policy/v1/namespaces/{raw.namespace}/poddisruptionbudgets")
