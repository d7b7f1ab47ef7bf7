"""What the forward pass keeps for the backward pass: activations by layer, recompute and micro-batches in flight.

After Korthikanti et al., 2022, "Reducing Activation Recomputation in Large Transformer Models", section 4 and table 2,
per layer and micro-batch (s tokens per sequence, b sequences, h hidden, a heads, t = TP; bytes):

    no recompute              s b h (10 + 24 / t + 5 a s / (h t))      eq. 2
    with sequence parallel    s b h (34 / t + 5 a s / (h t))           eq. 4
    selective recompute       the same without 5 a s / (h t)           eq. 6, table 2
    full recompute            2 s b h: the layer's input               table 2

10 is two norms' inputs (4) and outputs (4) and two dropout masks (2); 24 is queries, keys, values, attention output (8)
and the GELU's input and output, 4 h wide (16); 5 a s / h is scores' softmax (2), mask (1) and dropped-out copy (2).
Here 24 follows from the model's own widths (grouped queries, gated MLP), CP divides s outside the scores' second s,
and frameworks differ in masks and scores (``frameworks``). With fp8 products what a product reads is kept in one byte;
queries, keys, values and attention output stay in two. Norms, and a gate where ``fused_gate``, are one kernel.

A layer with experts keeps, for each of a token's experts, its copy of the input, the MLP's tensors, and the output that
is weighted and summed. Sequence parallelism spreads these tokens over TP; the hottest rank of several gets
``EXPERT_IMBALANCE`` times the mean.

Shapes: N configurations; S stages (``stages.STAGES``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats
from profiles.training.frameworks import Framework
from profiles.training.layouts import PRECISIONS, RECOMPUTE, Layouts
from profiles.training.shape import Transformer
from profiles.training.stages import STAGES, Stages

SELECTIVE, FULL = RECOMPUTE.index("selective"), RECOMPUTE.index("full")

EXPERT_IMBALANCE = 1.3
"""Tokens of the hottest EP rank over the mean, an assumption: 1.2 to 1.35 for Mixtral 8x7B on 8 ranks by task. Routing
without any balancing loss goes to 2 and more."""


@dataclass(frozen=True, eq=False)
class Activations:
    """Bytes on one GPU.

    Attributes
    ----------
    kept:
        (S, N) of all micro-batches in flight, until their backward pass
    passing:
        (N,) of the layer whose backward pass runs: what it computes again, and the gradients inside its MLP
    checkpoints:
        (S, N) layer inputs of one micro-batch whose layers are computed again; part of ``kept``
    """

    kept: Floats
    passing: Floats
    checkpoints: Floats


@dataclass(frozen=True, eq=False)
class Layer:
    """Bytes of one layer and micro-batch, (N,); ``mlp_gradients``: the gradients inside the MLP's backward pass."""

    kept: Floats
    mlp_gradients: Floats


def tokens_of(layouts: Layouts, sequence_length: int) -> tuple[Floats, Floats]:
    """(N,) tokens of a micro-batch: on one GPU, and those between products, which sequence parallelism divides."""
    tokens = layouts.micro_batch * (sequence_length / layouts.cp)
    return tokens, np.where(layouts.sequence_parallel, tokens / layouts.tp, tokens)


def activations(
    shape: Transformer, layouts: Layouts, stages: Stages, sequence_length: int, framework: Framework
) -> Activations:
    """Activations of a GPU in each stage, bytes."""
    tokens, between = tokens_of(layouts, sequence_length)
    dense, expert = _layers(shape, layouts, tokens, between, framework)
    scores = _scores_bytes(shape, framework) * sequence_length * tokens / layouts.tp
    layer_input = 2.0 * shape.hidden_size * between
    keeps_scores = np.where(layouts.recompute == SELECTIVE, 0.0, scores)
    of_layers = stages.dense_layers * (dense.kept + keeps_scores)
    if shape.num_experts:
        of_layers += stages.expert_layers * (expert.kept + keeps_scores)
    layers = stages.layers
    again = np.where(layouts.recompute == FULL, np.minimum(layouts.recomputed_layers, layers), 0.0)
    checkpoints = again * layer_input
    kept_share = 1.0 - again / np.maximum(layers, 1.0)
    beside = _beside_layers(shape, layouts, framework) * between
    kept = in_flight(layouts) * (of_layers * kept_share + checkpoints + beside)
    whole_layer = np.maximum(dense.kept, expert.kept) - layer_input + scores
    made_again = np.where(layouts.recompute == SELECTIVE, scores, 0.0)
    made_again = np.where((layouts.recompute == FULL) & (layouts.recomputed_layers > 0), whole_layer, made_again)
    passing = made_again + np.maximum(dense.mlp_gradients, expert.mlp_gradients)
    return Activations(kept, passing, checkpoints)


