"""The terms of which decode steps and prompts consist, and the closed loop in which they meet.

In ms, with ``n`` requests running, ``d`` of them decoding, context ``c = input + output / 2``, datasheet times in
capitals (``datasheet``), ``L`` layers in thousands and one coefficient (``COEFFICIENTS``) before every term:

- decode step   ``s = L + L·log2(tp) + WEIGHTS + EXPERTS·hit(d) + d·(c·KV + FLOPS + L)``
- prompt work   ``P = input·(FLOPS + LINK + L/100) + input²·ATTENTION``
- TPOT          ``t = s + share·P·(n − 1) / (output − 1 + TTFT / t)``
- TTFT          ``f = overhead·L + prompt·P + join·s + burst·n·P + queue·Q``

TPOT is chunked prefill (Agrawal et al., "Sarathi-Serve", OSDI 2024, section 4): prompts of newcomers share the steps
of those who decode, and one arrives per ``E2E`` from every other client (Little's law). ``Q`` is the wait at the prompt
station of a closed network in which ``n`` requests alternate between prompts of ``P`` and decoding for
``Z = (output − 1)·t``: by mean value analysis with Schweitzer's arrival theorem (Lazowska et al., "Quantitative System
Performance", 1984, section 7.4), ``R = P + (n − 1)·P·R / (R + Z)`` and ``Q = R − P``. ``burst`` is for clients that
start together or keep step: at worst half of their prompts come first. Experts read per step: ``1 − (1 − k/E)^d`` of
them when tokens choose independently.

Requests that do not fit wait: with throughput ``running / service``, Little's law makes the wait
``(n / running − 1) · (f + Z)``. In a static batch all prompts run first, and nothing disturbs the steps.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from profiles.performance.answers import Floats
from profiles.performance.datasheet import Datasheet

COEFFICIENTS = (
    "launch", "all-reduce", "weights", "experts", "KV read", "decode flops", "host per request",
    "prompt flops", "prompt attention", "prompt link", "prompt host", "share of prompts in steps",
    "overhead", "prompt", "join", "burst", "queue", "memory",
)  # fmt: skip
"""What each column of coefficients multiplies; the last is KV memory over what should fit."""

SHARE, OVERHEAD, PROMPT, JOIN, BURST, QUEUE, MEMORY = range(11, 18)
MOST_PROMPT, MOST_BURST, MOST_QUEUE = 4.0, 0.5, 2.0
"""Where these coefficients saturate: one prompt costs at most so many, half of all prompts come first, and so on."""

ROUNDS = 3
"""Rounds in which TPOT, TTFT and the number decoding settle; a fourth moves them by less than 1%."""

SHARPNESS = 32
"""Of the limit on running requests: n / (1 + (n / limit)^32)^(1/32), smooth for the fit."""

STEP = 1e-4
"""Of the logarithm of a coefficient, for slopes."""


@dataclass(frozen=True)
class Load:
    """Datasheet times of the layout and requests in flight, per row: arrays that broadcast."""

    layers: Floats
    log2_tp: Floats
    nodes: Floats
    weights_ms: Floats
    experts_ms: Floats
    expert_hit: Floats
    kv_ms_per_token: Floats
    full_layers: Floats
    window: Floats
    flops_ms_per_token: Floats
    attention_ms_per_token2: Floats
    link_ms_per_token: Floats
    continuous: Floats
    """1 where prompts arrive one by one, 0 in a static batch."""
    expected_tokens: Floats
    """KV memory that should fit; inf where nothing is known."""
    proven_tokens: Floats
    """KV memory that ran without waiting."""
    reserved_output: Floats
    slots: Floats
    input_tokens: Floats
    output_tokens: Floats
    concurrency: Floats


class Times(NamedTuple):
    """Of one load: TPOT, TTFT without and with waiting to run in ms, and how many run."""

    tpot_ms: Floats
    first_ms: Floats
    ttft_ms: Floats
    running: Floats


def new_load(
    sheet: Datasheet, input_tokens: Floats, output_tokens: Floats, concurrency: Floats, *, continuous: bool = True,
    expected_tokens: float = np.inf, proven_tokens: float = 0.0, reserved_output: float = 0.5, slots: float = np.inf,
) -> Load:  # fmt: skip
    """Requests on one layout."""

    def array(value: float) -> Floats:
        return np.asarray(value, dtype=np.float64)

    return Load(
        layers=array(sheet.num_layers),
        log2_tp=array(np.log2(sheet.tp)),
        nodes=array(sheet.nodes),
        weights_ms=array(sheet.weights_ms),
        experts_ms=array(sheet.experts_ms),
        expert_hit=array(sheet.expert_hit),
        kv_ms_per_token=array(sheet.kv_ms_per_token),
        full_layers=array(sheet.full_layers),
        window=array(max(sheet.window, 1)),
        flops_ms_per_token=array(sheet.flops_ms_per_token),
        attention_ms_per_token2=array(sheet.attention_ms_per_token2),
        link_ms_per_token=array(sheet.link_ms_per_token),
        continuous=array(continuous),
        expected_tokens=array(expected_tokens),
        proven_tokens=array(proven_tokens),
        reserved_output=array(reserved_output),
        slots=array(slots),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        concurrency=concurrency,
    )


def concatenate(loads: list[Load]) -> Load:
    """One load of all rows."""
    return Load(
        *(
            np.concatenate([np.broadcast_to(getattr(load, field.name), load.concurrency.shape) for load in loads])
            for field in fields(Load)
        )
    )


def steps(load: Load, decoding: Floats, context: Floats, coefficients: Floats) -> Floats:
    """A decode step of ``decoding`` requests with ``context`` tokens each, without prompts, in ms."""
    launch = load.layers * 1e-3
    hit = -np.expm1(decoding * np.log1p(-np.minimum(load.expert_hit, 0.999)))
    c = _columns(coefficients)
    return np.asarray(
        launch * (c[0] + c[1] * load.log2_tp)
        + c[2] * load.weights_ms
        + c[3] * hit * load.experts_ms
        + decoding * (seen(load, context) * c[4] * load.kv_ms_per_token + c[5] * load.flops_ms_per_token)
        + decoding * c[6] * launch / load.nodes
    )


def seen(load: Load, context: Floats) -> Floats:
    """Tokens of a context that are read, averaged over the layers."""
    return np.asarray(load.full_layers * context + (1 - load.full_layers) * np.minimum(context, load.window))


def prompt_work(load: Load, coefficients: Floats) -> tuple[Floats, Floats]:
    """(per token, per squared token) of a prompt in ms, alone."""
    c = _columns(coefficients)
    linear = c[7] * load.flops_ms_per_token + c[9] * load.link_ms_per_token + c[10] * load.layers * 1e-5 / load.nodes
    return np.asarray(linear), np.asarray(c[8] * load.attention_ms_per_token2)


def closed_loop(load: Load, coefficients: Floats) -> Times:
    """Times of ``load``; ``coefficients`` (..., rows, 18) or (18,) for all rows."""
    c = _columns(coefficients)
    held = load.input_tokens + load.reserved_output * load.output_tokens
    tokens = np.maximum(load.expected_tokens * c[MEMORY], load.proven_tokens)
    most = np.maximum(np.minimum(tokens / held, load.slots), 1.0)
    running = load.concurrency * (1 + np.minimum(load.concurrency / most, 50.0) ** SHARPNESS) ** (-1 / SHARPNESS)
    tokens_out = np.maximum(load.output_tokens - 1, 1.0)
    linear, squared = prompt_work(load, coefficients)
    prompt = load.input_tokens * (linear + load.input_tokens * squared)
    context = load.input_tokens + load.output_tokens / 2
    alone = c[OVERHEAD] * load.layers * 1e-3 + _below(c[PROMPT], MOST_PROMPT) * prompt * np.where(
        load.continuous > 0, 1.0, running
    )
    shared = load.continuous * c[SHARE] * np.maximum(running - 1, 0.0) * prompt
    decoding, first = running, alone
    for _ in range(ROUNDS):
        step = steps(load, decoding, context, coefficients)
        each = _tpot(step, shared, tokens_out, first)
        decode = tokens_out * each
        queue = _positive_root(running * prompt - decode, prompt * decode) - prompt
        first = alone + load.continuous * (
            c[JOIN] * step
            + _below(c[BURST], MOST_BURST) * running * prompt
            + _below(c[QUEUE], MOST_QUEUE) * np.maximum(queue, 0.0)
        )
        decoding = np.where(load.continuous > 0, np.maximum(running * decode / (decode + first), 1.0), running)
    wait = np.maximum(load.concurrency / running - 1, 0.0) * (first + decode)
    return Times(each, first, first + wait, running)


def slopes(load: Load, log_coefficients: Floats) -> tuple[Times, Floats, Floats]:
    """Times at ``log_coefficients`` (rows, 18), and the slopes of log TPOT and of log TTFT: (rows, 18) each."""
    moved = log_coefficients + STEP * np.eye(len(COEFFICIENTS))[:, None, :]
    times = closed_loop(load, np.exp(np.concatenate([log_coefficients[None], moved])))
    log_tpot, log_ttft = np.log(times.tpot_ms), np.log(times.ttft_ms)
    here = Times(*(values[0] for values in np.broadcast_arrays(*times)))
    return here, ((log_tpot[1:] - log_tpot[0]) / STEP).T, ((log_ttft[1:] - log_ttft[0]) / STEP).T


def _columns(coefficients: Floats) -> list[Floats]:
    return [coefficients[..., k] for k in range(len(COEFFICIENTS))]


def _below(value: Floats, most: float) -> Floats:
    """``value`` while it is small, never above ``most``."""
    return value * most / (value + most)


def _tpot(step: Floats, shared: Floats, tokens_out: Floats, first: Floats) -> Floats:
    """Solve ``t = step + shared / (tokens_out + first / t)``: a quadratic in t."""
    return _positive_root(step - (first - shared) / tokens_out, step * first / tokens_out)


def _positive_root(b: Floats, c: Floats) -> Floats:
    """Positive root of ``x² = b·x + c``; of its two equal forms the one that does not cancel."""
    root = np.sqrt(b * b + 4 * c)
    return np.where(b >= 0, (b + root) / 2, 2 * c / np.where(b >= 0, 1.0, root - b))
