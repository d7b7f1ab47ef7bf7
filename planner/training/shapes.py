"""The model of a spec: from its card, or from the shape that the spec gives."""

from __future__ import annotations

from dataclasses import asdict

from planner.errors import InvalidInput, MissingProfile
from planner.training.spec import Shape, TrainingSpec
from profiles.names import KnownNames
from profiles.training.shape import Transformer, transformer
from profiles.types import Facts

OTHER_KIND = 0.15
"""Models whose parameters differ so much from those of their shape are no plain transformers (state-space layers)."""


def shape_of(spec: TrainingSpec, facts: Facts) -> Transformer:
    """The model to train.

    ``MissingProfile`` where neither spec nor store knows its shape, ``InvalidInput`` where it is no transformer.
    """
    if spec.shape is not None:
        return _shaped(spec.shape)
    names = KnownNames.of(facts)
    card = names.model_card(spec.model)
    if card is None:
        raise MissingProfile(
            f"the shape of {spec.model} is not known",
            field="model",
            fix="give the spec a shape, name its config.json (model: path/config.json), or import it with "
            "gpuplan profiles import hf-config config.json",
        )
    shape = transformer(card)
    if abs(shape.num_parameters / card.num_parameters - 1) > OTHER_KIND:
        raise InvalidInput(
            f"{card.name} has {card.num_parameters / 1e9:.1f} billion parameters, a transformer of its shape "
            f"{shape.num_parameters / 1e9:.1f}: it is of another kind, of which nothing is known",
            field="model", fix="give the spec the shape of a transformer that comes near",
        )  # fmt: skip
    return shape


def _shaped(shape: Shape) -> Transformer:
    return Transformer(
        num_layers=shape.num_layers,
        hidden_size=shape.hidden_size,
        num_attention_heads=shape.num_attention_heads,
        num_kv_heads=shape.num_kv_heads or shape.num_attention_heads,
        head_dim=shape.head_dim or shape.hidden_size // shape.num_attention_heads,
        intermediate_size=shape.intermediate_size or 4 * shape.hidden_size,
        vocab_size=shape.vocab_size,
        gated_mlp=shape.gated_mlp,
        tied_embeddings=shape.tied_embeddings,
        num_experts=shape.num_experts,
        experts_per_token=shape.experts_per_token,
        num_shared_experts=shape.num_shared_experts,
        moe_intermediate_size=shape.moe_intermediate_size,
        num_dense_layers=shape.num_dense_layers,
    )


def described(shape: Transformer) -> Shape:
    """The same as a spec writes it."""
    return Shape(**asdict(shape))
