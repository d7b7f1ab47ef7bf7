"""Configurations in words, and the names of their parts."""

from __future__ import annotations

from dashboard import figures
from dashboard.client import Document
from dashboard.figures import hover

TIME_PARTS = {
    "compute_ms": "computing", "recompute_ms": "recomputing", "logits_ms": "logits",
    "tensor_parallel_ms": "tensor parallel", "context_parallel_ms": "context parallel",
    "expert_parallel_ms": "expert parallel", "bubble_ms": "pipeline bubble", "pipeline_ms": "pipeline messages",
    "data_parallel_ms": "data parallel", "optimizer_ms": "optimizer", "offload_ms": "offload", "host_ms": "host",
}  # fmt: skip
"""Of a step; what computing hides is not counted."""

MEMORY_PARTS = {
    "parameters_gib": "parameters", "gradients_gib": "gradients", "optimizer_gib": "optimizer",
    "activations_gib": "activations", "logits_gib": "logits", "buffers_gib": "buffers",
}  # fmt: skip
"""Of the fullest GPU."""

OBJECTIVES = {"time": "days to train", "money": "USD to train", "energy": "kWh to train"}


def degrees(c: Document) -> str:
    """Such as ``TP 2 · PP 8 · DP 4``: degrees of one that are always said are TP, PP and DP."""
    named = (("TP", c["tensor_parallel"]), ("PP", c["pipeline_parallel"]), ("CP", c["context_parallel"]),
             ("EP", c["expert_parallel"]), ("DP", c["data_parallel"]))  # fmt: skip
    return " · ".join(f"{name} {degree}" for name, degree in named if degree > 1 or name in ("TP", "PP", "DP"))


def recompute(c: Document) -> str:
    """Which activations are made again, and of how many layers where not of all."""
    in_part = c["recompute"] == "full" and sum(c["stage_layers"]) != c["recomputed_layers"] * len(c["stage_layers"])
    return f"full, {c['recomputed_layers']} layers" if in_part else str(c["recompute"])


def sharding(c: Document) -> str:
    """What is sharded over how many replicas."""
    return "none" if c["sharding"] == "none" else f"{c['sharding']} × {c['shard_replicas']}"


def by_step(c: Document, meaning: str) -> str:
    """What is shown over a number that follows from the time of a step: it is as uncertain as that."""
    return hover(meaning, c["origin"], c["step_error"])


def days(c: Document) -> str:
    """To train."""
    return f"{c['days_to_train']:,.3g} days"


def kwh(energy_kwh: float) -> str:
    """In kWh, or MWh from a thousand on."""
    return f"{energy_kwh / 1000:,.3g} MWh" if energy_kwh >= 1000 else f"{energy_kwh:,.3g} kWh"


def usd(c: Document) -> str:
    """To train; a dash where nobody knows a price."""
    return figures.usd(c["usd_to_train"])
