"""The shape of a transformer as training sees it: sizes of its matrices, and the parameters and FLOP they make."""

from __future__ import annotations

from dataclasses import dataclass

from profiles.errors import InvalidInput
from profiles.types import ModelCard

SAME_COUNT = 0.02
"""A card's parameter count tells whether its MLP is gated when it comes this close to one of the two counts."""


@dataclass(frozen=True)
class Transformer:
    """Decoder-only transformer. ``gated_mlp``: three matrices (SwiGLU) in place of two (GELU)."""

    num_layers: int
    hidden_size: int
    num_attention_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    gated_mlp: bool = True
    tied_embeddings: bool = False
    num_experts: int = 0
    experts_per_token: int = 0
    num_shared_experts: int = 0
    moe_intermediate_size: int = 0
    num_dense_layers: int = 0

    def __post_init__(self) -> None:
        if self.num_attention_heads % self.num_kv_heads:
            raise InvalidInput(
                f"{self.num_attention_heads} attention heads cannot share {self.num_kv_heads} KV heads evenly",
                field="num_kv_heads", fix="give a divisor of num_attention_heads",
            )  # fmt: skip

    @property
    def num_moe_layers(self) -> int:
        """Layers with experts."""
        return self.num_layers - self.num_dense_layers if self.num_experts else 0

    @property
    def attention_parameters(self) -> int:
        """Of one layer: queries, keys, values and output."""
        width = self.head_dim * (2 * self.num_attention_heads + 2 * self.num_kv_heads)
        return self.hidden_size * width

    @property
    def mlp_parameters(self) -> int:
        """Of one dense layer's MLP."""
        return (3 if self.gated_mlp else 2) * self.hidden_size * self.intermediate_size

    @property
    def expert_parameters(self) -> int:
        """Of one expert."""
        return (3 if self.gated_mlp else 2) * self.hidden_size * self.moe_intermediate_size

    @property
    def embedding_parameters(self) -> int:
        """Of one vocabulary matrix; there is a second one for the logits unless they are tied."""
        return self.vocab_size * self.hidden_size

    @property
    def num_parameters(self) -> int:
        """All of them, norms and biases left out."""
        dense = (self.num_layers - self.num_moe_layers) * self.mlp_parameters
        router = self.hidden_size * self.num_experts
        experts = (self.num_experts + self.num_shared_experts) * self.expert_parameters
        blocks = self.num_layers * self.attention_parameters + dense + self.num_moe_layers * (experts + router)
        return blocks + (1 if self.tied_embeddings else 2) * self.embedding_parameters

    @property
    def flops_per_token(self) -> float:
        """Matrix FLOP of one token, forward and backward, attention scores left out: 6 per parameter that it uses."""
        dense = (self.num_layers - self.num_moe_layers) * self.mlp_parameters
        used = self.experts_per_token + self.num_shared_experts
        router = self.hidden_size * self.num_experts
        blocks = self.num_layers * self.attention_parameters + dense
        blocks += self.num_moe_layers * (used * self.expert_parameters + router)
        return 6.0 * (blocks + self.embedding_parameters)

    def model_flops_per_step(self, sequence_length: int, global_batch: int) -> float:
        """FLOP that the model needs for a step, with causal attention counted in full (Megatron, SC 2021, appendix).

        This is what MFU counts: no recomputation.
        """
        scores = 12.0 * self.num_layers * self.num_attention_heads * self.head_dim * sequence_length
        return sequence_length * global_batch * (self.flops_per_token + scores)


def transformer(card: ModelCard) -> Transformer:
    """The shape on a model's card. Whether the MLP is gated is told by the parameter count; gated where unclear."""

    def shaped(gated: bool, tied: bool) -> Transformer:
        return Transformer(
            num_layers=card.num_layers, hidden_size=card.hidden_size, num_attention_heads=card.num_attention_heads,
            num_kv_heads=card.num_kv_heads, head_dim=card.head_dim, intermediate_size=card.intermediate_size,
            vocab_size=card.vocab_size, gated_mlp=gated, tied_embeddings=tied, num_experts=card.num_experts,
            experts_per_token=card.experts_per_token, num_shared_experts=card.num_shared_experts,
            moe_intermediate_size=card.moe_intermediate_size, num_dense_layers=card.num_dense_layers,
        )  # fmt: skip

    shapes = [shaped(gated, tied) for gated in (True, False) for tied in (False, True)]
    nearest = min(shapes, key=lambda shape: abs(shape.num_parameters - card.num_parameters))
    near = abs(nearest.num_parameters - card.num_parameters) <= SAME_COUNT * card.num_parameters
    return nearest if near else shapes[0]
