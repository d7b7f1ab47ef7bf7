"""Serving plans as Helm values of the vLLM production-stack. Pure.

The chart's templates are not ours: names that they could take for anything but text are refused here.
"""

from __future__ import annotations

import re
from typing import Any

from planner.errors import InvalidInput
from planner.render.serving_engines import more_vllm_flags
from planner.render.serving_kubernetes import escaped
from planner.render.serving_nodes import node_terms, resource, tolerations
from planner.render.serving_units import Unit, remarks, units
from planner.render.yaml_text import yaml_text
from planner.serving.plan import ServingPlan

CPUS_PER_GPU, MEMORY_GIB_PER_GPU = 2, 8
"""Requested of a node, which the chart asks for: no more than half of the catalogue's smallest instance (4 vCPU and
16 GiB for one GPU), so that a replica fits wherever its GPUs do."""

SHM_GIB = 20
"""Shared memory for tensor parallelism, as in the chart's own examples."""

_MODEL = re.compile(r"[A-Za-z0-9/._@:+-]+")
"""Hugging Face ids, paths and URLs."""


def production_stack(plan: ServingPlan) -> dict[str, str]:
    """``values.yaml`` for ``helm install vllm vllm/vllm-stack -f values.yaml``.

    The chart's router does not know sizes of requests: it spreads those of a model evenly.
    """
    made = units(plan)
    values = {"servingEngineSpec": {"modelSpec": [_model_spec(unit) for unit in made]}}
    return {"values.yaml": yaml_text(values, about=remarks(made))}


def _model_spec(unit: Unit) -> dict[str, Any]:
    runs_in_a_vllm_chart(unit)
    if unit.row.role != "unified":
        raise InvalidInput(f"{unit.row.unit!r} does one phase of requests, which is not rendered for this chart",
                           field="PLAN", fix="render it for llm-d, or plan with split: never")  # fmt: skip
    row, run = unit.row, unit.run
    repository, _, tag = unit.image.partition(":")
    return {
        "name": unit.id,
        "repository": repository,
        "tag": tag,
        "modelURL": run.model,
        "replicaCount": row.replicas,
        "requestCPU": CPUS_PER_GPU * row.gpus_per_replica,
        "requestMemory": f"{MEMORY_GIB_PER_GPU * row.gpus_per_replica}Gi",
        "requestGPU": row.gpus_per_replica,
        "requestGPUType": resource(row.gpu),
        "nodeSelectorTerms": node_terms(row),
        "tolerations": tolerations(row),
        "shmSize": f"{SHM_GIB}Gi",
        "vllmConfig": {
            "tensorParallelSize": run.layout.tp,
            **({"maxModelLen": run.max_tokens} if run.max_tokens else {}),
            **({"maxNumSeqs": run.requests_per_rank} if run.concurrency else {}),
            "enablePrefixCaching": True,
            "extraArgs": [escaped(flag) for flag in more_vllm_flags(run)],
        },
    }


def runs_in_a_vllm_chart(unit: Unit) -> None:
    """Refuse what a chart of vLLM cannot serve, and names that its templates could read.

    Raises
    ------
    InvalidInput
        Another engine, or a model whose name is more than letters, digits and ``/ . _ @ : + -``.
    """
    if unit.engine.name != "vllm":
        raise InvalidInput(f"{unit.row.unit!r} runs {unit.engine.name}, and this target runs vLLM", field="PLAN",
                           fix="plan with services.engines: [vllm]")  # fmt: skip
    if not _MODEL.fullmatch(unit.run.model):
        raise InvalidInput(f"{unit.run.model!r} could be taken for a template by the chart", field="services.model",
                           fix="name models by letters, digits and / . _ @ : + -")  # fmt: skip
