"""The three pipeline stages that can be the fullest, and how many parameters a GPU of each holds.

Shapes: N configurations; S = 3 stages (``STAGES``). Without a pipeline the first stage is the whole model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats
from profiles.training.layouts import Layouts
from profiles.training.shape import Transformer

STAGES = ("first", "between", "last")
"""What a row of (S, N) arrays is of. The one between is the second, with the layers of the fullest."""


@dataclass(frozen=True, eq=False)
class Stages:
    """Layers and parameters of a GPU in each stage.

    Attributes
    ----------
    dense_layers, expert_layers:
        (S, N) layers without and with experts; the model's dense ones come first
    held:
        (S, N) parameters that fall to one GPU after TP, PP and EP
    owned:
        (S, N) those of them whose sharded state is this GPU's: ``held`` over ``shard``, experts over shard · tp / ep
    largest_layer:
        (N,) parameters of one layer on one GPU
    embeddings:
        (S, N) parameters of vocabulary matrices, in ``held`` too
    """

    dense_layers: Floats
    expert_layers: Floats
    held: Floats
    owned: Floats
    largest_layer: Floats
    embeddings: Floats

    @property
    def layers(self) -> Floats:
        """(S, N) of both kinds."""
        return self.dense_layers + self.expert_layers


def stages_of(shape: Transformer, layouts: Layouts) -> Stages:
    """Layers and parameters of the three stages. Experts are whole on their GPU: EP divides them, TP does not.

    Norms, biases and learned positions are left out (under 0.1% of models that need planning).
    """
    tp, pp = layouts.tp.astype(float), layouts.pp
    layers = np.stack([
        layouts.layers_first, np.where(pp > 2, layouts.layers_most, 0), np.where(pp > 1, layouts.layers_last, 0),
    ]).astype(float)  # fmt: skip
    per_dense_layer = (shape.attention_parameters + shape.mlp_parameters) / tp
    embeddings = _vocabulary_matrices(shape, layouts) * (shape.embedding_parameters / tp)
    shard = layouts.shard.astype(float)
    if not shape.num_experts:
        held = layers * per_dense_layer + embeddings
        return Stages(layers, np.zeros_like(layers), held, held / shard, per_dense_layer, embeddings)
    dense_layers = np.zeros_like(layers)
    dense_layers[0] = np.minimum(layers[0], shape.num_dense_layers)
    expert_layers = layers - dense_layers
    shared = shape.attention_parameters + shape.num_shared_experts * shape.expert_parameters
    outside_experts = shared / tp + shape.hidden_size * shape.num_experts
    of_experts = shape.num_experts * shape.expert_parameters / layouts.ep
    outside = dense_layers * per_dense_layer + expert_layers * outside_experts + embeddings
    inside = expert_layers * of_experts
    expert_shard = np.where(layouts.zero > 0, np.maximum(1.0, shard * tp / layouts.ep), 1.0)
    largest = np.maximum(per_dense_layer * (shape.num_dense_layers > 0), outside_experts + of_experts)
    owned = outside / shard + inside / expert_shard
    return Stages(dense_layers, expert_layers, outside + inside, owned, largest, embeddings)


def _vocabulary_matrices(shape: Transformer, layouts: Layouts) -> Floats:
    """(S, N) vocabulary matrices: one on the first and one on the last stage; one in all if tied and on one stage."""
    alone = layouts.pp == 1
    counts = np.zeros((len(STAGES), len(layouts)))
    counts[0] = np.where(alone, 1.0 if shape.tied_embeddings else 2.0, 1.0)
    counts[-1] = np.where(alone, 0.0, 1.0)
    return counts
