"""Fitted latencies taken apart into engine iterations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from profiles.performance.answers import Floats
from profiles.performance.iteration import Iteration
from profiles.performance.latency import Latency
from profiles.performance.memory import kv_bytes_per_value, weight_precision
from profiles.performance.power import Power
from profiles.performance.terms import new_load, seen, steps
from profiles.types import Layout, ModelCard

MOST_RUNNING = 4096
"""Decoding requests up to which iterations are tabulated."""

LONG_CONTEXT = 4096.0
"""Tokens at which the share of layers with a sliding window is taken."""

LONE_PROMPTS = np.array([256.0, 512.0, 1024.0, 2048.0, 4096.0])
"""Lengths of prompts alone on a replica that tell what an iteration of prompts costs."""

TYPICAL_OUTPUT = 256.0
"""Output tokens of requests that were measured: far from them the remainder of a fit means nothing."""

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
    fixed, per_token, per_token2 = _prompt_alone(latency)
    launch = min(fixed, float(decode_ms[0]))
    return Iteration(
        layout=layout,
        decode_ms=np.concatenate([[launch], decode_ms]),
        kv_ms_per_token=float(factor * coefficients[KV_READ] * reads * latency.sheet.kv_ms_per_token),
        prompt_ms_per_token=per_token,
        prompt_ms_per_token2=per_token2,
        prompt_overhead_ms=fixed - launch,
        kv_tokens=latency.limit.tokens,
        reserved_output=latency.limit.reserved_output,
        kv_bytes_per_token=card.kv_bytes_per_token(kv_bytes_per_value(precision)) if card else 0.0,
        idle_w=float(watts[0]),
        prompt_w=np.nan if power is None else power.prompt_w(),
        decode_w=watts,
        relative_error=error,
    )


def _prompt_alone(latency: Latency) -> tuple[float, float, float]:
    """(fixed, per token, per squared token) of the time to first token of a prompt that nothing else disturbs, in ms.

    Static batches measure exactly that. Where prompts came one by one, what they add to the steps of others was
    measured, and of a prompt alone only the rest is taken. Shared by both is a pass over the weights; no engine needs
    longer for it than for a decode step, so whatever is fixed beyond one keeps no engine busy.
    """
    lengths = LONE_PROMPTS, np.full(len(LONE_PROMPTS), TYPICAL_OUTPUT)
    alone = replace(latency, as_measured=True).at(*lengths, np.ones(len(LONE_PROMPTS)))
    per_token, per_token2 = latency.prompt_work
    if latency.measured_static:
        terms = np.stack([np.ones(len(LONE_PROMPTS)), LONE_PROMPTS, LONE_PROMPTS**2], axis=1) / alone.ttft_ms[:, None]
        fixed, linear, squared = _not_negative(terms, np.ones(len(LONE_PROMPTS)))
        return float(fixed), max(float(linear), latency.sheet.flops_ms_per_token), float(squared)
    work = LONE_PROMPTS * (per_token + LONE_PROMPTS * per_token2)
    return float(np.median(np.maximum(alone.ttft_ms - work, 0.0))), per_token, per_token2


def _not_negative(terms: Floats, target: Floats) -> Floats:
    """Least squares without terms that would be negative: for three terms, and without the seconds that scipy's own
    takes to import.
    """
    used = list(range(terms.shape[1]))
    found = np.zeros(terms.shape[1])
    while used:
        solution = np.linalg.lstsq(terms[:, used], target, rcond=None)[0]
        if (solution >= 0).all():
            found[used] = solution
            return found
        used.remove(used[int(solution.argmin())])
    return found
