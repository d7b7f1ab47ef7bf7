"""A row in the words of Prometheus: its label, its metrics, and what its power is made of. Pure."""

from __future__ import annotations

import math

from planner.power.plan import PowerPlan

POWER_METRIC = "DCGM_FI_DEV_POWER_USAGE"
"""Watts of a GPU, by dcgm-exporter."""

POWER_RECORD, SHARE_RECORD, SEEN_RECORD = "row:power_watts", "row:power_share", "row:gpus_seen"

LEAST_SEEN = 0.98
"""Share of the row's GPUs that must be seen: what is not seen still draws power. An assumption."""


def row_name(plan: PowerPlan) -> str:
    """Value of the label ``row``, safe in PromQL, file names and shells."""
    name = plan.spec.row.name if plan.spec.row is not None else plan.spec.name
    return slug(name)


def slug(name: str) -> str:
    """``name`` with everything but ASCII letters, digits, dots and dashes as a dash."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in ".-") else "-" for c in name)
    return kept.strip(".-") or "row"


def num_gpus(plan: PowerPlan) -> int:
    """GPUs of the row's servers."""
    spec, count = plan.spec, plan.num_servers or 0
    return round(sum(count * w.share * spec.server_of(w).num_gpus for w in spec.workloads))


def least_seen(plan: PowerPlan) -> int:
    """GPUs that a reading must be made of."""
    return max(1, math.floor(LEAST_SEEN * num_gpus(plan)))


def other_w(plan: PowerPlan) -> float:
    """Watts of the row beside its GPUs, which no GPU reports."""
    spec, count = plan.spec, plan.num_servers or 0
    return sum(count * w.share * plan.other_w[w.server] for w in spec.workloads)
