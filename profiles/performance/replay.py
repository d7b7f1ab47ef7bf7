"""Fitted latencies taken apart into engine iterations."""

from __future__ import annotations

import numpy as np

from profiles.performance.iteration import Iteration
from profiles.performance.latency import Latency
from profiles.performance.memory import kv_bytes_per_value, weight_precision
from profiles.performance.power import Power
from profiles.performance.terms import OVERHEAD, new_load, seen, steps
from profiles.types import Layout, ModelCard

MOST_RUNNING = 4096
"""Decoding requests up to which iterations are tabulated."""

LONG_CONTEXT = 4096.0
"""Tokens at which the share of layers with a sliding window is taken."""

KV_READ = 4
"""Coefficient of reading the KV cache."""


def new_iteration(
    layout: Layout, latency: Latency, most_running: int, card: ModelCard | None, power: Power | None, error: float
) -> Iteration:
    """Tabulate the steps of ``latency`` for up to ``most_running`` requests.

    Steps carry the mean remainder of the layout's own rows (``learn``), so that what physics misses of this layout
    everywhere is in them too.
    """
    running = np.arange(1.0, most_running + 1)
    coefficients = np.exp(latency.learned.log_coefficients)
    load = new_load(latency.sheet, running, running, running)
    factor = latency.mean_factor
    decode_ms = factor * steps(load, running, np.zeros(most_running), coefficients)
    reads = seen(load, np.array([LONG_CONTEXT])).item() / LONG_CONTEXT
    watts = np.full(most_running + 1, np.nan) if power is None else power.at(np.arange(most_running + 1.0))
    precision = weight_precision(layout, card, None)
    per_token, per_token2 = latency.prompt_work
    return Iteration(
        layout=layout,
        decode_ms=np.concatenate([[0.0], decode_ms]),
        kv_ms_per_token=float(factor * coefficients[KV_READ] * reads * latency.sheet.kv_ms_per_token),
        prompt_ms_per_token=per_token,
        prompt_ms_per_token2=per_token2,
        prompt_overhead_ms=float(coefficients[OVERHEAD] * latency.sheet.num_layers * 1e-3),
        kv_tokens=latency.limit.tokens,
        reserved_output=latency.limit.reserved_output,
        kv_bytes_per_token=card.kv_bytes_per_token(kv_bytes_per_value(precision)) if card else 0.0,
        idle_w=float(watts[0]),
        prompt_w=np.nan if power is None else power.prompt_w(),
        decode_w=watts,
        relative_error=error,
    )
