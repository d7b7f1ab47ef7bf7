"""Serving plans as plain Kubernetes objects: for each unit a Deployment, a Service and a disruption budget. Pure.

Where requests of each size should go is in ConfigMaps, for a router to read. What labels and limits rely on is in
``shared/targets.md``, "Serving".
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

from planner.errors import InvalidInput
from planner.render.serving_engines import OPTIONS_FILE, PORT
from planner.render.serving_names import dns_name, label_value
from planner.render.serving_nodes import market_terms, node_selector, resource, tolerations
from planner.render.serving_units import START_S, Unit, remarks, units
from planner.render.yaml_text import yaml_text
from planner.serving.plan import ServingPlan

Object = dict[str, Any]

MANAGER = "gpuplan"
NAME_LABEL, SERVICE_LABEL = "gpuplan.dev/name", "gpuplan.dev/service"
UNIT_ANNOTATION = "gpuplan.dev/unit"
"""The unit's name as the plan has it."""

MOST_BYTES = 1_000_000
"""Of a ConfigMap, below the 1 MiB at which Kubernetes refuses it."""

OPTIONS = PurePosixPath(OPTIONS_FILE)

USER = 1000
"""Any user but root."""


def kubernetes(plan: ServingPlan) -> dict[str, str]:
    """A file per unit and ``routing.yaml``; apply them with ``kubectl apply --server-side -f DIR``."""
    made = units(plan)
    files = {f"{unit.id}.yaml": yaml_text(*unit_objects(plan, unit), about=remarks([unit])) for unit in made}
    return {**files, "routing.yaml": yaml_text(*routing_objects(plan, made))}


def objects(plan: ServingPlan, name: str | None = None) -> list[Object]:
    """Every object of ``plan`` deployed as ``name`` (by default its spec's), in the order in which to make them.

    Raises
    ------
    InvalidInput, FailedCheck
        The plan cannot be run (``serving_units.units``).
    """
    made = units(plan, name)
    found = [one for unit in made for one in unit_objects(plan, unit, name)]
    return [*found, *routing_objects(plan, made, name)]


def unit_objects(plan: ServingPlan, unit: Unit, name: str | None = None) -> list[Object]:
    """Service, disruption budget and Deployment of one unit, after the ConfigMap of its engine where that needs one."""
    labels = plan_labels(name or plan.spec.name, unit.row.service) | {
        "app.kubernetes.io/name": unit.engine.name,
        "app.kubernetes.io/component": unit.row.role,
        "app.kubernetes.io/instance": unit.id,
    }
    selector = {"app.kubernetes.io/instance": unit.id}
    meta = {"name": unit.id, "labels": labels, "annotations": _annotations(unit)}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": meta,
        "spec": {
            "type": "ClusterIP",
            "selector": selector,
            "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }
    budget = {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": meta,
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector}},
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": meta,
        "spec": {
            "replicas": unit.row.replicas,
            "selector": {"matchLabels": selector},
            # A surge pod would wait for a GPU that only the pod it replaces can free.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
            "progressDeadlineSeconds": 2 * START_S,
            "template": {
                "metadata": {"labels": labels, "annotations": _annotations(unit)},
                "spec": _with_options(unit),
            },
        },
    }
    return [*_options(unit, labels), service, budget, deployment]


def _options(unit: Unit, labels: dict[str, str]) -> list[Object]:
    if not unit.options:
        return []
    text = yaml_text(unit.options)
    meta = {"name": unit.id, "labels": labels}
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {OPTIONS.name: text}}]


def _with_options(unit: Unit) -> Object:
    """The pod of one replica, with the file of options that its engine may need."""
    pod = pod_spec(unit)
    if not unit.options:
        return pod
    mount = {"name": "options", "mountPath": str(OPTIONS.parent), "readOnly": True}
    volume = {"name": "options", "configMap": {"name": unit.id}}
    (engine,) = pod["containers"]
    with_mount = {**engine, "volumeMounts": [*engine["volumeMounts"], mount]}
    return {**pod, "containers": [with_mount], "volumes": [*pod["volumes"], volume]}


def pod_spec(unit: Unit) -> Object:
    """The pod of one replica, but for a file of options."""
    terms = market_terms(unit.row)
    affinity = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    return {
        "automountServiceAccountToken": False,
        # Variables named after other Services reach into engines: VLLM_PORT is a setting of vLLM's.
        "enableServiceLinks": False,
        "nodeSelector": node_selector(unit.row),
        **({"affinity": affinity} if terms else {}),
        "tolerations": tolerations(unit.row),
        "securityContext": {
            "seccompProfile": {"type": "RuntimeDefault"},
            **(
                {"runAsNonRoot": True, "runAsUser": USER, "runAsGroup": USER, "fsGroup": USER}
                if unit.engine.runs_as_any_user
                else {}
            ),
        },
        "containers": [_container(unit)],
        "volumes": [
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
            {"name": "cache", "emptyDir": {}},
        ],
    }


