"""Measured steps and collectives as the time model sees them: one configuration per row."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from profiles.errors import InvalidInput, UnknownName
from profiles.names import KnownNames
from profiles.training.frameworks import FRAMEWORKS
from profiles.training.layouts import Layouts, joined, one_layout
from profiles.training.machine import Link, Machine
from profiles.training.shape import Transformer, transformer
from profiles.training.sizes import Habits, Sizes, Speeds, habits_of, sizes_of, speeds_of, stacked
from profiles.types import GpuType, TrainingMeasurement

WITHIN_LATENCY_US = 1.7
"""Of one hop of a ring inside a node: fitted to vTrain's NCCL table (A100, 2 to 8 GPUs)."""

BETWEEN_LATENCY_US = 3.0
"""Of one hop between nodes: InfiniBand and the host's part. An assumption."""

NETWORK_GB_PER_S = {"Volta": 12.5, "Ampere": 25.0, "Hopper": 50.0, "Blackwell": 50.0, "CDNA 3": 50.0}
"""Per GPU, one way, where a row does not say: one NIC of 100, 200 or 400 Gb/s for each, as DGX machines have."""

SLOWEST_NETWORK_GB_PER_S = 12.5 / 8
"""Per GPU, of other GPUs: 100 Gb/s for eight."""


FUSED_SINCE = dt.date(2023, 1, 1)
"""Megatron-LM's steps measured before have attention that is not fused."""


@dataclass(frozen=True)
class Ran:
    """What one row ran."""

    shape: Transformer
    layout: Layouts
    machine: Machine
    sequence_length: int
    framework: str
    fused_attention: bool | None


@dataclass(frozen=True, eq=False)
class Steps:
    """N rows as numbers."""

    layouts: Layouts
    sizes: Sizes
    speeds: Speeds
    habits: Habits


def typical_machine(gpu: GpuType, num_gpus: int, gpus_per_node: int, network_gb_per_s: float | None = None) -> Machine:
    """A machine of that many GPUs with links as datasheets have them. ``network_gb_per_s``: of a node, one way."""
    per_gpu = NETWORK_GB_PER_S.get(gpu.architecture, SLOWEST_NETWORK_GB_PER_S)
    return Machine(
        gpu=gpu, gpus_per_node=gpus_per_node, num_nodes=-(-num_gpus // gpus_per_node),
        within=Link(gpu.interconnect_gb_per_s / 2, WITHIN_LATENCY_US),
        between=Link(network_gb_per_s or per_gpu * gpus_per_node, BETWEEN_LATENCY_US),
    )  # fmt: skip


def ran(step: TrainingMeasurement, known: KnownNames) -> Ran:
    """What ``step`` ran; raises ``InvalidInput`` where its GPU, model or framework is unknown."""
    gpu = known.gpu_type(step.gpu)
    if step.framework not in FRAMEWORKS:
        raise UnknownName("training framework", step.framework, FRAMEWORKS, field="framework")
    shape = _shape(step, known)
    layout = one_layout(
        tp=step.tp, pp=step.pp, cp=step.cp, dp=step.dp, ep=step.ep, micro_batch=step.micro_batch,
        global_batch=step.global_batch, num_layers=shape.num_layers, virtual_stages=step.virtual_stages,
        recompute=step.recompute, zero=step.zero, shard=step.shard, sequence_parallel=step.sequence_parallel,
        precision="fp8" if step.precision == "fp8" else "bf16",
        offload={"optimizer": "optimizer_cpu", "all": "all_cpu"}.get(step.cpu_offload, "none"),
    )  # fmt: skip
    machine = typical_machine(gpu, step.num_gpus, step.gpus_per_node, step.network_gb_per_s)
    unfused = step.framework == "megatron-lm" and step.as_of < FUSED_SINCE
    return Ran(shape, layout, machine, step.sequence_length, step.framework, False if unfused else None)


def _shape(step: TrainingMeasurement, known: KnownNames) -> Transformer:
    if (
        step.num_layers is None or step.hidden_size is None or step.num_attention_heads is None
        or step.num_kv_heads is None or step.intermediate_size is None or step.vocab_size is None
    ):  # fmt: skip
        card = known.model_card(step.model)
        if card is None:
            raise InvalidInput(
                f"no shape is known of {step.model}", field="model",
                fix="give layers, hidden size, heads, MLP width and vocabulary, or import its Hugging Face config",
            )  # fmt: skip
        return transformer(card)
    return Transformer(
        num_layers=step.num_layers, hidden_size=step.hidden_size, num_attention_heads=step.num_attention_heads,
        num_kv_heads=step.num_kv_heads, head_dim=step.hidden_size // step.num_attention_heads,
        intermediate_size=step.intermediate_size, vocab_size=step.vocab_size, gated_mlp=step.gated_mlp,
        tied_embeddings=step.tied_embeddings,
    )  # fmt: skip


def stack(rows: Sequence[Ran]) -> Steps:
    """Rows one after the other; at least one."""
    return Steps(
        joined([row.layout for row in rows]),
        stacked([sizes_of(row.shape, row.sequence_length) for row in rows]),
        stacked([speeds_of(row.machine) for row in rows]),
        stacked([habits_of(row.framework, fused_attention=row.fused_attention) for row in rows]),
    )
