"""Serving plans as SkyServe services, one YAML for each unit. SkyPilot 0.14. Pure.

SkyPilot rents an instance for each replica, so plans whose replicas share instances are refused: they would cost more
than planned. A spot unit falls back to on-demand instances while spot ones cannot be had; SkyServe does that itself and
takes no list of both markets.
"""

from __future__ import annotations

from typing import Any

from planner.errors import InvalidInput
from planner.render.serving_engines import PORT
from planner.render.serving_nodes import ANYWHERE
from planner.render.serving_shell import shell_lines
from planner.render.serving_units import START_S, Unit, remarks, units
from planner.render.yaml_text import yaml_text
from planner.serving.plan import ServingPlan

CLOUDS = frozenset({
    "aws", "azure", "cudo", "do", "fluidstack", "gcp", "hyperbolic", "ibm", "lambda", "mithril", "nebius", "oci",
    "paperspace", "primeintellect", "runpod", "scp", "seeweb", "shadeform", "vast", "verda", "yotta",
})  # fmt: skip
"""Clouds of SkyPilot 0.14 by their names there, which are ours too."""


def skypilot(plan: ServingPlan) -> dict[str, str]:
    """``UNIT.yaml`` for ``sky serve up -n UNIT UNIT.yaml``; ``--secret HF_TOKEN`` adds a token for gated models."""
    return {
        f"{unit.id}.yaml": yaml_text(task(unit), about=[f"sky serve up -n {unit.id} {unit.id}.yaml", *remarks([unit])])
        for unit in units(plan)
    }


def task(unit: Unit) -> dict[str, Any]:
    """A SkyPilot task with a service section.

    Raises
    ------
    InvalidInput
        SkyPilot cannot rent this as planned.
    """
    row = unit.row
    _has_own_instance(unit)
    region = [] if row.region in ANYWHERE else [row.region]
    policy: dict[str, Any] = {"min_replicas": row.replicas, "max_replicas": row.replicas}
    if row.market == "spot":
        policy["dynamic_ondemand_fallback"] = True
    return {
        "name": unit.id,
        "resources": {
            "infra": "/".join([row.provider, *region]),
            "instance_type": row.instance_type,
            "use_spot": row.market == "spot",
            "image_id": f"docker:{unit.image}",
            "ports": PORT,
        },
        "service": {
            "readiness_probe": {"path": "/health", "initial_delay_seconds": START_S},
            "replica_policy": policy,
        },
        "secrets": {"HF_TOKEN": ""},
        "run": "\n".join(shell_lines(unit)) + "\n",
    }


def _has_own_instance(unit: Unit) -> None:
    row = unit.row
    if row.provider not in CLOUDS:
        raise InvalidInput(f"SkyPilot has no cloud {row.provider!r}", field="PLAN",
                           fix=f"plan with offers.providers among: {', '.join(sorted(CLOUDS))}")  # fmt: skip
    if row.gpus_per_replica != unit.rental.gpus_per_instance:
        raise InvalidInput(
            f"replicas of {row.unit!r} take {row.gpus_per_replica} of the {unit.rental.gpus_per_instance} GPUs of an "
            "instance, and SkyPilot rents one for each replica", field="PLAN",
            fix=f"plan with services.tp: [{unit.rental.gpus_per_instance}] or smaller offers.instance_types, "
            "or render for dstack or kubernetes",
        )  # fmt: skip
