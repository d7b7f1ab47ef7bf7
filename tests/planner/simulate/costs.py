"""A made-up engine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from profiles.performance import Iteration
from profiles.types import Layout


def iteration(
    most: int = 8, kv: float = math.inf, share: float = 0.5, step: float = 20.0, prompt: float = 0.05, **changes: Any
) -> Iteration:
    running = np.arange(most + 1)
    costs = {
        "layout": Layout(model="m", gpu="g"), "decode_ms": np.where(running > 0, step + 0.31 * running, 0.7 * step),
        "kv_ms_per_token": 1.3e-3, "prompt_ms_per_token": prompt, "prompt_ms_per_token2": 1e-6,
        "prompt_overhead_ms": 7.0, "kv_tokens": kv, "reserved_output": share, "kv_bytes_per_token": 3e5,
        "idle_w": 100.0, "prompt_w": 900.0, "decode_w": 300.0 + 20.0 * running, "relative_error": 0.1,
    }  # fmt: skip
    return Iteration(**{**costs, **changes})
