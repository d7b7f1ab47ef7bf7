"""The Kubernetes target, against a strict API in this process."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from planner.errors import InvalidInput, ProvisioningFailed
from planner.provision import store
from planner.provision.apply import How, apply_plan, roll_back, withdraw, would_change
from planner.provision.cluster import cluster_at
from planner.provision.driver import Driver, Refused, Unreachable
from planner.provision.kubernetes import driver_of, kubernetes_driver
from planner.provision.status import status
from planner.serving.plan import ServingPlan
from tests.planner.provision.cluster_api import ClusterApi
from tests.planner.provision.plans import CHEAPEST

HOW = How("test", wait_s=5)
NOW = replace(HOW, wait_s=0.3)
Plans = tuple[ServingPlan, ServingPlan, ServingPlan]


def deployments(api: ClusterApi) -> dict[str, int]:
    """Replicas by instance type."""
    specs = [api.document("Deployment", name)["spec"] for name in api.names("Deployment")]
    return {spec["template"]["spec"]["nodeSelector"]["node.kubernetes.io/instance-type"]: spec["replicas"]
            for spec in specs}  # fmt: skip


def wanted(plan: ServingPlan) -> dict[str, int]:
    return {row.instance_type: row.replicas for row in plan.allocation}


def test_a_plan_is_applied_stays_and_goes(filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans) -> None:
    _, mixed, _ = plans
    assert {change.action for change in would_change(filled, cluster, mixed, "chat")} == {"add"}
    assert not api.objects
    applied = apply_plan(filled, cluster, mixed, "chat", HOW)
    assert applied.deployment.state == "applied"
    assert deployments(api) == wanted(mixed)
    assert status(filled, cluster, "chat").as_planned
    assert would_change(filled, cluster, mixed, "chat") == ()  # defaults of the server are no drift
    again = apply_plan(filled, cluster, mixed, "chat", HOW)
    assert again.deployment.id == applied.deployment.id
    assert withdraw(filled, cluster, "chat", "test").state == "removed"
    assert not api.objects


def test_what_is_no_longer_wanted_goes_last(filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans) -> None:
    small, _, large = plans
    apply_plan(filled, cluster, small, "chat", HOW)
    api.requests.clear()
    done = apply_plan(filled, cluster, large, "chat", HOW).deployment
    assert deployments(api) == wanted(large)
    order = [(step.action, step.key.partition("/")[0]) for step in done.journal]
    waited = order.index(("wait", ""))
    assert ("put", "Deployment") in order[:waited]
    assert ("put", "ConfigMap") in order[waited:]
    assert {action for action, _ in order[waited + 2 :]} == {"remove"}
    assert roll_back(filled, cluster, "chat", HOW).plan == small
    assert deployments(api) == wanted(small)


def test_a_unit_gets_smaller_only_after_the_traffic_moved(
    filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans
) -> None:
    small, mixed, _ = plans
    apply_plan(filled, cluster, mixed, "chat", HOW)
    journal = apply_plan(filled, cluster, small, "chat", HOW).deployment.journal
    order = [(step.action, step.key.partition("/")[0]) for step in journal]
    assert order.index(("put", "ConfigMap")) < order.index(("put", "Deployment"))
    assert deployments(api) == wanted(small)


def test_drift_is_named_field_by_field(filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans) -> None:
    apply_plan(filled, cluster, plans[0], "chat", HOW)
    (name,) = api.names("Deployment")
    api.edit("Deployment", name, "kubectl-scale", {"spec": {"replicas": 3}})
    found = status(filled, cluster, "chat")
    assert not found.as_planned
    (change,) = found.drift
    (field,) = change.fields
    assert (change.key, field.path, field.before, field.after) == (f"Deployment/{name}", "spec.replicas", 3, 1)
    assert "kubectl-scale" in change.obstacle
    with pytest.raises(ProvisioningFailed, match=r"nothing was changed.*spec\.replicas.*kubectl-scale"):
        apply_plan(filled, cluster, plans[0], "chat", HOW)
    assert api.document("Deployment", name)["spec"]["replicas"] == 3
    apply_plan(filled, cluster, plans[0], "chat", replace(HOW, take_over=True))
    assert api.document("Deployment", name)["spec"]["replicas"] == 1
    assert status(filled, cluster, "chat").as_planned


def test_what_others_add_stays(filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans) -> None:
    apply_plan(filled, cluster, plans[0], "chat", HOW)
    (name,) = api.names("Deployment")
    api.edit("Deployment", name, "mesh", {"metadata": {"annotations": {"mesh": "on"}}})
    assert status(filled, cluster, "chat").as_planned
    apply_plan(filled, cluster, plans[1], "chat", HOW)
    assert api.document("Deployment", name)["metadata"]["annotations"]["mesh"] == "on"


def test_objects_of_others_are_neither_changed_nor_removed(
    filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans
) -> None:
    key = next(key for key in cluster.desired(plans[0], "chat") if key.startswith("ConfigMap/"))
    kind, _, name = key.partition("/")
    api.create({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "labels": {"app": "theirs"}}})
    before = api.document(kind, name)
    with pytest.raises(ProvisioningFailed, match="was not made by gpuplan"):
        apply_plan(filled, cluster, plans[0], "chat", replace(HOW, take_over=True))
    cluster.remove("chat", key)
    with pytest.raises(Refused):
        cluster.put("chat", cluster.desired(plans[0], "chat")[key], True)
    assert api.document(kind, name) == before
    assert len(api.objects) == 1


def test_labelled_objects_that_no_record_names_are_left(
    filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans
) -> None:
    labels = {"app.kubernetes.io/managed-by": "gpuplan", "gpuplan.dev/name": "chat"}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "other-store", "labels": labels}})
    apply_plan(filled, cluster, plans[0], "chat", HOW)
    assert [change.action for change in would_change(filled, cluster, plans[0], "chat")] == ["leave"]
    withdraw(filled, cluster, "chat", "test")
    assert api.names("ConfigMap") == {"other-store"}


def test_two_deployments_in_one_namespace_do_not_meet(
    filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans
) -> None:
    apply_plan(filled, cluster, plans[0], "one", HOW)
    ones = set(api.objects)
    apply_plan(filled, cluster, plans[0], "two", HOW)
    assert len(api.objects) == 2 * len(ones)
    withdraw(filled, cluster, "two", "test")
    assert set(api.objects) == ones


@pytest.mark.parametrize(("code", "message"), [(403, "exceeded quota"), (422, "spec is invalid"), (400, "no dry run")])
def test_what_a_dry_run_refuses_stops_everything(
    filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans, code: int, message: str
) -> None:
    api.refuses["Deployment", ""] = (code, message)
    with pytest.raises(ProvisioningFailed, match=f"nothing was changed.*{message}"):
        apply_plan(filled, cluster, plans[0], "chat", HOW)
    assert not api.objects
    assert store.history(filled, "chat") == ()


def test_a_cluster_that_refuses_half_gets_the_other_half_and_keeps_the_traffic(
    filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans
) -> None:
    small, _, large = plans
    apply_plan(filled, cluster, small, "chat", HOW)
    before = {key: api.document(*key) for key in api.objects}
    api.refuses["Deployment", "real"] = (403, "denied by policy")
    with pytest.raises(ProvisioningFailed, match=r"denied by policy.*Not done.*Nothing was removed"):
        apply_plan(filled, cluster, large, "chat", HOW)
    assert {key: api.document(*key) for key in before} == before
    assert len(api.names("Service")) == 2
    last = store.history(filled, "chat")[-1]
    assert last.state == "failed"
    assert {step.state for step in last.journal} == {"done", "refused"}
    api.refuses.clear()
    apply_plan(filled, cluster, large, "chat", HOW)
    assert deployments(api) == wanted(large)
    assert len(api.names("Service")) == 1


def test_a_failed_apply_is_rolled_back_to_what_ran(
    filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans
) -> None:
    small, _, large = plans
    apply_plan(filled, cluster, small, "chat", HOW)
    names = {key: api.document(*key) for key in api.objects}
    api.crashing = True
    with pytest.raises(ProvisioningFailed, match="CrashLoopBackOff"):
        apply_plan(filled, cluster, large, "chat", NOW)
    api.crashing = False
    roll_back(filled, cluster, "chat", HOW)
    assert {key: api.document(*key) for key in api.objects} == names


def test_shortage_is_told_and_the_next_best_plan_named(
    filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans
) -> None:
    api.gpus = {CHEAPEST: 0}
    with pytest.raises(ProvisioningFailed, match=r"Insufficient nvidia.com/gpu.*next best plan costs") as caught:
        apply_plan(filled, cluster, plans[0], "chat", NOW)
    assert "--fallback" in str(caught.value)
    assert store.history(filled, "chat")[-1].state == "failed"


def test_the_fallback_runs_elsewhere_and_says_so(
    filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans
) -> None:
    api.gpus = {CHEAPEST: 0}
    applied = apply_plan(filled, cluster, plans[0], "chat", replace(NOW, fallback=True))
    assert CHEAPEST not in deployments(api)
    assert deployments(api) == wanted(applied.plan)
    (note,) = applied.notes
    assert f"0 of 1 {CHEAPEST}" in note
    assert applied.deployment.reason == note
    assert status(filled, cluster, "chat").as_planned


def test_a_busy_server_is_asked_again(filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans) -> None:
    api.busy = 2
    assert apply_plan(filled, cluster, plans[0], "chat", HOW).deployment.state == "applied"


def test_a_server_that_goes_away_in_the_middle(
    filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    puts: list[str] = []

    def put(name: str, document: dict[str, object], take_over: bool) -> None:
        if len(puts) == 2:
            raise Unreachable("the cluster does not answer")
        puts.append(str(document["kind"]))
        cluster.put(name, document, take_over)

    with pytest.raises(Unreachable, match=r"does not answer.*Done before: put .*put "):
        apply_plan(filled, replace(cluster, put=put), plans[0], "chat", HOW)
    assert len(api.objects) == 2
    assert apply_plan(filled, cluster, plans[0], "chat", HOW).deployment.state == "applied"
    assert status(filled, cluster, "chat").as_planned


def test_a_server_that_is_not_there(filled: Engine, api: ClusterApi, plans: Plans) -> None:
    driver = kubernetes_driver("")
    api.close()
    with pytest.raises(Unreachable, match=r"does not answer \(.*Connection refused\)"):
        would_change(filled, driver, plans[0], "chat")


def test_wrong_credentials_and_missing_namespace(filled: Engine, api: ClusterApi, plans: Plans) -> None:
    with pytest.raises(ProvisioningFailed, match="does not know who asks") as caught:
        would_change(filled, kubernetes_driver("stranger"), plans[0], "chat")
    assert "wrong" not in str(caught.value)
    with pytest.raises(ProvisioningFailed, match='namespaces "other" not found'):
        apply_plan(filled, kubernetes_driver("test/other"), plans[0], "chat", HOW)


def test_contexts_are_found_by_name_even_with_slashes(api: ClusterApi) -> None:
    assert cluster_at("").name == "test/models"
    assert cluster_at("test/prod").namespace == "prod"
    assert cluster_at("arn:aws:eks:eu:1:cluster/x").name == "arn:aws:eks:eu:1:cluster/x/default"
    assert cluster_at("arn:aws:eks:eu:1:cluster/x/prod").name == "arn:aws:eks:eu:1:cluster/x/prod"
    with pytest.raises(InvalidInput, match="no context 'nowhere'"):
        cluster_at("nowhere")


@pytest.mark.parametrize("where", ["test/..", "test/a?b", "test/A", "test/-a", "test/a b", f"test/{'a' * 64}"])
def test_what_cannot_name_a_namespace_reaches_no_path(api: ClusterApi, where: str) -> None:
    with pytest.raises(InvalidInput, match="cannot name a namespace"):
        cluster_at(where)
    assert not api.requests


@pytest.mark.parametrize(
    "text",
    ["", "a: [", "[1, 2]", "hello", "\0", "!!python/object/apply:os.getcwd []", "contexts: 5", "current-context: x",
     "{contexts: [{name: x}], current-context: x}", "{contexts: [5], current-context: x}"],
)  # fmt: skip
def test_a_file_that_is_no_kubeconfig_is_said_to_be_none(api: ClusterApi, tmp_path: Path, text: str) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        cluster_at("")
    assert "kubeconfig" in str(caught.value)


def test_who_is_nobody_to_the_cluster_is_told_about_credentials(filled: Engine, api: ClusterApi, plans: Plans) -> None:
    """As where a kubeconfig's plugin for credentials is not installed: the client then goes without any."""
    message = 'configmaps is forbidden: User "system:anonymous" cannot list resource "configmaps"'
    api.refuses["ConfigMap", "list"] = (403, message)
    with pytest.raises(ProvisioningFailed, match=r"does not know who asks\n.*renew the kubeconfig's credentials"):
        would_change(filled, driver_of(cluster_at("")), plans[0], "chat")


def test_pods_that_may_not_be_listed_are_said_to_be(
    filled: Engine, cluster: Driver, api: ClusterApi, plans: Plans
) -> None:
    api.gpus = {CHEAPEST: 0}
    api.refuses["Pod", "list"] = (403, "pods is forbidden")
    with pytest.raises(ProvisioningFailed, match="pods cannot be listed: pods is forbidden"):
        apply_plan(filled, cluster, plans[0], "chat", NOW)


def test_an_object_replaced_by_another_of_its_name_is_not_removed(
    filled: Engine, api: ClusterApi, plans: Plans
) -> None:
    raw = cluster_at("")
    apply_plan(filled, driver_of(raw), plans[0], "chat", HOW)
    (name,) = api.names("Service")

    def replaced_meanwhile(method: str, path: str, *rest: Any, **query: Any) -> dict[str, Any]:
        if method == "delete":
            api.create({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"theirs": True}})
        return raw.request(method, path, *rest, **query)

    driver_of(replace(raw, request=replaced_meanwhile)).remove("chat", f"Service/{name}")
    assert api.document("Service", name)["spec"] == {"theirs": True}