def in_flight(layouts: Layouts) -> Floats:
    """(S, N) micro-batches whose activations a stage holds at the peak of 1F1B, counted in whole stages.

    Stage i of p holds min(p − i, m) (Narayanan et al., SC 2021, section 2.2.1). With v chunks per rank it runs
    2 (p − i − 1) + (v − 1) p chunks ahead of its first backward pass, and then one more: for i = 0 that is
    p (1 + (p − 1) / (p v)) stages' worth (Korthikanti et al., 2022, section 4.2.3).
    """
    pp, m, v = (array.astype(float) for array in (layouts.pp, layouts.num_micro_batches, layouts.virtual_stages))
    behind = np.stack([pp - 1, np.maximum(pp - 2, 0.0), np.zeros_like(pp)])
    chunks = np.where(v > 1, 2 * behind + (v - 1) * pp + 1, behind + 1)
    held: Floats = np.minimum(chunks, m * v) / v
    return held


def _layers(
    shape: Transformer, layouts: Layouts, tokens: Floats, between: Floats, framework: Framework
) -> tuple[Layer, Layer]:
    """A dense layer and one with experts, zeros where the model has no such; attention scores apart."""
    tp = layouts.tp
    per_gpu = tokens / tp
    read = _by_precision(layouts, 2.0, 1.0)  # what a product reads, per element
    heads, kv_heads = shape.num_attention_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
    masks = 2.0 if framework.has_dropout else 0.0
    norms = shape.hidden_size * (4.0 + masks + 2.0 * read) * between
    attention_copy = _by_precision(layouts, 0.0, 1.0)  # of its output, as the next product reads it
    keys_and_values = 4.0 * kv_heads * tokens / np.minimum(tp, shape.num_kv_heads)  # a head is never cut
    outside_mlp = norms + heads * (4.0 + attention_copy) * per_gpu + keys_and_values
    hidden, hidden_gradients = _mlp_tensors(shape, framework)
    nothing = Layer(np.zeros(len(layouts)), np.zeros(len(layouts)))
    inside = shape.intermediate_size * per_gpu
    dense = Layer(outside_mlp + inside * (hidden + read), inside * hidden_gradients)
    if not shape.num_experts:
        return dense, nothing
    routed = shape.experts_per_token * between * np.where(layouts.ep > 1, EXPERT_IMBALANCE, 1.0)
    shared = shape.num_shared_experts * per_gpu
    expert_inside = shape.moe_intermediate_size * (routed + shared)
    copies = shape.hidden_size * routed * (read + 2.0)
    expert = Layer(outside_mlp + copies + expert_inside * (hidden + read), expert_inside * hidden_gradients)
    return dense if shape.num_dense_layers else nothing, expert


def _scores_bytes(shape: Transformer, framework: Framework) -> float:
    """Bytes per pair of tokens: softmax, and with dropout its mask and the dropped-out copy."""
    if not framework.keeps_scores:
        return 0.0
    return shape.num_attention_heads * (5.0 if framework.has_dropout else 2.0)


def _mlp_tensors(shape: Transformer, framework: Framework) -> tuple[float, float]:
    """Bytes per element of the MLP's width: kept beside what the last product reads, and gradients alive at once."""
    if not shape.gated_mlp:
        return 2.0, 4.0
    return (4.0 if framework.fused_gate else 6.0), 6.0


def _beside_layers(shape: Transformer, layouts: Layouts, framework: Framework) -> Floats:
    """(S, N) bytes per token: the embedding's dropout mask; inputs of the last norm and of the logits' product.

    Korthikanti et al., 2022, section 4.3.
    """
    alone = layouts.pp == 1
    per_token = np.zeros((len(STAGES), len(layouts)))
    per_token[0] = np.where(alone, 4.0, 0.0) + (1.0 if framework.has_dropout else 0.0)
    per_token[-1] = np.where(alone, 0.0, 4.0)
    return shape.hidden_size * per_token


def _by_precision(layouts: Layouts, bf16: float, fp8: float) -> Floats:
    """(N,) one of two numbers."""
    return np.where(layouts.precision == PRECISIONS.index("fp8"), fp8, bf16)
