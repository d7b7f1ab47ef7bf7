"""Serving plans as dstack services, on fleets that rent the plan's instances. dstack 0.22. Pure.

Fleets keep to what the plan rents: a fleet for each kind of instance, cut into one block per GPU, so that replicas
share instances as planned.
"""

from __future__ import annotations

from typing import Any

from planner.errors import InvalidInput
from planner.render.serving_engines import PORT
from planner.render.serving_names import dns_name
from planner.render.serving_nodes import ANYWHERE
from planner.render.serving_shell import shell_lines
from planner.render.serving_units import Unit, remarks, units
from planner.render.yaml_text import yaml_text
from planner.serving.plan import Rental, ServingPlan

Document = dict[str, Any]

BACKENDS = frozenset({
    "aws", "azure", "cloudrift", "crusoe", "cudo", "digitalocean", "gcp", "hotaisle", "jarvislabs", "lambda", "nebius",
    "oci", "runpod", "seeweb", "tensordock", "vastai", "verda", "vultr",
})  # fmt: skip
"""Clouds of dstack 0.22 by their names there, which are ours too."""

NAMED_OTHERWISE = frozenset({"runpod"})
"""Providers whose instance types and regions we know by SkyPilot's own names, which dstack does not take."""


def dstack(plan: ServingPlan) -> dict[str, str]:
    """A fleet for each rental and a service for each unit: ``dstack apply -f FILE``, fleets first."""
    made = units(plan)
    fleets = {_fleet_name(plan, rental): _fleet(_fleet_name(plan, rental), rental) for rental in plan.rentals}
    services = {
        f"{unit.id}.dstack.yml": yaml_text(_service(unit, _fleet_name(plan, unit.rental)), about=remarks([unit]))
        for unit in made
    }
    return {f"{name}.dstack.yml": yaml_text(fleet) for name, fleet in fleets.items()} | services


def _fleet_name(plan: ServingPlan, rental: Rental) -> str:
    place = (rental.provider, rental.region, rental.instance_type, rental.market)
    return dns_name(plan.spec.name, "fleet", rental.gpu, of=(plan.spec.name, *place))


def _fleet(name: str, rental: Rental) -> Document:
    if rental.provider not in BACKENDS:
        raise InvalidInput(f"dstack has no backend {rental.provider!r}", field="PLAN",
                           fix=f"plan with offers.providers among: {', '.join(sorted(BACKENDS))}")  # fmt: skip
    where: Document = {"backends": [rental.provider]}
    if rental.provider not in NAMED_OTHERWISE:
        where["instance_types"] = [rental.instance_type]
        if rental.region not in ANYWHERE:
            where["regions"] = [rental.region]
    return {
        "type": "fleet",
        "name": name,
        "nodes": rental.instances,
        **({"blocks": rental.gpus_per_instance} if rental.gpus_per_instance > 1 else {}),
        **where,
        "spot_policy": "spot" if rental.market == "spot" else "on-demand",
        "resources": {"gpu": _gpu(rental.gpu, rental.gpus_per_instance)},
    }


def _service(unit: Unit, fleet: str) -> Document:
    return {
        "type": "service",
        "name": unit.id,
        "fleets": [fleet],
        "replicas": unit.row.replicas,
        "image": unit.image,
        "env": {"HF_TOKEN": ""},
        "commands": shell_lines(unit),
        "port": PORT,
        "model": unit.run.model,
        "probes": [{"type": "http", "url": "/health", "timeout": "5s", "interval": "10s"}],
        "spot_policy": "auto",  # the fleet decides
        "resources": {"gpu": _gpu(unit.row.gpu, unit.row.gpus_per_replica)},
    }


def _gpu(gpu: str, count: int) -> Document:
    """A GPU in dstack's words, whose names have no memory in them: ``A100-80GB`` is an A100 of 80 GB."""
    name, dash, memory = gpu.rpartition("-")
    if dash and memory.endswith("GB"):
        return {"name": name, "memory": memory, "count": count}
    return {"name": gpu, "count": count}
