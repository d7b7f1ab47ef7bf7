"""Memory of a training step: what the fullest GPU holds, part by part, for many configurations at once.

A stage's GPU holds P parameters (``stages``), the state of P / d of them its own (d = ``shard``), L in its largest
layer and E in vocabulary matrices. In bytes, with a framework's g (gradient) and c (sharded weight, ``frameworks``):

    parameters      2 P; ZeRO-3: c P / d + 2 (2 L + E), two layers and the vocabulary whole at a moment; at most 2 P
    gradients       g P; ZeRO-2 and 3: g P / d + 2 (2 L + E) on their way to their shard; at most g P
    optimizer       12 P / d, master copy included (d = 1 without ZeRO)
    activations     kept for the micro-batches in flight, and what passes with the layer that runs (``activations``)
    logits          of the last stage, all copies at the loss's peak: bytes · b s / cp · vocabulary / tp
    buffers         CUDA context, NCCL groups, gradient buckets, messages between stages, gathered sequences
    fragmentation   a share of what comes and goes

That is 16 to 18 bytes per parameter without sharding (ZeRO, Rajbhandari et al., 2020, section 3.1; Megatron-LM's
documentation of its distributed optimizer). A layer's backward pass and the loss come one after the other: the smaller
of the two is not counted. Offloaded states leave the GPU (``offload``); frozen parameters have none (``finetune``).

The answer is of the fullest of three stages: the first (most micro-batches in flight), the second with the most layers,
the last (logits). Shapes: N configurations; S stages (``stages.STAGES``).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np

from profiles.errors import InvalidInput
from profiles.performance.answers import Floats
from profiles.training.activations import FULL, Activations, activations, in_flight, tokens_of
from profiles.training.finetune import EVERY_PARAMETER, Tuning, adapter_parameters
from profiles.training.frameworks import (
    FP8_WEIGHT_BYTES,
    LAYERS_IN_TRANSIT,
    OPTIMIZER_BYTES,
    REDUCED_GRADIENT_BYTES,
    WEIGHT_BYTES,
    Framework,
    framework_named,
)
from profiles.training.layouts import PRECISIONS, Ints, Layouts
from profiles.training.offload import moves_optimizer, moves_parameters, outside_bytes
from profiles.training.shape import Transformer
from profiles.training.stages import STAGES, Stages, stages_of

GIB = 2.0**30

CONTEXT_GIB = 0.75
"""Of each GPU: CUDA context, loaded kernels, workspaces of the matrix libraries. An assumption; 0.5 to 1 is usual."""

GROUP_GIB = 0.25
"""NCCL's channel buffers per kind of process group (TP, PP, …) of more than one GPU: an assumption."""

PARTS = ("parameters", "gradients", "optimizer", "activations", "logits", "buffers", "fragmentation")
"""What ``total_gib`` is the sum of; ``Memory`` has each as ``NAME_gib``."""

BLOCK = 8_192
"""Configurations computed at once: arrays of this length stay in a core's cache."""


@dataclass(frozen=True, eq=False)
class Memory:
    """What the fullest GPU of each configuration holds, arrays (N,) of GiB; the parts add up to ``total_gib``.

    ``worst_stage`` indexes ``stages.STAGES``; ``host_gib_per_gpu`` and ``nvme_gib_per_gpu`` are what offloading takes.
    """

    parameters_gib: Floats
    gradients_gib: Floats
    optimizer_gib: Floats
    activations_gib: Floats
    logits_gib: Floats
    buffers_gib: Floats
    fragmentation_gib: Floats
    total_gib: Floats
    worst_stage: Ints
    host_gib_per_gpu: Floats
    nvme_gib_per_gpu: Floats


