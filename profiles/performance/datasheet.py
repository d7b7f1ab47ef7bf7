"""Times that a model's shape and a GPU's datasheet imply, before any measurement: the scales of every term.

A perfect GPU would need exactly these times; what real engines need on top of them is in the coefficients
of ``terms``. Formulas: the roofline of Williams et al. (CACM 2009), transformer inference arithmetic as in
Pope et al., "Efficiently Scaling Transformer Inference" (MLSys 2023), sections 2 and 3.
"""

from __future__ import annotations

from dataclasses import dataclass

from profiles.performance.memory import NODE_GPUS, kv_bytes_per_value, kv_copies, weight_precision
from profiles.types import WEIGHT_BYTES, GpuType, Layout, ModelCard

NOMINAL_CARD = {"num_layers": 60, "hidden_size": 6144, "parameters": 30e9}
"""A dense model of middling size: the scale of the terms when a measured model has no card."""

EXPERT_SHARE = 0.97
"""Share of an MoE model's weights that sits in routed experts (DeepSeek-V3: 97%, gpt-oss-120b: 98%)."""


LOW_POWER_W, LOW_POWER_CLOCK = 100.0, 0.55
"""GPUs below this TDP (L4, T4) cannot hold their boost clock: prompts of Helix's layer times run at 40% of peak there,
against 77% on A100."""


@dataclass(frozen=True)
class Datasheet:
    """Ideal times of one layout in ms. ``known`` is False when they come from a nominal model or GPU."""

    num_layers: int
    tp: int
    nodes: float
    """Machines of 8 GPUs that the replica spreads over, at least 1: each has its own hosts and links."""
    weights_ms: float
    """Reading every weight that all requests share, once."""
    experts_ms: float
    """Reading all routed experts once."""
    expert_hit: float
    """Share of the experts that one token uses; 0 for a dense model."""
    kv_ms_per_token: float
    """Reading the KV cache of one token of context."""
    full_layers: float
    """Share of layers that attend to the whole context; the others see ``window`` tokens."""
    window: int
    flops_ms_per_token: float
    """Multiplying one token through the active weights at peak."""
    attention_ms_per_token2: float
    """Attention of a prompt, per squared token, at the dense bf16 peak and causal masking."""
    link_ms_per_token: float
    """Two all-reduces per layer of one token's activations."""
    known: bool


def sustained_tflops(gpu: GpuType, precision: str) -> float:
    """Dense rate of matrix products at ``precision`` that the GPU can hold; formats it lacks run at the next it has."""
    return _datasheet_tflops(gpu, precision) * (LOW_POWER_CLOCK if gpu.tdp_w < LOW_POWER_W else 1.0)


def _datasheet_tflops(gpu: GpuType, precision: str) -> float:
    if precision == "fp4" and gpu.fp4_tflops:
        return gpu.fp4_tflops
    if precision in ("fp8", "fp4") and gpu.fp8_tflops:
        return gpu.fp8_tflops
    if precision == "int8" and gpu.int8_tops:
        return gpu.int8_tops
    return gpu.bf16_tflops / (2 if precision == "fp32" else 1)


def datasheet(layout: Layout, card: ModelCard | None, gpu: GpuType | None) -> Datasheet:
    """Ideal times of ``layout``; nominal shapes stand in for a missing card or GPU."""
    bytes_per_ms = (gpu.memory_bandwidth_gb_per_s if gpu else 3000.0) * 1e6
    precision = weight_precision(layout, card, gpu)
    flops_per_ms = (sustained_tflops(gpu, precision) if gpu else 1000.0) * 1e9
    bf16_flops_per_ms = (sustained_tflops(gpu, "bf16") if gpu else 1000.0) * 1e9
    link_bytes_per_ms = (gpu.interconnect_gb_per_s if gpu else 600.0) * 1e6
    gpus = layout.num_gpus
    nodes = max(gpus / NODE_GPUS, 1.0)
    weight_bytes = WEIGHT_BYTES[precision]
    if card is None:
        layers, hidden = int(NOMINAL_CARD["num_layers"]), NOMINAL_CARD["hidden_size"]
        total = active = NOMINAL_CARD["parameters"]
        heads_dim, kv_bytes, routed, hit, window, windowed = hidden, layers * 2048 * 2.0, 0.0, 0.0, 0, 0
    else:
        layers, hidden = card.num_layers, card.hidden_size
        total, active = card.num_parameters, card.num_active_parameters
        heads_dim, kv_bytes = (
            card.num_attention_heads * card.head_dim,
            card.kv_bytes_per_token(kv_bytes_per_value(precision)),
        )
        routed = EXPERT_SHARE * total if card.num_experts else 0.0
        hit = card.experts_per_token / card.num_experts if card.num_experts else 0.0
        window, windowed = card.sliding_window, card.windowed_layers if card.sliding_window else 0
    shared = max(active - routed * hit, 0.1 * active) if routed else total
    copies = kv_copies(layout, card) if card is not None else 1.0
    return Datasheet(
        num_layers=layers,
        tp=layout.tp,
        nodes=nodes,
        weights_ms=shared * weight_bytes / bytes_per_ms / gpus,
        experts_ms=routed * weight_bytes / bytes_per_ms / gpus,
        expert_hit=hit,
        kv_ms_per_token=kv_bytes * copies / bytes_per_ms / gpus,
        full_layers=(layers - windowed) / layers,
        window=window,
        flops_ms_per_token=2 * active / flops_per_ms / gpus,
        attention_ms_per_token2=2 * layers * heads_dim / bf16_flops_per_ms / gpus,
        link_ms_per_token=4 * layers * hidden / link_bytes_per_ms / nodes if layout.tp > 1 else 0.0,
        known=card is not None and gpu is not None,
    )
