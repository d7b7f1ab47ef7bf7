"""Nodes and kubelets of a real control plane that has none: pods that its scheduler binds to them become ready."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from kubernetes import client

LOOK_EVERY_S = 0.2
CONDITIONS = ("Initialized", "Ready", "ContainersReady", "PodScheduled")


@contextmanager
def pretend_nodes(core: Any, namespace: str, nodes: dict[str, tuple[str, int]]) -> Iterator[None]:
    """Nodes of these instance types with so many GPUs, by GPU product; gone with the block."""
    stop = threading.Event()
    names = []
    for instance_type, (product, gpus) in nodes.items():
        name = f"{namespace}-{instance_type.replace('.', '-')}"
        labels = {"node.kubernetes.io/instance-type": instance_type, "nvidia.com/gpu.product": product,
                  "topology.kubernetes.io/region": "us-east-1"}  # fmt: skip
        core.create_node({"metadata": {"name": name, "labels": labels}})
        size = {"cpu": "96", "memory": "1000Gi", "pods": "110", "nvidia.com/gpu": str(gpus)}
        ready = {"type": "Ready", "status": "True", "reason": "pretended", "message": ""}
        core.patch_node_status(name, {"status": {"capacity": size, "allocatable": size, "conditions": [ready]}})
        core.patch_node(name, {"spec": {"taints": None}})
        names.append(name)
    thread = threading.Thread(target=_kubelet, args=(core, namespace, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        for name in names:
            core.delete_node(name)
        for pod in core.list_namespaced_pod(namespace).items:
            with suppress(client.ApiException):
                core.delete_namespaced_pod(pod.metadata.name, namespace, grace_period_seconds=0)


def _kubelet(core: Any, namespace: str, stop: threading.Event) -> None:
    while not stop.wait(LOOK_EVERY_S):
        for pod in core.list_namespaced_pod(namespace).items:
            with suppress(client.ApiException):  # it may have gone, or changed, since it was listed
                if pod.spec.node_name and pod.metadata.deletion_timestamp:
                    core.delete_namespaced_pod(pod.metadata.name, namespace, grace_period_seconds=0)
                elif pod.spec.node_name and pod.status.phase == "Pending":
                    core.patch_namespaced_pod_status(pod.metadata.name, namespace, {"status": _running(pod)})


def _running(pod: Any) -> dict[str, Any]:
    now = dt.datetime.now(dt.UTC).isoformat()
    containers = [{"name": each.name, "ready": True, "restartCount": 0, "image": each.image, "imageID": "none",
                   "state": {"running": {"startedAt": now}}} for each in pod.spec.containers]  # fmt: skip
    conditions = [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in CONDITIONS]
    return {"phase": "Running", "startTime": now, "conditions": conditions, "containerStatuses": containers}
