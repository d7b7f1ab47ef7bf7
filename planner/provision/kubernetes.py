"""The Kubernetes target: the manifests that ``gpuplan render --target kubernetes`` writes, by server-side apply.

The server merges, keeps who owns which field, and says in a dry run what an object would be: differences are those
between that and what is there. What others own is not touched unless ``take_over``.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from typing import Any

from planner.errors import FailedCheck, ProvisioningFailed
from planner.provision.cluster import Cluster, Refusal, cluster_at
from planner.provision.driver import Document, Driver, Objects, Preview, Refused, UnitState
from planner.render.serving_kubernetes import MANAGER, NAME_LABEL, UNIT_ANNOTATION, objects
from planner.serving.plan import ServingPlan

MANAGED_BY = "app.kubernetes.io/managed-by"

PATHS = {
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Service": "/api/v1/namespaces/{}/services",
    "PodDisruptionBudget": "/apis/policy/v1/namespaces/{}/poddisruptionbudgets",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
}
"""Of every kind that is applied."""

_KEPT_BY_SERVER = ("managedFields", "uid", "resourceVersion", "generation", "creationTimestamp", "selfLink")
_REVISION = "deployment.kubernetes.io/revision"  # an annotation that a controller counts up

_SHORT = re.compile(r"Insufficient |didn't match (Pod's )?node|exceeded quota|no nodes available|were unschedulable")
"""What the scheduler says of a pod, or a controller of its replicas, where no instance can take it."""


def kubernetes_driver(where: str) -> Driver:
    """The driver of one namespace of one cluster (``cluster.cluster_at``)."""
    return driver_of(cluster_at(where))


def driver_of(cluster: Cluster) -> Driver:
    """The driver of ``cluster``."""
    return Driver(
        target=f"kubernetes:{cluster.name}",
        routes=_routes,
        desired=partial(_desired, cluster),
        actual=partial(_actual, cluster),
        preview=partial(_preview, cluster),
        put=partial(_put, cluster),
        remove=partial(_remove, cluster),
        ready=partial(_ready, cluster),
    )


def _routes(document: Document) -> bool:
    return bool(document["metadata"]["labels"].get("app.kubernetes.io/component") == "routing")


def _desired(cluster: Cluster, plan: ServingPlan, name: str) -> Objects:
    found = {}
    for document in objects(plan, name):
        labels = document["metadata"]["labels"]
        if document["kind"] not in PATHS or not _is_ours(labels, name):
            raise FailedCheck(f"{document['kind']} {document['metadata']['name']} is not what is applied here")
        metadata = {**document["metadata"], "namespace": cluster.namespace}
        found[_key(document)] = {**document, "metadata": metadata}
    return found


def _actual(cluster: Cluster, name: str) -> Objects:
    found = {}
    for kind in PATHS:
        for document in _listed(cluster, kind, f"{MANAGED_BY}={MANAGER},{NAME_LABEL}={name}"):
            found[_key(document)] = _settled(document)
    return found


def _listed(cluster: Cluster, kind: str, selector: str) -> list[Document]:
    try:
        answer = cluster.request("get", PATHS[kind].format(cluster.namespace), label_selector=selector)
    except Refusal as refusal:
        fix = "Kubernetes 1.21 or newer has all kinds that are applied" if refusal.status == 404 else None
        raise ProvisioningFailed(f"{cluster.name} does not list {kind}s: {refusal.message}", fix=fix) from None
    return [{"apiVersion": answer.get("apiVersion"), "kind": kind, **item} for item in answer.get("items") or ()]


def _preview(cluster: Cluster, name: str, document: Document, take_over: bool) -> Preview:
    try:
        foreign = _foreign(cluster, name, document)
        if foreign:
            return Preview(document, foreign)
        return Preview(_settled(_applied(cluster, document, take_over, dry_run=True)))
    except Refusal as refusal:
        obstacle, conflicts = _said(refusal), bool(refusal.fields)
    if conflicts:
        with suppress(Refusal):
            return Preview(_settled(_applied(cluster, document, take_over=True, dry_run=True)), obstacle)
    return Preview(document, obstacle)


def _put(cluster: Cluster, name: str, document: Document, take_over: bool) -> None:
    try:
        foreign = _foreign(cluster, name, document)
        if not foreign:
            _applied(cluster, document, take_over, dry_run=False)
            return
    except Refusal as refusal:
        raise Refused(_said(refusal)) from None
    raise Refused(foreign)


def _applied(cluster: Cluster, document: Document, take_over: bool, *, dry_run: bool) -> Document:
    return cluster.request(
        "patch", _path(cluster, document), document, content_type="application/apply-patch+yaml",
        field_manager=MANAGER, force_conflicts=take_over, dry_run="All" if dry_run else None,
    )  # fmt: skip


def _foreign(cluster: Cluster, name: str, document: Document) -> str:
    """Why an object of this name is not ours to change; "" where it is, or there is none."""
    there = _there(cluster, document)
    if there is None or _is_ours(there["metadata"].get("labels") or {}, name):
        return ""
    return f"it is there already, and was not made by gpuplan for {name}"


def _there(cluster: Cluster, document: Document) -> Document | None:
    try:
        return cluster.request("get", _path(cluster, document))
    except Refusal as refusal:
        if refusal.status == 404:
            return None
        raise


def _remove(cluster: Cluster, name: str, key: str) -> None:
    kind, _, of = key.partition("/")
    document = {"kind": kind, "metadata": {"name": of}}
    try:
        there = _there(cluster, document)
        if there is None or not _is_ours(there["metadata"].get("labels") or {}, name):
            return
        # Only the very object that was looked at: another of its name may have taken its place since.
        options = {"preconditions": {"uid": there["metadata"]["uid"]}, "propagationPolicy": "Background"}
        cluster.request("delete", _path(cluster, document), {"apiVersion": "v1", "kind": "DeleteOptions", **options})
    except Refusal as refusal:
        if refusal.status not in (404, 409):  # 409: that other object, which is not ours
            raise Refused(refusal.message) from None


def _ready(cluster: Cluster, name: str) -> tuple[UnitState, ...]:
    selector = f"{MANAGED_BY}={MANAGER},{NAME_LABEL}={name}"
    return tuple(_state(cluster, deployment) for deployment in _listed(cluster, "Deployment", selector))


def _state(cluster: Cluster, deployment: Document) -> UnitState:
    metadata, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status") or {}
    unit = (metadata.get("annotations") or {}).get(UNIT_ANNOTATION, metadata["name"])
    wanted = spec.get("replicas", 1)
    seen = status.get("observedGeneration", 0) >= metadata.get("generation", 0)
    old = status.get("replicas", 0) - status.get("updatedReplicas", 0)
    ready = max(0, status.get("readyReplicas", 0) - max(0, old)) if seen else 0
    if ready >= wanted:
        return UnitState(_key(deployment), unit, wanted, wanted)
    reason = _why_not(cluster, deployment)
    return UnitState(_key(deployment), unit, wanted, ready, reason, bool(_SHORT.search(reason)))


def _why_not(cluster: Cluster, deployment: Document) -> str:
    """What the controller says of its replicas, else what the scheduler or the kubelet say of the first pod."""
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return str(condition.get("message"))
    labels = ",".join(f"{key}={value}" for key, value in deployment["spec"]["selector"]["matchLabels"].items())
    try:
        pods = cluster.request("get", f"/api/v1/namespaces/{cluster.namespace}/pods", label_selector=labels)
    except Refusal as refusal:
        return f"pods cannot be listed: {refusal.message}"
    reasons = [reason for pod in pods.get("items") or () if (reason := _pod_reason(pod.get("status") or {}))]
    return next((reason for reason in reasons if _SHORT.search(reason)), reasons[0] if reasons else "starting")


def _pod_reason(status: dict[str, Any]) -> str:
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message") or condition.get("reason"))
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") not in (None, "ContainerCreating", "PodInitializing"):
            return f"{waiting['reason']}: {waiting.get('message', '')}".rstrip(": ")
    return ""


def _said(refusal: Refusal) -> str:
    if not refusal.fields:
        return refusal.message
    listed = "; ".join(f"{field} ({message})" for field, message in refusal.fields)
    return f"others set {listed}: --take-over sets it again"


def _settled(document: Document) -> Document:
    """An object without what the server and controllers keep up to date by themselves."""
    metadata = {key: value for key, value in document["metadata"].items() if key not in _KEPT_BY_SERVER}
    if _REVISION in (metadata.get("annotations") or {}):
        metadata["annotations"] = {key: value for key, value in metadata["annotations"].items() if key != _REVISION}
    return {**{key: value for key, value in document.items() if key != "status"}, "metadata": metadata}


def _is_ours(labels: dict[str, str], name: str) -> bool:
    return labels.get(MANAGED_BY) == MANAGER and labels.get(NAME_LABEL) == name


def _path(cluster: Cluster, document: Document) -> str:
    return f"{PATHS[document['kind']].format(cluster.namespace)}/{document['metadata']['name']}"


def _key(document: Document) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"
