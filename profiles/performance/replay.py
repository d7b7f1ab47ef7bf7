"""Fitted latencies taken apart into engine iterations."""

from __future__ import annotations

import numpy as np

from profiles.performance.iteration import Iteration
from profiles.performance.latency import NUM_STEP_TERMS, Latency
from profiles.performance.memory import kv_bytes_per_value, weight_precision
from profiles.performance.power import Power
from profiles.performance.terms import prompt_terms, shared_prompt_terms, step_terms
from profiles.types import Layout, ModelCard

MOST_RUNNING = 4096
"""Decoding requests up to which iterations are tabulated."""

LONG_CONTEXT = 4096.0
"""Tokens at which the share of layers with a sliding window is taken."""


def new_iteration(
    layout: Layout, latency: Latency, most_running: int, card: ModelCard | None, power: Power | None, error: float
) -> Iteration:
    """Tabulate the steps of ``latency`` for up to ``most_running`` requests."""
    running = np.arange(1.0, most_running + 1)
    step = latency.step[:NUM_STEP_TERMS]
    nothing, long = np.full_like(running, 1e-9), np.full_like(running, LONG_CONTEXT)
    without_context = step_terms(latency.sheet, running, nothing, nothing) @ step
    with_context = step_terms(latency.sheet, running[:1], long[:1], nothing[:1]) @ step
    shared = shared_prompt_terms(latency.sheet, np.array([1.0, 2.0])) @ latency.step[NUM_STEP_TERMS:]
    squared = max(float(shared[1] - 2 * shared[0]) / 2, 0.0)
    launch = float((prompt_terms(latency.sheet, np.ones(1), np.array([1e-9])) @ latency.prompt)[0])
    watts = np.full(most_running + 1, np.nan) if power is None else power.at(np.arange(most_running + 1.0))
    precision = weight_precision(layout, card, None)
    return Iteration(
        layout=layout,
        decode_ms=np.concatenate([[0.0], without_context]),
        kv_ms_per_token=max(float(with_context[0] - without_context[0]) / LONG_CONTEXT, 0.0),
        prompt_ms_per_token=float(shared[0]) - squared,
        prompt_ms_per_token2=squared,
        prompt_overhead_ms=launch,
        kv_tokens=latency.limit.tokens,
        reserved_output=latency.limit.reserved_output,
        kv_bytes_per_token=card.kv_bytes_per_token(kv_bytes_per_value(precision)) if card else 0.0,
        idle_w=float(watts[0]),
        prompt_w=float(watts[-1]),
        decode_w=watts,
        relative_error=error,
    )
