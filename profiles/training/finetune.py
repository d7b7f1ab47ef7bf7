"""Fine-tuning on little memory: which parameters stay frozen, which are trained, and what a frozen one takes.

- LoRA (Hu et al., 2022): the model is frozen; beside a chosen matrix of (in, out) two thin ones, (in, r) and (r, out),
  are trained. QLoRA (Dettmers et al., 2023) keeps the frozen layers in 4 bits (NF4); embeddings stay in 16.
- Zeroth-order steps (MeZO, Malladi et al., 2023): two forward passes with perturbed weights, and a seed in place of a
  gradient. Nothing is kept for a backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from profiles.errors import InvalidInput
from profiles.training.frameworks import WEIGHT_BYTES
from profiles.training.shape import Transformer

Method = Literal["full", "lora", "zeroth_order"]

NF4_BYTES = (4 + 0.127) / 8
"""Of one frozen parameter: 4 bits, and its share of the doubly quantised scales (QLoRA, section 3)."""

MATRICES = ("query", "key", "value", "output", "gate", "up", "down")
"""Matrices of a layer that LoRA can adapt, with a name each; ``gate`` exists in a gated MLP only."""


@dataclass(frozen=True)
class Tuning:
    """What is trained. ``frozen_bytes`` per parameter of a frozen layer; ``rank`` and ``matrices`` are LoRA's."""

    method: Method = "full"
    frozen_bytes: float = WEIGHT_BYTES
    rank: int = 0
    matrices: tuple[str, ...] = ()


EVERY_PARAMETER = Tuning()
"""Plain training, or fine-tuning of all parameters."""

ZEROTH_ORDER = Tuning("zeroth_order")
"""MeZO: the memory of inference."""


def lora(rank: int, matrices: tuple[str, ...] = MATRICES, *, nf4: bool = False) -> Tuning:
    """LoRA of that rank on those matrices; with ``nf4`` QLoRA. ``InvalidInput`` for a bad rank or matrix."""
    if rank < 1:
        raise InvalidInput(f"a rank of {rank} trains nothing", field="rank", fix="give 1 or more")
    unknown = [name for name in matrices if name not in MATRICES]
    if unknown or not matrices:
        raise InvalidInput(
            f"no matrices {', '.join(unknown)}" if unknown else "no matrix to adapt",
            field="matrices", fix=f"choose from {', '.join(MATRICES)}",
        )  # fmt: skip
    return Tuning("lora", NF4_BYTES if nf4 else WEIGHT_BYTES, rank, tuple(matrices))


def adapter_parameters(shape: Transformer, tuning: Tuning) -> tuple[int, int]:
    """Parameters that LoRA trains in one dense layer, and in one layer with all its experts adapted."""
    heads, kv_heads = shape.num_attention_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    widths = {"query": heads, "key": kv_heads, "value": kv_heads, "output": heads}
    in_mlp = [name for name in tuning.matrices if name not in widths and (name != "gate" or shape.gated_mlp)]
    attention = sum(shape.hidden_size + widths[name] for name in tuning.matrices if name in widths)
    dense = len(in_mlp) * (shape.hidden_size + shape.intermediate_size)
    num_experts = shape.num_experts + shape.num_shared_experts
    expert = num_experts * len(in_mlp) * (shape.hidden_size + shape.moe_intermediate_size)
    return tuning.rank * (attention + dense), tuning.rank * (attention + expert)
