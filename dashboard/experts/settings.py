"""What the controls of the experts page set: read from a spec, and written into it where it was changed.

Values are as widgets have them: 0 groups stand for none, "as the spec says" for a field that the spec leaves open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboard.client import Document

OPEN = "as fits"
"""Shown for a field that is left open: the planner then decides by what was recorded."""

Settings = dict[str, Any]
"""By the name that the address has."""

TOPOLOGY = ("gpus", "nodes", "slots_per_gpu")


def read(spec: Document) -> Settings:
    """What a spec says."""
    return {
        **{name: spec["topology"].get(name, 1) for name in TOPOLOGY},
        "place_for": spec.get("objective") or OPEN,
        "over_workloads": spec.get("over_workloads", "mean"),
        "groups": spec.get("groups") or 0,
        "dispatch": spec.get("dispatch") or OPEN,
        "near": spec.get("current") is not None,
        "max_moves": spec.get("max_moves") or 0,
    }


def written(spec: Document, now: Mapping[str, Any], current: Document | None) -> Document:
    """The spec with what differs from ``read``. ``current``: the placement to stay near to, where it is asked for."""
    before = read(spec)
    new = {name: value for name, value in now.items() if value != before[name]}
    changed = dict(spec)
    if topology := {name: new[name] for name in TOPOLOGY if name in new}:
        changed["topology"] = {**spec["topology"], **topology}
    for name, field in {"place_for": "objective", "dispatch": "dispatch"}.items():
        if name in new:
            changed[field] = None if new[name] == OPEN else new[name]
    if "over_workloads" in new:
        changed["over_workloads"] = new["over_workloads"]
    if "groups" in new:
        changed["groups"] = new["groups"] or None
        changed["max_off_home"] = changed.get("max_off_home") if new["groups"] else None
    if "near" in new:
        changed["current"] = current if new["near"] else None
    if "max_moves" in new or not changed.get("current"):
        changed["max_moves"] = now["max_moves"] or None if changed.get("current") else None
    return changed
