"""What the controls of the training page set: read from a spec, and written into it where it was changed.

Values are as widgets have them: 0 stands for "no limit", and every value that may be is as good as none chosen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dashboard.client import Document

Settings = dict[str, Any]
"""By the name that the address has."""

FRAMEWORKS = ("megatron-lm", "megatron-deepspeed", "fsdp")
RECOMPUTE = ("none", "selective", "full")
PRECISIONS = ("bf16", "fp8")
MOST_NODES = 25_000
"""Of a group: 200,000 GPUs are planned at most."""

QUICK_GPUS = 64
"""Clusters up to this size are planned in a few seconds: without asking whether to."""


def read(spec: Document) -> Settings:
    """What a spec says."""
    choices = spec.get("choices") or {}
    settings: Settings = {
        "llm": spec["model"],
        "billion_tokens": spec["tokens"] / 1e9,
        "batch": spec["global_batch"],
        "length": spec["sequence_length"],
        "least": spec.get("objective", "time"),
        "deadline_days": float(spec.get("deadline_days") or 0.0),
        "training_usd": float(spec.get("budget_usd") or 0.0),
        "training_kw": float(spec.get("power_limit_w") or 0.0) / 1000,
        "frameworks": list(choices.get("frameworks") or FRAMEWORKS),
        "recompute": list(choices.get("recompute") or RECOMPUTE),
        "precision": list(choices.get("precision") or PRECISIONS[:1]),
    }
    for i, group in enumerate(spec["cluster"]["groups"]):
        settings |= {f"train_gpu_{i}": group["gpu"], f"nodes_{i}": group["nodes"]}
    return settings


def written(spec: Document, now: Mapping[str, Any]) -> Document:
    """The spec with what differs from ``read``; without a difference it is the same spec."""
    before = read(spec)
    new = {name: value for name, value in now.items() if value != before[name]}
    if not new:
        return spec
    changed = dict(spec)
    for name, field, factor in _NUMBERS:
        if name in new:
            changed[field] = new[name] * factor if new[name] else None
    if "llm" in new:
        changed |= {"model": new["llm"], "shape": None}
    if "least" in new:
        changed["objective"] = new["least"]
    chosen = {name: new[name] for name in ("frameworks", "recompute", "precision") if new.get(name)}
    if chosen:
        changed["choices"] = {**(spec.get("choices") or {}), **chosen}
    return {**changed, "cluster": _cluster(spec["cluster"], new)}


def is_measured(spec: Document) -> bool:
    """Whether the links between its nodes were measured one by one."""
    return spec["cluster"].get("gb_per_s") is not None


def is_quick(spec: Document) -> bool:
    """Whether planning takes a few seconds only: there are few configurations, and few nodes to map them on."""
    groups = spec["cluster"]["groups"]
    num_gpus = sum(group["nodes"] * group.get("gpus_per_node", 8) for group in groups)
    return len(groups) == 1 and num_gpus <= QUICK_GPUS


_NUMBERS = (
    ("billion_tokens", "tokens", 1e9), ("batch", "global_batch", 1), ("length", "sequence_length", 1),
    ("deadline_days", "deadline_days", 1), ("training_usd", "budget_usd", 1), ("training_kw", "power_limit_w", 1000),
)  # fmt: skip
"""Of a control: its name, the field of the spec, and what one of it is there."""


_OF_GPU = ("usd_per_gpu_hour", "within_gb_per_s")
"""What a group may give of its GPU type. Another type has its own price and links, if anybody knows them."""


def _cluster(cluster: Document, new: Settings) -> Document:
    """Groups with other GPUs or numbers of nodes; of fewer nodes the first ones stay, with their links and names."""
    groups: list[Document] = []
    kept: list[int] = []
    start = 0
    for i, group in enumerate(cluster["groups"]):
        nodes = new.get(f"nodes_{i}", group["nodes"])
        other = {**group, "gpu": new.get(f"train_gpu_{i}", group["gpu"]), "nodes": nodes}
        if other["gpu"] != group["gpu"]:
            other |= dict.fromkeys(_OF_GPU)
        if group.get("hosts"):
            other["hosts"] = list(group["hosts"][:nodes]) if nodes <= group["nodes"] else []
        groups.append(other)
        kept += range(start, start + min(nodes, group["nodes"]))
        start += group["nodes"]
    links = cluster.get("gb_per_s")
    if links is not None:
        links = [[links[i][j] for j in kept] for i in kept] if len(kept) == sum(g["nodes"] for g in groups) else None
    return {**cluster, "groups": groups, "gb_per_s": links}
