"""What the messages of a step carry, for the mapping: sizes and counts of one configuration."""

from __future__ import annotations

import numpy as np

from planner.training.communication import Degrees, Traffic
from profiles.training.layouts import RECOMPUTE, Layouts
from profiles.training.shape import Transformer

BYTES = 2
"""Of an activation or a gradient that is sent: 16 bits."""

TP_MESSAGES = 4
"""All-reduces of a layer and micro-batch: two forward, two backward (Megatron-LM, 2019, section 3)."""

EP_MESSAGES = 4
"""All-to-alls of a layer with experts and a micro-batch: out and back, forward and backward."""

CP_RINGS = 3
"""Rings of keys and values of a layer: one forward, keys and values and their gradients backward."""


def degrees(layouts: Layouts) -> Degrees:
    """Degrees of one configuration (N = 1)."""
    return Degrees(*(int(column[0]) for column in (layouts.tp, layouts.cp, layouts.dp, layouts.pp, layouts.ep)))


def traffic(
    shape: Transformer, layouts: Layouts, stage_layers: tuple[int, ...], sequence_length: int, framework: str
) -> Traffic:
    """Messages of one configuration (N = 1)."""
    tp, pp, cp = int(layouts.tp[0]), int(layouts.pp[0]), int(layouts.cp[0])
    micro_batches = int(layouts.num_micro_batches[0])
    tokens = int(layouts.micro_batch[0]) * sequence_length / cp
    stream_gb = BYTES * tokens * shape.hidden_size / 1e9
    most = max(stage_layers)
    again = int(layouts.recomputed_layers[0]) / most if layouts.recompute[0] == RECOMPUTE.index("full") else 0.0
    split = tp if layouts.sequence_parallel[0] else 1
    moe_share = shape.num_moe_layers / shape.num_layers
    keys_gb = BYTES * 2 * shape.num_kv_heads * shape.head_dim / min(tp, shape.num_kv_heads) * tokens / 1e9
    return Traffic(
        tp_gb=stream_gb,
        tp_times=(TP_MESSAGES + 2 * again) * most * micro_batches,
        cp_gb=keys_gb,
        cp_times=(CP_RINGS + again) * most * micro_batches,
        ep_gb=stream_gb * shape.experts_per_token / split,
        ep_times=(EP_MESSAGES + 2 * again) * most * moe_share * micro_batches,
        p2p_gb=stream_gb / split,
        p2p_times=int(layouts.virtual_stages[0]) * -(-micro_batches // pp) if pp > 1 else 0.0,
        dp_gb=exchanges(layouts, framework) * _gradients_gb(shape, stage_layers, tp, int(layouts.ep[0])),
    )


def exchanges(layouts: Layouts, framework: str) -> float:
    """All-reduces of the gradients that replicas exchange as much as, in a step of one configuration (N = 1).

    Sharded weights are gathered for both passes of every micro-batch and gradients scattered (ZeRO 3); FSDP without
    resharding gathers them once for each micro-batch; everybody else sums gradients once in a step.
    """
    zero, micro_batches = int(layouts.zero[0]), int(layouts.num_micro_batches[0])
    if zero == 3:
        return 1.5 * micro_batches
    return float(micro_batches) if zero == 2 and framework == "fsdp" else 1.0


def _gradients_gb(shape: Transformer, stage_layers: tuple[int, ...], tp: int, ep: int) -> np.ndarray:
    """(stages,) gradients of one GPU; parameters of experts are spread over EP."""
    dense_share = 1 - shape.num_moe_layers / shape.num_layers
    experts = shape.num_experts * shape.expert_parameters / ep + shape.num_shared_experts * shape.expert_parameters / tp
    layer = (shape.attention_parameters + dense_share * shape.mlp_parameters) / tp
    layer += (1 - dense_share) * experts
    held = np.array(stage_layers, dtype=float) * layer
    held[0] += shape.embedding_parameters / tp
    if len(held) > 1:
        held[-1] += shape.embedding_parameters / tp
    return BYTES * held / 1e9
