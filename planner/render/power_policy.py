"""A row's policy as a document: what the controller reads, and people in the same words. Pure: plan in, texts out.

States are named ``free`` (no more than what is always capped), ``step-1`` and on, and ``brake``; of each the document
has the caps of every class, those of the steps below it included.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from planner.power.plan import PowerPlan
from planner.power.policy import GpuCap
from planner.power.spec import Controls
from planner.render.power_metrics import POWER_RECORD, row_name

Document = dict[str, Any]

FREE, BRAKE = "free", "brake"


def policy(plan: PowerPlan) -> dict[str, str]:
    """``policy.json`` for the controller, ``policy.yaml`` for people."""
    document = document_of(plan)
    return {
        "policy.json": json.dumps(document, indent=2) + "\n",
        "policy.yaml": yaml.safe_dump(document, sort_keys=False, allow_unicode=True),
    }


def document_of(plan: PowerPlan) -> Document:
    """The policy with thresholds in watts and as shares of the budget; all that a controller needs."""
    ladder, controls, budget_w = plan.policy, plan.spec.controls, plan.budget_w
    assert ladder is not None and budget_w is not None  # noqa: S101, PT018 - only plans with a row are rendered

    def threshold(share: float) -> dict[str, float]:
        return {"share": share, "watts": round(share * budget_w, 1)}

    return {
        "row": row_name(plan),
        "policy": ladder.name,
        "num_servers": plan.num_servers,
        "budget_w": budget_w,
        "telemetry": {
            "query": f'{POWER_RECORD}{{row="{row_name(plan)}"}}',
            "interval_s": controls.telemetry_interval_s,
            "timeout_s": controls.telemetry_timeout_s,
            "fail_safe": state_name(len(ladder.steps)),
        },
        "cap_latency_s": controls.latency_s,
        "brake_latency_s": controls.brake_latency_s,
        "steps": [
            {"state": state_name(i), "above": threshold(step.at), "release_below": threshold(step.release),
             "waits": step.waits}
            for i, step in enumerate(ladder.steps, 1)
        ],
        "brake": {"above": threshold(ladder.brake_at), "release_below": threshold(ladder.brake_release)},
        "caps": states_of(plan),
    }  # fmt: skip


def state_name(step: int) -> str:
    """Of a step of the ladder; 0 is none."""
    return f"step-{step}" if step else FREE


def states_of(plan: PowerPlan) -> dict[str, dict[str, dict[str, float]]]:
    """Caps by state and class: ``clock_mhz``, ``power_w`` (per GPU), or both; empty where nothing is capped."""
    ladder, classes = plan.policy, [priority.name for priority in plan.spec.priorities]
    assert ladder is not None  # noqa: S101 - only plans with a row are rendered
    held = list(ladder.always)
    states = {FREE: {name: _together(held, name) for name in classes}}
    for i, step in enumerate(ladder.steps, 1):
        held += step.caps
        states[state_name(i)] = {name: _together(held, name) for name in classes}
    return states | {BRAKE: {name: _braked(plan.spec.controls) for name in classes}}


def _braked(controls: Controls) -> dict[str, float]:
    return {"clock_mhz": controls.brake_clock_mhz}


def _together(caps: list[GpuCap], priority: str) -> dict[str, float]:
    """The lowest clock and the lowest power of all caps on a class."""
    mine = [cap for cap in caps if cap.priority == priority]
    found = {
        "clock_mhz": [cap.clock_mhz for cap in mine if cap.clock_mhz is not None],
        "power_w": [cap.power_w for cap in mine if cap.power_w is not None],
    }
    return {kind: min(values) for kind, values in found.items() if values}