def memory(
    shape: Transformer, layouts: Layouts, *, sequence_length: int, framework: str, tuning: Tuning = EVERY_PARAMETER
) -> Memory:
    """Memory of every configuration. ``InvalidInput`` for no tokens, ``UnknownName`` for a framework not known."""
    if sequence_length < 1:
        raise InvalidInput(f"a sequence of {sequence_length} tokens", field="sequence_length", fix="give 1 or more")
    constants = framework_named(framework)
    blocks = [
        _of_block(shape, _rows(layouts, start), sequence_length, constants, tuning)
        for start in range(0, max(len(layouts), 1), BLOCK)
    ]
    return Memory(**{f.name: np.concatenate([getattr(block, f.name) for block in blocks]) for f in fields(Memory)})


def _rows(layouts: Layouts, start: int) -> Layouts:
    """The block that begins at ``start``; views, nothing is copied."""
    return Layouts(**{f.name: getattr(layouts, f.name)[start : start + BLOCK] for f in fields(Layouts)})


def _of_block(
    shape: Transformer, layouts: Layouts, sequence_length: int, framework: Framework, tuning: Tuning
) -> Memory:
    stages = stages_of(shape, layouts)
    if tuning.method == "zeroth_order":
        layouts = _forward_only(layouts)
    of_layers = activations(shape, layouts, stages, sequence_length, framework)
    trained, trained_here = _trained(shape, layouts, stages, tuning)
    parameters = _parameters(shape, layouts, stages, framework, tuning, trained)
    gradients, optimizer = _gradients_and_optimizer(layouts, stages, framework, trained, trained_here)
    kept = _kept_on_gpu(layouts, of_layers, tuning)
    tokens, between = tokens_of(layouts, sequence_length)
    logits = _logits(shape, layouts, tokens, framework)
    loss_is_peak = logits > of_layers.passing
    passing = np.where(loss_is_peak, 0.0, of_layers.passing)
    logits = np.where(loss_is_peak, logits, 0.0)
    fragmentation = framework.fragmentation * (kept + passing + logits)
    buffers = _buffers(shape, layouts, stages, tokens, between, framework)
    parts = (parameters, gradients, optimizer, kept + passing, logits, buffers, fragmentation)
    total = sum(parts[1:], parts[0])
    worst = total.argmax(axis=0)
    of_worst = worst * len(layouts) + np.arange(len(layouts))  # in the flat order of (S, N)
    in_gib = {
        f"{name}_gib": part.ravel()[of_worst] / GIB
        for name, part in zip((*PARTS, "total"), (*parts, total), strict=True)
    }
    host, nvme = outside_bytes(layouts, stages, trained_here, of_layers)
    return Memory(**in_gib, worst_stage=worst, host_gib_per_gpu=host / GIB, nvme_gib_per_gpu=nvme / GIB)


def _trained(shape: Transformer, layouts: Layouts, stages: Stages, tuning: Tuning) -> tuple[Floats, Floats]:
    """(S, N) parameters on a GPU that have gradients, and those of them whose sharded state is this GPU's."""
    if tuning.method == "full":
        return stages.held, stages.owned
    dense, expert = adapter_parameters(shape, tuning)  # none with zeroth-order steps; TP does not split them
    adapters = stages.dense_layers * dense + stages.expert_layers * (expert / layouts.ep)
    return adapters, adapters / layouts.shard


def _parameters(
    shape: Transformer, layouts: Layouts, stages: Stages, framework: Framework, tuning: Tuning, trained: Floats
) -> Floats:
    """(S, N) bytes of weights on the GPU."""
    weight = np.where(layouts.precision == PRECISIONS.index("fp8"), WEIGHT_BYTES + FP8_WEIGHT_BYTES, WEIGHT_BYTES)
    fetched = weight * _in_transit(stages)
    if tuning.method == "full":
        whole, shard = weight * stages.held, framework.sharded_weight_bytes * stages.owned
        beside: Floats | float = 0.0
    else:
        whole = tuning.frozen_bytes * (stages.held - stages.embeddings) + WEIGHT_BYTES * stages.embeddings
        shard = whole / layouts.shard
        widest = shape.hidden_size * max(shape.intermediate_size, shape.moe_intermediate_size) / layouts.tp
        beside = WEIGHT_BYTES * (trained + widest)  # one matrix in 16 bits: no longer quantised, or its noise
    on_gpu = np.where(layouts.zero == 3, np.minimum(whole, shard + fetched), whole)
    return np.where(moves_parameters(layouts), np.minimum(whole, fetched), on_gpu) + beside


