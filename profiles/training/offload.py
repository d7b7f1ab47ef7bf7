"""Training states outside the GPU: what lies in host memory and on NVMe, and the bytes that cross in a step.

``layouts.OFFLOAD``, per parameter whose state is this GPU's (``Stages.owned``):

    optimizer_cpu    ZeRO-Offload (Ren et al., 2021): master copy, moments and fp32 gradients in host memory, 16 bytes;
                     the CPU updates. Down: each micro-batch's gradients, 2 bytes. Up: new weights, 2 bytes a step.
    all_cpu          ZeRO-Infinity (Rajbhandari et al., 2021): 16-bit weights too. Up: weights for the forward and for
                     the backward pass of each micro-batch. Layer inputs kept by full recompute go down and come back.
    optimizer_nvme   ZeRO-Infinity: the 16 bytes lie on NVMe; read and written once a step, through host memory.
    all_nvme         weights and layer inputs on NVMe too: the path of Fuyou (Liao et al., 2024), which swaps
                     activations to SSDs. How much it swaps is its own choice; here all layer inputs of full recompute.

Each GPU moves its own share and the rest comes over the fast links (ZeRO-Infinity, section 6.1). Weights leave the GPU
only with ZeRO-3 in practice; others are answered as if they could. Shapes: N configurations; S stages (``STAGES``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.performance.answers import Floats
from profiles.training.activations import Activations, activations, in_flight
from profiles.training.frameworks import OPTIMIZER_BYTES, REDUCED_GRADIENT_BYTES, WEIGHT_BYTES, framework_named
from profiles.training.layouts import OFFLOAD, Layouts
from profiles.training.shape import Transformer
from profiles.training.stages import Stages, stages_of

STATE_BYTES = OPTIMIZER_BYTES + 4.0
"""Of one parameter outside the GPU: optimizer states, and the gradient in fp32 that they wait for."""

STAGING_BYTES = 2.0 * 2**30
"""Host memory per GPU that data to and from NVMe passes through: an assumption (DeepSpeed's default is 5 buffers of 1e8
fp32 numbers)."""


@dataclass(frozen=True, eq=False)
class Traffic:
    """Bytes of one GPU and step, (N,), both directions together: over its host link, and to and from NVMe."""

    host_bytes: Floats
    nvme_bytes: Floats


def moves_optimizer(layouts: Layouts) -> NDArray[np.bool_]:
    """(N,) whether optimizer states and gradients are outside the GPU."""
    return np.asarray(layouts.offload != OFFLOAD.index("none"))


def moves_parameters(layouts: Layouts) -> NDArray[np.bool_]:
    """(N,) whether parameters, and layer inputs under full recompute, are outside too."""
    moved = (layouts.offload == OFFLOAD.index("all_cpu")) | (layouts.offload == OFFLOAD.index("all_nvme"))
    return np.asarray(moved)


def uses_nvme(layouts: Layouts) -> NDArray[np.bool_]:
    """(N,) whether what is outside lies on NVMe, else in host memory."""
    return np.asarray(layouts.offload >= OFFLOAD.index("optimizer_nvme"))


def outside_bytes(layouts: Layouts, stages: Stages, trained: Floats, of_layers: Activations) -> tuple[Floats, Floats]:
    """(N,) bytes per GPU in host memory and on NVMe, of the stage that needs most.

    ``trained``: (S, N) parameters whose optimizer states are this GPU's.
    """
    if not layouts.offload.any():
        return np.zeros(len(layouts)), np.zeros(len(layouts))
    weights_and_inputs = WEIGHT_BYTES * stages.owned + in_flight(layouts) * of_layers.checkpoints
    moved = np.where(moves_optimizer(layouts), STATE_BYTES * trained, 0.0)
    moved += np.where(moves_parameters(layouts), weights_and_inputs, 0.0)
    most: Floats = moved.max(axis=0)
    nvme = uses_nvme(layouts)
    return np.where(nvme, STAGING_BYTES, most), np.where(nvme, most, 0.0)


def offload_traffic(shape: Transformer, layouts: Layouts, *, sequence_length: int, framework: str) -> Traffic:
    """Bytes that cross in a step, of the stage that moves most; zeros where nothing is outside the GPU."""
    if not layouts.offload.any():
        return Traffic(np.zeros(len(layouts)), np.zeros(len(layouts)))
    stages = stages_of(shape, layouts)
    inputs = activations(shape, layouts, stages, sequence_length, framework_named(framework)).checkpoints
    owned, m = stages.owned, layouts.num_micro_batches.astype(float)
    inputs_both_ways = 2.0 * m * inputs
    gradients_down = REDUCED_GRADIENT_BYTES * m * owned
    weights_up = WEIGHT_BYTES * owned * np.where(moves_parameters(layouts), 2.0 * m, 1.0)
    moved_inputs = np.where(moves_parameters(layouts), inputs_both_ways, 0.0)
    host = np.where(moves_optimizer(layouts), gradients_down + weights_up + moved_inputs, 0.0)
    states = 2.0 * STATE_BYTES * owned
    weights = np.where(moves_parameters(layouts), WEIGHT_BYTES * owned * (2.0 * m + 1.0) + inputs_both_ways, 0.0)
    nvme = np.where(uses_nvme(layouts), states + weights, 0.0)
    # What passes to NVMe goes on between host memory and disk: only what the GPU itself sends or reads uses its link.
    return Traffic(host.max(axis=0), nvme.max(axis=0))
