"""The terms of which decode steps and prompts consist, and what each costs where nothing was measured.

With ``n`` requests running, context ``ctx = input + output / 2`` and everything in ms:

- decode step without prompts  ``s = launch + all-reduce + weights + experts(n) + n·(ctx·KV + flops + host)``
- prompt, alone                ``P = launch + input·(flops + link + host) + input²·attention``
- prompt among ``n`` requests   the same with the parts of ``launch`` and ``input`` that grow by √n and n
- TPOT                          ``s + (prompt work that arrives per token) = s + n·P' / (output − 1 + P / TPOT)``

The last is chunked prefill (Agrawal et al., "Sarathi-Serve", OSDI 2024, section 4): prompts of newcomers share the
steps of those who decode, and in steady state ``n / E2E`` of them arrive per second (Little's law).
Experts read per step: ``1 − (1 − k/E)^n`` of them when tokens choose independently.
"""

from __future__ import annotations

import numpy as np

from profiles.performance.answers import Floats
from profiles.performance.datasheet import Datasheet

STEP_TERMS = ("launch", "all-reduce latency", "weights", "experts", "KV read", "flops", "host per request")
SHARED_PROMPT_TERMS = ("prompt flops", "prompt attention", "prompt link", "prompt host")
PROMPT_TERMS = (
    "launch", "flops", "attention", "link and host",
    "launch √n", "flops √n", "host √n", "launch n", "flops n", "host n",
)  # fmt: skip

STEP_PRIOR = np.array([54.0, 10.0, 1.2, 1.6, 1.8, 1.8, 0.01, 1.3, 5.0, 3.3, 2.0])
PROMPT_PRIOR = np.array([940.0, 1.3, 7.4, 3.3, 160.0, 0.01, 1.3, 1.0, 0.1, 1.8])
"""Multiples of the datasheet times; of microseconds per layer for launches, of 10 ns per layer and token for hosts.

Weights (83% of bandwidth) and prompt flops (77% of peak) are what Helix measured per layer on A100 and V100. The rest
is fitted over all InferenceX rows, with one vote per model × GPU × precision × engine; predicting each such family from
all others this way misses TPOT by 22% on average, 90% of the rows by less than 41%."""


def step_terms(sheet: Datasheet, running: Floats, input_tokens: Floats, output_tokens: Floats) -> Floats:
    """(rows, 7): the terms of a decode step of ``running`` requests, without prompts."""
    context = input_tokens + output_tokens / 2
    if sheet.full_layers < 1:
        context = sheet.full_layers * context + (1 - sheet.full_layers) * np.minimum(context, sheet.window)
    one = np.ones_like(running)
    launch = one * sheet.num_layers * 1e-3
    hit = 1 - (1 - sheet.expert_hit) ** running if sheet.expert_hit else 0 * one
    return np.stack(
        [
            launch,
            launch * np.log2(sheet.tp),
            one * sheet.weights_ms,
            hit * sheet.experts_ms,
            running * context * sheet.kv_ms_per_token,
            running * sheet.flops_ms_per_token,
            running * launch,
        ],
        axis=1,
    )


def shared_prompt_terms(sheet: Datasheet, input_tokens: Floats) -> Floats:
    """(rows, 4): the terms of the work of one prompt that delays the steps of others."""
    return np.stack(
        [
            input_tokens * sheet.flops_ms_per_token,
            input_tokens**2 * sheet.attention_ms_per_token2,
            input_tokens * sheet.link_ms_per_token,
            input_tokens * sheet.num_layers * 1e-5,
        ],
        axis=1,
    )


def prompt_terms(sheet: Datasheet, running: Floats, input_tokens: Floats) -> Floats:
    """(rows, 10): the terms of the time to first token among ``running`` requests, without waiting for memory."""
    root = np.sqrt(running)
    launch = np.ones_like(running) * sheet.num_layers * 1e-3
    flops = input_tokens * sheet.flops_ms_per_token
    host = input_tokens * sheet.num_layers * 1e-5
    attention = input_tokens**2 * sheet.attention_ms_per_token2
    return np.stack(
        [
            launch, flops, attention, input_tokens * sheet.link_ms_per_token + host,
            launch * root, flops * root, host * root, launch * running, flops * running, host * running,
        ],
        axis=1,
    )  # fmt: skip


def newcomers_per_step(running: Floats, output_tokens: Floats, prompt_ms: Floats, tpot_ms: Floats) -> Floats:
    """Prompts that arrive during one token of a running request."""
    return running / (np.maximum(output_tokens - 1, 1) + prompt_ms / tpot_ms)


def tpot(step_ms: Floats, shared_ms: Floats, running: Floats, output_tokens: Floats, prompt_ms: Floats) -> Floats:
    """Solve ``x = step + shared · newcomers_per_step(x)`` for the time per output token: a quadratic in x."""
    tokens = np.maximum(output_tokens - 1, 1)
    linear = step_ms * tokens + running * shared_ms - prompt_ms
    root = np.sqrt(linear**2 + 4 * tokens * step_ms * prompt_ms)
    # Of the two equal forms of the positive root, the one that does not cancel.
    cancelling = linear < 0
    stable = 2 * step_ms * prompt_ms / np.where(cancelling, root - linear, 1.0)
    return np.where(cancelling, stable, (linear + root) / (2 * tokens))
