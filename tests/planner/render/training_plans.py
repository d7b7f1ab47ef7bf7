"""Small training plans to render, and how the files are read back."""

from __future__ import annotations

import shlex
from typing import Any

from planner.training.plan import Configuration, Memory, Parts, Place, TrainingPlan
from planner.training.spec import TrainingSpec

LLAMA_8B = {
    "num_layers": 32, "hidden_size": 4096, "num_attention_heads": 32, "num_kv_heads": 8, "intermediate_size": 14336,
    "vocab_size": 128256, "gated_mlp": True,
}  # fmt: skip
QWEN3_30B = {
    "num_layers": 48, "hidden_size": 2048, "num_attention_heads": 32, "num_kv_heads": 4, "head_dim": 128,
    "intermediate_size": 6144, "vocab_size": 151936, "gated_mlp": True, "num_experts": 128, "experts_per_token": 8,
    "moe_intermediate_size": 768,
}  # fmt: skip
HOSTS = ("alpha", "beta-1", "gamma.cluster")


def configuration(**changes: Any) -> Configuration:
    fields = {
        "framework": "megatron-lm", "tensor_parallel": 2, "pipeline_parallel": 2, "data_parallel": 3,
        "context_parallel": 1, "expert_parallel": 1, "micro_batch": 2, "num_micro_batches": 8, "virtual_stages": 1,
        "stage_layers": (16, 16), "recompute": "none", "recomputed_layers": 0, "sharding": "zero1",
        "shard_replicas": 3, "sequence_parallel": True, "precision": "bf16", "offload": "none", "groups": ("nodes",),
        "num_nodes": 3, "num_gpus": 12, "step_ms": 900.0, "step_error": 0.1, "origin": "interpolated", "mfu": 0.4,
        "memory_gib_per_gpu": 60.0, "memory_limit_gib": 79.0, "tokens_per_s": 1e5, "goodput_fraction": 0.98,
        "days_to_train": 3.0, "usd_to_train": None, "kwh": 100.0, "power_w": 6000.0,
        "parts": Parts.model_construct(),
        "memory": Memory.model_construct(), "binds": "",
    }  # fmt: skip
    return Configuration(**fields | changes)


def plan(*ranked: Configuration, mapping: tuple[Place, ...] = (), **changes: Any) -> TrainingPlan:
    group = {"gpu": "H100", "nodes": 3, "gpus_per_node": 4, "hosts": HOSTS} | changes.pop("group", {})
    spec = {
        "model": "llama", "shape": LLAMA_8B, "sequence_length": 4096, "global_batch": 48, "tokens": 1e9,
        "cluster": {"groups": [group]},
    }  # fmt: skip
    return TrainingPlan(
        outcome="optimal", spec=TrainingSpec.model_validate(spec | changes), ranked=ranked or (configuration(),),
        mapping=mapping,
    )  # fmt: skip


def places(*hosts_and_gpus: tuple[str, int]) -> tuple[Place, ...]:
    return tuple(Place(rank=rank, node=host, gpu=gpu) for rank, (host, gpu) in enumerate(hosts_and_gpus))


IN_ORDER = places(*((host, gpu) for host in HOSTS for gpu in range(4)))
BY_PAIRS = places(
    ("beta-1", 1), ("beta-1", 0), ("alpha", 0), ("alpha", 1), ("beta-1", 2), ("beta-1", 3),
    ("gamma.cluster", 0), ("gamma.cluster", 1), ("gamma.cluster", 3), ("gamma.cluster", 2), ("alpha", 2), ("alpha", 3),
)  # fmt: skip


def array(text: str) -> dict[str, str]:
    """The flags of a file, as the trainer's parser sees them: each with its value, "" where it has none."""
    listed = shlex.split(text[text.index("(") + 1 : text.rindex(")")], comments=True)
    flags: dict[str, str] = {}
    for word in listed:
        if word.startswith("--") or ":" in word:
            flags[word] = ""
        else:
            last = next(reversed(flags))
            assert flags[last] == "", f"{last} has two values"
            flags[last] = word
    return flags
