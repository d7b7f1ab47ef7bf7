"""Serving plans for AIBrix: the Kubernetes objects, an autoscaler for each Deployment, and GPU profiles. Pure.

The autoscalers follow the plan that ``gpuplan replan`` last made for the saved service of the spec's name, hour by hour
(``api/ops/replicas.py``), up to what this plan rents. The profiles are for AIBrix's GPU optimizer and gateway, where
they are used. Formats: ``shared/targets.md``, "Serving".
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from planner.render.serving_kubernetes import Object, routing_objects, unit_objects
from planner.render.serving_names import label_value
from planner.render.serving_units import Unit, remarks, units
from planner.render.yaml_text import yaml_text
from planner.serving.plan import Route, ServingPlan
from planner.serving.spec import Slo

ENDPOINT = "HOST:PORT"
"""Stands for where ``gpuplan serve --metrics-port`` answers without a key, which a plan does not know."""

MODEL_LABEL = "model.aibrix.ai/name"
"""By which AIBrix knows which Deployments serve one model."""


def aibrix(plan: ServingPlan) -> dict[str, str]:
    """``UNIT.yaml`` with everything to apply, ``UNIT.profile.json`` for the optimizer, and ``routing.yaml``."""
    made = units(plan)
    followed = (
        f"Put the address of `gpuplan serve --metrics-host HOST --metrics-port PORT` in place of {ENDPOINT}: there the",
        f"PodAutoscaler asks how many replicas the saved service {json.dumps(plan.spec.name)} wants at this hour.",
        "Where plans of other hours run more of this unit, raise its maxReplicas.",
    )
    files = {"routing.yaml": yaml_text(*routing_objects(plan, made))}
    for unit in made:
        found = [_labelled(one, unit) for one in unit_objects(plan, unit)]
        files[f"{unit.id}.yaml"] = yaml_text(*found, _autoscaler(plan, found[-1]), about=[*remarks([unit]), *followed])
        files[f"{unit.id}.profile.json"] = json.dumps(_profile(plan, unit), indent=1) + "\n"
    return files


def _labelled(document: Object, unit: Unit) -> Object:
    if document["kind"] != "Deployment":
        return document
    label = {MODEL_LABEL: label_value(unit.run.model)}
    template = document["spec"]["template"]
    return {
        **document,
        "metadata": _with_label(document["metadata"], label),
        "spec": {**document["spec"], "template": {**template, "metadata": _with_label(template["metadata"], label)}},
    }


def _with_label(metadata: Object, label: dict[str, str]) -> Object:
    return {**metadata, "labels": metadata["labels"] | label}


def _autoscaler(plan: ServingPlan, deployment: Object) -> Object:
    name, replicas = deployment["metadata"]["name"], deployment["spec"]["replicas"]
    return {
        "apiVersion": "autoscaling.aibrix.ai/v1alpha1",
        "kind": "PodAutoscaler",
        "metadata": {"name": name, "labels": deployment["metadata"]["labels"]},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 0,
            "maxReplicas": replicas,
            "scalingStrategy": "KPA",
            "metricsSources": [
                {
                    "metricSourceType": "domain",
                    "protocolType": "http",
                    "endpoint": ENDPOINT,
                    "path": f"/metrics/replicas/{quote(plan.spec.name, safe='')}/{name}",
                    "targetMetric": "vllm:deployment_replicas",
                    "targetValue": "1",
                }
            ],
        },
    }


def _profile(plan: ServingPlan, unit: Unit) -> dict[str, Any]:
    """Requests/s of a replica by request size, as far as the plan says: 0 for sizes that it sends elsewhere.

    Rows are output sizes, columns input sizes, each named by the end of its range.
    """
    service = next(s for s in plan.spec.services if s.name == unit.row.service)
    buckets = service.workload.all_buckets()
    inputs = sorted({bucket.input_tokens[1] for bucket in buckets})
    outputs = sorted({bucket.output_tokens[1] for bucket in buckets})
    rates = {
        (route.output_tokens[1], route.input_tokens[1]): _rate(route, unit)
        for route in plan.routing
        if unit.row.unit in (route.unit, route.decode_unit)
    }
    return {
        "gpu": unit.id,
        "cost": unit.row.usd_per_hour / unit.row.replicas,
        "tputs": [[rates.get((output, size), 0.0) for size in inputs] for output in outputs],
        "indexes": [outputs, inputs],
        "slos": _slos(service.slo),
    }


def _rate(route: Route, unit: Unit) -> float:
    if unit.row.unit == route.unit or route.decode_requests_per_s_per_replica is None:
        return route.requests_per_s_per_replica
    return route.decode_requests_per_s_per_replica


def _slos(slo: Slo) -> dict[str, float]:
    """In AIBrix's words: seconds, and a percentile where the SLO is not on the mean."""
    limits = {"ttft": slo.ttft_ms, "tpot": slo.tpot_ms, "e2e": slo.e2e_ms}
    found = {name: limit / 1000 for name, limit in limits.items() if limit is not None}
    return found if slo.percentile == "mean" else {"percentile": float(slo.percentile[1:]), **found}