def _gradients_and_optimizer(
    layouts: Layouts, stages: Stages, framework: Framework, trained: Floats, trained_here: Floats
) -> tuple[Floats, Floats]:
    """(S, N) bytes of gradients and of optimizer states on the GPU."""
    outside = moves_optimizer(layouts)
    whole = framework.gradient_bytes * trained
    summed_here = np.where(outside, 0.0, framework.gradient_bytes * trained_here)
    split = np.minimum(whole, summed_here + REDUCED_GRADIENT_BYTES * _in_transit(stages))
    gradients = np.where((layouts.zero >= 2) | outside, split, whole)
    return gradients, np.where(outside, 0.0, OPTIMIZER_BYTES * trained_here)


def _in_transit(stages: Stages) -> Floats:
    """(S, N) parameters that a GPU has whole at one moment, where they are sharded or elsewhere."""
    return LAYERS_IN_TRANSIT * stages.largest_layer + stages.embeddings


def _forward_only(layouts: Layouts) -> Layouts:
    """The same without a backward pass: layers pass one by one, as full recompute has them."""
    return replace(layouts, recompute=np.full_like(layouts.recompute, FULL), recomputed_layers=layouts.layers_most)


def _kept_on_gpu(layouts: Layouts, of_layers: Activations, tuning: Tuning) -> Floats:
    """(S, N) bytes kept for the backward pass, without what went to host memory or NVMe."""
    if tuning.method == "zeroth_order":
        return np.zeros_like(of_layers.kept)
    if not layouts.offload.any():
        return of_layers.kept
    return of_layers.kept - np.where(moves_parameters(layouts), in_flight(layouts) * of_layers.checkpoints, 0.0)


def _logits(shape: Transformer, layouts: Layouts, tokens: Floats, framework: Framework) -> Floats:
    """(S, N) bytes of logits on the stage that has them."""
    on_gpu = framework.logit_bytes * shape.vocab_size * tokens / layouts.tp
    logits = np.zeros((len(STAGES), len(layouts)))
    alone = layouts.pp == 1
    logits[0] = np.where(alone, on_gpu, 0.0)
    logits[-1] = np.where(alone, 0.0, on_gpu)
    return logits


def _buffers(
    shape: Transformer, layouts: Layouts, stages: Stages, tokens: Floats, between: Floats, framework: Framework
) -> Floats:
    """(S, N) bytes that are there whatever the model's states are."""
    degrees = (layouts.tp, layouts.pp, layouts.cp, layouts.dp, layouts.ep)
    num_groups = sum(((degree > 1).astype(float) for degree in degrees[1:]), (degrees[0] > 1).astype(float))
    width = WEIGHT_BYTES * shape.hidden_size
    messages = np.where(layouts.pp > 1, 2.0 * width * between, 0.0)  # one comes in while one goes out
    gathered = np.where(layouts.sequence_parallel & (layouts.tp > 1), width * tokens, 0.0)
    buffers = GIB * (CONTEXT_GIB + GROUP_GIB * num_groups) + messages + gathered
    if not framework.bucket_parameters:
        return np.broadcast_to(buffers, stages.held.shape)
    reduces = (layouts.dp * layouts.cp > 1) | moves_optimizer(layouts)
    in_buckets = np.minimum(stages.held, 2.0 * framework.bucket_parameters)
    return buffers + np.where(reduces, REDUCED_GRADIENT_BYTES * in_buckets, 0.0)
