"""Serving plans as NVIDIA Dynamo graphs: a frontend for each service, and a worker component for each unit. Pure.

Fields and flags are those of ``ai-dynamo`` 1.6 (its ``profiler/templates/dgd`` and ``backend_args.py``). A frontend
spreads requests over the workers of its graph by load and cached prefixes, not by size.
"""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

from planner.errors import InvalidInput
from planner.render.serving_kubernetes import MANAGER, Object, escaped, plan_labels, pod_spec
from planner.render.serving_names import dns_name
from planner.render.serving_nodes import is_amd
from planner.render.serving_units import Unit, remarks, units
from planner.render.yaml_text import yaml_text
from planner.serving.plan import ServingPlan

VERSION = "1.6.1"
IMAGES = {
    "vllm": f"nvcr.io/nvidia/ai-dynamo/vllm-runtime:{VERSION}",
    "sglang": f"nvcr.io/nvidia/ai-dynamo/sglang-runtime:{VERSION}",
    "trtllm": f"nvcr.io/nvidia/ai-dynamo/tensorrtllm-runtime:{VERSION}",
}
"""By our name of the engine; the frontend runs from any of them."""

_BY_DYNAMO = ("ports", "startupProbe", "readinessProbe", "livenessProbe")
"""What Dynamo's operator sets in the main container itself."""


def dynamo(plan: ServingPlan) -> dict[str, str]:
    """``GRAPH.yaml`` for ``kubectl apply``: a graph for each service, and one more for its split units."""
    graphs = {}
    for (service, split), members in groupby(sorted(units(plan), key=_graph_of), _graph_of):
        found = tuple(members)
        name = dns_name(
            plan.spec.name, service, *(["split"] if split else []), of=(plan.spec.name, service, str(split))
        )
        graphs[f"{name}.yaml"] = yaml_text(_graph(plan, name, service, found), about=remarks(found))
    return graphs


def _graph_of(unit: Unit) -> tuple[str, bool]:
    """Workers that serve whole requests and workers that share them do not mix behind one frontend."""
    return unit.row.service, unit.row.role != "unified"


def _graph(plan: ServingPlan, name: str, service: str, members: tuple[Unit, ...]) -> Object:
    engines = {unit.engine.name for unit in members}
    if len(engines) > 1 and any(unit.row.role != "unified" for unit in members):
        raise InvalidInput(f"{service!r} would hand caches over between {' and '.join(sorted(engines))}", field="PLAN",
                           fix="plan with one of services.engines")  # fmt: skip
    frontend = {
        "name": "main",
        "image": IMAGES[members[0].engine.name],
        "command": ["python3", "-m", "dynamo.frontend"],
    }
    components: list[Object] = [
        {"name": "frontend", "type": "frontend", "replicas": 1, "podTemplate": {"spec": {"containers": [frontend]}}}
    ]
    components += [
        {
            "name": unit.id,
            "type": "worker" if unit.row.role == "unified" else unit.row.role,
            "replicas": unit.row.replicas,
            "podTemplate": {"metadata": {"annotations": {"gpuplan.dev/unit": unit.row.unit}}, "spec": _pod(unit)},
        }
        for unit in members
    ]
    labels = plan_labels(plan.spec.name, service) | {"app.kubernetes.io/name": MANAGER}
    return {
        "apiVersion": "nvidia.com/v1beta1",
        "kind": "DynamoGraphDeployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {"components": components},
    }


def _pod(unit: Unit) -> dict[str, Any]:
    """The pod that ``kubernetes`` would render, with Dynamo's image and worker in the container ``main``."""
    if is_amd(unit.row.gpu):
        raise InvalidInput(f"{unit.row.unit!r}: Dynamo's images do not run on {unit.row.gpu}", field="PLAN",
                           fix="plan with other offers.gpus")  # fmt: skip
    pod = pod_spec(unit)
    (engine,) = pod["containers"]
    kept = {key: value for key, value in engine.items() if key not in _BY_DYNAMO}
    main = {
        **kept,
        "name": "main",
        "image": IMAGES[unit.engine.name],
        "command": ["python3", "-m", f"dynamo.{unit.engine.name}"],
        "args": [escaped(word) for word in _worker_flags(unit)],
    }
    return {**pod, "containers": [main]}


def _worker_flags(unit: Unit) -> list[str]:
    """The engine's own flags, which Dynamo's workers pass on; those of TensorRT-LLM have other names there."""
    if unit.engine.name == "trtllm":
        return _trtllm_flags(unit)
    flags = [flag for flag in unit.command if flag.startswith("--") and not flag.startswith(("--host=", "--port="))]
    if unit.engine.name == "vllm":
        flags.insert(0, f"--model={unit.run.model}")
        if unit.row.role != "unified":
            flags.append(f"--disaggregation-mode={unit.row.role}")
    return flags


def _trtllm_flags(unit: Unit) -> list[str]:
    run, layout = unit.run, unit.run.layout
    return [
        f"--model={run.model}",
        f"--served-model-name={run.model}",
        f"--tensor-parallel-size={layout.tp * layout.dp}",
        f"--pipeline-parallel-size={layout.pp}",
        *([f"--expert-parallel-size={layout.ep}"] if layout.ep > 1 else []),
        *([f"--max-seq-len={run.max_tokens}"] if run.max_tokens else []),
        *([f"--max-batch-size={run.requests_per_rank}"] if run.concurrency else []),
        *([f"--override-engine-args={json.dumps(unit.options)}"] if unit.options else []),
        *([f"--disaggregation-mode={run.role}"] if run.role != "unified" else []),
    ]
