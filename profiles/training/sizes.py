"""Everything that a step's time depends on, as numbers: of the model, of the machine, of the framework's habits.

Each is a float or an array that broadcasts against (N,) configurations, so that one pass computes many layouts of one
model on one machine (planning) or one layout each of many (fitting).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np

from profiles.performance.answers import Floats
from profiles.training.frameworks import framework_named
from profiles.training.machine import Machine
from profiles.training.shape import Transformer

UNFUSED = frozenset({"megatron-deepspeed"})
"""Attention writes its scores: an assumption that its measured steps agree with. Others have fused kernels, Megatron-LM
since January 2023 (``--use-flash-attn``)."""

SUMS_IN_FP32 = frozenset({"megatron-lm", "megatron-deepspeed"})
"""Gradients travel in fp32 (Megatron's ``--accumulate-allreduce-grads-in-fp32``), not in 16 bits. That
Megatron-DeepSpeed does so too is what its measured steps say."""

SPLITS_MESSAGES = frozenset({"megatron-lm"})
"""As ``Habits.splits_messages`` says."""

GATHERS_EACH_MICRO_BATCH = frozenset({"fsdp", "torchtitan"})
"""As ``Habits.gathers_each_micro_batch`` says."""

T = TypeVar("T", "Sizes", "Speeds", "Habits")


@dataclass(frozen=True, eq=False)
class Sizes:
    """Of a model at one sequence length; widths in elements."""

    sequence_length: Floats
    num_layers: Floats
    hidden: Floats
    num_heads: Floats
    heads_width: Floats
    kv_width: Floats
    head_dim: Floats
    mlp_width: Floats
    num_mlp_matrices: Floats
    vocab: Floats
    moe_share: Floats
    """Of the layers that have experts."""
    num_experts: Floats
    experts_per_token: Floats
    num_shared_experts: Floats
    expert_width: Floats


@dataclass(frozen=True, eq=False)
class Speeds:
    """Of a machine: FLOP/s, bytes/s, seconds. ``within_s`` and ``between_s`` are latencies of one hop."""

    flop_per_s: Floats
    fp8_flop_per_s: Floats
    memory: Floats
    gpus_per_node: Floats
    within: Floats
    between: Floats
    within_s: Floats
    between_s: Floats
    host: Floats
    nvme: Floats


@dataclass(frozen=True, eq=False)
class Habits:
    """Of a framework; flags are 0 or 1."""

    fused_attention: Floats
    """One kernel for attention, which never writes the scores (FlashAttention)."""
    gradient_bytes: Floats
    """Of one gradient on its way between replicas."""
    splits_messages: Floats
    """Pipeline messages are sent in pieces by the ranks of a TP group (Megatron's scatter/gather, SC 2021, 4.1)."""
    gathers_each_micro_batch: Floats
    """Sharded gradients are summed, and weights gathered, every micro-batch under ZeRO 2 too."""


def sizes_of(shape: Transformer, sequence_length: int) -> Sizes:
    """Of one model."""
    numbers = (
        sequence_length, shape.num_layers, shape.hidden_size, shape.num_attention_heads,
        shape.num_attention_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim, shape.head_dim,
        shape.intermediate_size, 3 if shape.gated_mlp else 2, shape.vocab_size, shape.num_moe_layers / shape.num_layers,
        shape.num_experts, shape.experts_per_token, shape.num_shared_experts, shape.moe_intermediate_size,
    )  # fmt: skip
    return Sizes(*(np.array([float(number)]) for number in numbers))


def speeds_of(machine: Machine) -> Speeds:
    """Of one machine, as its datasheets say."""
    gpu = machine.gpu
    flop_per_s = gpu.bf16_tflops * 1e12
    numbers = (
        flop_per_s, (gpu.fp8_tflops or gpu.bf16_tflops) * 1e12, gpu.memory_bandwidth_gb_per_s * 1e9,
        machine.gpus_per_node, machine.within.gb_per_s * 1e9, machine.between.gb_per_s * 1e9,
        machine.within.latency_us * 1e-6, machine.between.latency_us * 1e-6, machine.host_gb_per_s * 1e9,
        machine.nvme_gb_per_s * 1e9 / machine.gpus_per_node,
    )  # fmt: skip
    return Speeds(*(np.array([float(number)]) for number in numbers))


def habits_of(framework: str, *, fused_attention: bool | None = None) -> Habits:
    """Of one framework, as it is today or with attention fused or not; raises ``UnknownName``."""
    framework_named(framework)
    fused = framework not in UNFUSED if fused_attention is None else fused_attention
    numbers = (
        fused,
        4.0 if framework in SUMS_IN_FP32 else 2.0,
        framework in SPLITS_MESSAGES,
        framework in GATHERS_EACH_MICRO_BATCH,
    )
    return Habits(*(np.array([float(number)]) for number in numbers))


def stacked(parts: Sequence[T]) -> T:
    """One after the other, along (N,)."""
    first = parts[0]
    return type(first)(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(first)})
