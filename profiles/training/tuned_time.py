"""How long a step takes when few parameters are trained, or none by gradients.

Of the three parts of a step's matrix products (forward, gradients of activations, gradients of weights) LoRA leaves out
the last, zeroth-order steps (MeZO) replace both gradients by a second forward pass: either way two parts of three. What
replicas exchange and the optimizer updates shrinks to the trained parameters, or to nothing.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from profiles.training.finetune import Tuning, adapter_parameters
from profiles.training.frameworks import WEIGHT_BYTES
from profiles.training.shape import Transformer
from profiles.training.time import StepTime

PARTS_LEFT = 2 / 3

DEQUANTISED = 1.3
"""By which products take longer on weights that are turned from 4 bits into 16 first (QLoRA): an assumption."""


def tuned_time(shape: Transformer, tuning: Tuning, time: StepTime) -> StepTime:
    """``time`` of a step that trains every parameter, turned into one that trains as ``tuning`` says."""
    if tuning.method == "full":
        return time
    trained = 0.0
    if tuning.method == "lora":
        dense, moe = adapter_parameters(shape, tuning)
        moe_layers = shape.num_moe_layers
        trained = (dense * (shape.num_layers - moe_layers) + moe * moe_layers) / shape.num_parameters
    products = PARTS_LEFT * (DEQUANTISED if tuning.frozen_bytes < WEIGHT_BYTES else 1.0)
    again = np.zeros_like(time.recompute) if tuning.method == "zeroth_order" else time.recompute
    return replace(
        time, compute=products * time.compute, logits=PARTS_LEFT * time.logits, bubble=products * time.bubble,
        recompute=again, dp_comm=trained * time.dp_comm, optimizer=trained * time.optimizer,
        offload=trained * time.offload,
    )  # fmt: skip