def _container(unit: Unit) -> Object:
    command = [escaped(word) for word in unit.command]
    health = {"httpGet": {"path": "/health", "port": "http"}}
    token = {"secretKeyRef": {"name": "hf-token", "key": "token", "optional": True}}
    return {
        "name": "engine",
        "image": unit.image,
        "command": command[:1],
        "args": command[1:],
        "env": [
            {"name": "HOME", "value": "/cache"},
            {"name": "USER", "value": MANAGER},
            {"name": "HF_HOME", "value": "/cache/huggingface"},
            {"name": "HF_TOKEN", "valueFrom": token},
            *_transfer_host(unit),
        ],
        "ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}],
        "resources": {"limits": {resource(unit.row.gpu): str(unit.row.gpus_per_replica)}},
        "startupProbe": {**health, "periodSeconds": 10, "failureThreshold": START_S // 10, "timeoutSeconds": 5},
        "readinessProbe": {**health, "periodSeconds": 5, "failureThreshold": 3, "timeoutSeconds": 5},
        "livenessProbe": {**health, "periodSeconds": 10, "failureThreshold": 6, "timeoutSeconds": 10},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [
            {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108
            {"name": "cache", "mountPath": "/cache"},
        ],
    }


def _transfer_host(unit: Unit) -> list[Object]:
    """Where vLLM's prefill and decode replicas find each other: NIXL's side channel listens on the pod's address."""
    if unit.row.role == "unified" or unit.engine.name != "vllm":
        return []
    return [{"name": "VLLM_NIXL_SIDE_CHANNEL_HOST", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]


def escaped(word: str) -> str:
    """``word`` so that Kubernetes, which replaces ``$(NAME)`` and ``$$`` in commands, arrives at it again."""
    return word.replace("$", "$$")


def routing_objects(plan: ServingPlan, made: tuple[Unit, ...], name: str | None = None) -> list[Object]:
    """A ConfigMap for each service with traffic: the share of every range of sizes that each unit takes."""
    deployed_as = name or plan.spec.name
    found = []
    for service in plan.spec.services:
        routing = _routing(plan, service.name, {unit.row.unit: unit for unit in made})
        if not routing["routes"]:
            continue
        text = json.dumps(routing, separators=(",", ":"))
        if len(text) > MOST_BYTES:
            raise InvalidInput(
                f"{len(text) / 1e6:.1f} MB of routes for {service.name!r} are more than a ConfigMap holds",
                field="services.workload", fix="plan with wider ranges of sizes",
            )  # fmt: skip
        found.append({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": dns_name(deployed_as, service.name, "routing", of=(deployed_as, service.name)),
                "labels": plan_labels(deployed_as, service.name) | {
                    "app.kubernetes.io/name": "routing", "app.kubernetes.io/component": "routing",
                },
            },
            "data": {"routing.json": text},
        })  # fmt: skip
    return found


def _routing(plan: ServingPlan, service: str, by_name: dict[str, Unit]) -> Object:
    """Units with their addresses, and for each range of sizes the units that take it, with their fractions."""
    ranges: dict[tuple[tuple[int, int], tuple[int, int]], list[Object]] = {}
    for route in plan.routing:
        if route.service == service:
            target = {"unit": by_name[route.unit].id, "fraction": route.fraction}
            if route.decode_unit is not None:
                target["decode_unit"] = by_name[route.decode_unit].id
            ranges.setdefault((route.input_tokens, route.output_tokens), []).append(target)
    return {
        "service": service,
        "units": {
            unit.id: {"url": f"http://{unit.id}:{PORT}", "model": unit.run.model, "role": unit.row.role,
                      "replicas": unit.row.replicas, "name": unit.row.unit}
            for unit in by_name.values()
            if unit.row.service == service
        },
        "routes": [
            {"input_tokens": list(inputs), "output_tokens": list(outputs), "to": targets}
            for (inputs, outputs), targets in ranges.items()
        ],
    }  # fmt: skip


def plan_labels(name: str, service: str) -> dict[str, str]:
    """Labels of every object of one deployment of a plan."""
    return {
        "app.kubernetes.io/managed-by": MANAGER,
        "app.kubernetes.io/part-of": label_value(name),
        NAME_LABEL: label_value(name),
        SERVICE_LABEL: label_value(service),
    }


def _annotations(unit: Unit) -> dict[str, str]:
    return {UNIT_ANNOTATION: unit.row.unit, "gpuplan.dev/model": unit.run.model}
