"""Serving plans as Helm values of llm-d's modelservice chart, one release for each unit or pair. Pure.

A release serves one model by decode replicas, and prefill replicas where requests are split; a unit that serves whole
requests is decode without prefill. Fields: ``shared/targets.md``, "Serving" (read, not tried).
"""

from __future__ import annotations

from typing import Any

from planner.errors import InvalidInput
from planner.render.serving_engines import more_vllm_flags
from planner.render.serving_kubernetes import escaped
from planner.render.serving_names import label_value
from planner.render.serving_nodes import node_selector
from planner.render.serving_production_stack import runs_in_a_vllm_chart
from planner.render.serving_units import Unit, remarks, units
from planner.render.yaml_text import yaml_text
from planner.serving.plan import ServingPlan


def llm_d(plan: ServingPlan) -> dict[str, str]:
    """``UNIT.values.yaml`` for ``helm install UNIT llm-d-modelservice/llm-d-modelservice -f UNIT.values.yaml``."""
    made = {unit.row.unit: unit for unit in units(plan)}
    for unit in made.values():
        runs_in_a_vllm_chart(unit)
    releases = [(unit, None) for unit in made.values() if unit.row.role == "unified"] + _pairs(plan, made)
    return {
        f"{decode.id}.values.yaml": yaml_text(_values(decode, prefill), about=remarks(filter(None, (decode, prefill))))
        for decode, prefill in releases
    }


def _pairs(plan: ServingPlan, made: dict[str, Unit]) -> list[tuple[Unit, Unit | None]]:
    """(decode, prefill) units that hand requests over; each must do so with one other only."""
    pairs = list(dict.fromkeys((r.decode_unit, r.unit) for r in plan.routing if r.decode_unit is not None))
    taken = [unit for pair in pairs for unit in pair]
    twice = next((unit for unit in taken if taken.count(unit) > 1), None)
    if twice is not None:
        raise InvalidInput(
            f"{twice!r} hands requests over with several units, and a release of llm-d has one of each kind",
            field="PLAN", fix="render it for kubernetes, or plan with split: never",
        )  # fmt: skip
    return [(made[decode], made[prefill]) for decode, prefill in pairs]


def _values(decode: Unit, prefill: Unit | None) -> dict[str, Any]:
    model = decode.run.model
    return {
        "modelArtifacts": {"uri": f"hf://{model}", "name": model, "labels": {"llm-d.ai/model": label_value(model)}},
        "decode": _role(decode),
        "prefill": _role(prefill) if prefill is not None else {"create": False},
    }


def _role(unit: Unit) -> dict[str, Any]:
    layout = unit.run.layout
    (key, value), *_ = node_selector(unit.row).items()
    limits = [
        *([f"--max-model-len={unit.run.max_tokens}"] if unit.run.max_tokens else []),
        *([f"--max-num-seqs={unit.run.requests_per_rank}"] if unit.run.concurrency else []),
    ]
    return {
        "create": True,
        "replicas": unit.row.replicas,
        "parallelism": {"tensor": layout.tp, "data": layout.dp},
        "acceleratorTypes": {"labelKey": key, "labelValues": [value]},
        "containers": [
            {
                "name": "vllm",
                "image": unit.image,
                "modelCommand": "vllmServe",
                "args": [escaped(flag) for flag in [*limits, *more_vllm_flags(unit.run)]],
            }
        ],
    }
