"""Whether a model fits, and how many tokens of KV cache fit beside it."""

from __future__ import annotations

from profiles.performance.answers import Memory
from profiles.types import WEIGHT_BYTES, GpuType, Layout, ModelCard

USABLE_FRACTION = 0.92
"""Share of GPU memory that engines use (vLLM's ``gpu_memory_utilization`` default is 0.92, of SGLang 0.9 or less)."""

NODE_GPUS = 8
"""GPUs of one machine; engines that spread MLA models wider run attention data-parallel."""

RESERVE_GIB = 1.5
"""Per GPU: activations, CUDA graphs, communication buffers. An assumption of the size vLLM reports at start-up."""


def weight_precision(layout: Layout, card: ModelCard | None, gpu: GpuType | None) -> str:
    """Precision of the weights; ``unknown`` means bf16, or the model's own where bf16 cannot fit."""
    if layout.precision != "unknown":
        return layout.precision
    if card is None:
        return "bf16"
    needed = card.weight_gib("bf16")
    fits = gpu is None or needed < USABLE_FRACTION * gpu.memory_gib * layout.num_gpus
    return "bf16" if fits or card.native_precision == "unknown" else card.native_precision


def kv_bytes_per_value(precision: str) -> float:
    """Bytes of one cached key or value: quantised checkpoints for fp8 and fp4 engines come with an fp8 KV cache."""
    return 1.0 if precision in ("fp8", "fp4") else 2.0


def kv_copies(layout: Layout, card: ModelCard) -> float:
    """How often each token's KV is held within the tensor-parallel group.

    Heads cannot be split further than one per GPU; the latent KV of MLA has no heads, so every GPU holds all of it
    unless attention is data-parallel.
    """
    if card.kv_latent_dim:
        return float(layout.tp) if layout.tp <= NODE_GPUS else 1.0
    return max(1.0, layout.tp / card.num_kv_heads)


def memory(layout: Layout, card: ModelCard, gpu: GpuType) -> Memory:
    """Memory of one replica; ``kv_gib`` and ``max_tokens`` are 0 when the weights do not fit."""
    precision = weight_precision(layout, card, gpu)
    weights_gib = card.num_parameters * WEIGHT_BYTES[precision] / 2**30
    usable_gib = (USABLE_FRACTION * gpu.memory_gib - RESERVE_GIB) * layout.num_gpus
    kv_gib = max(usable_gib - weights_gib, 0.0)
    full_layers = 1.0 - (card.windowed_layers / card.num_layers if card.sliding_window else 0.0)
    per_value = kv_bytes_per_value(precision)
    bytes_per_token = (
        card.kv_bytes_per_token(per_value) * max(full_layers, 1 / card.num_layers) * kv_copies(layout, card)
    )
    return Memory(weights_gib, kv_gib, bytes_per_token, kv_gib * 2**30 / bytes_per_token)
