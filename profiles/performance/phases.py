"""Replicas that do one phase of requests only: prompts, or decoding (Splitwise: Patel et al., ISCA 2024, section 4).

A *prefill* replica takes prompts one after another: a queue with random arrivals and, for one request size, fixed
service times (M/D/1). With utilisation ``ρ = rate · P`` and prompt time ``P`` the mean wait is ``ρ P / (2 (1 − ρ))``
(Pollaczek–Khinchine), and the tail is exponential: ``Pr(wait > t) ≈ C · exp(−x t / P)`` with ``x > 0`` the root of
``ρ (e^x − 1) = x`` and ``C = (1 − ρ) / (x + ρ − 1)`` (Tijms, "A First Course in Stochastic Models", 2003, section
9.4). The first token leaves the prefill replica.

A *decode* replica runs ``N`` requests whose prompts never disturb it: an iteration takes
``decode_ms[N] + N · (input + output / 2) · kv_ms_per_token``. Before its second token a request's KV cache crosses the
link, ``input · kv_bytes_per_token / bandwidth``, which counts towards its time per output token and end-to-end time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats, Marks, Percentile, Slo
from profiles.performance.bisection import largest
from profiles.performance.iteration import Iteration
from profiles.performance.latency import crowd

QUANTILE: dict[Percentile, float] = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}

NEWTON_STEPS = 12
"""Enough for every utilisation at which one prompt in a hundred waits."""

FULL = 0.999
"""Utilisation of a prefill replica that counts as its throughput: beyond it a queue has no mean."""

E2E_SHARE_OF_PREFILL = 1 / 3
"""Share of an end-to-end limit that the first token may take where the SLO has no TTFT limit."""

NO_DECODING_REQUESTS_PER_S = 1e6
"""Stands for the rate of requests whose only token comes from the prompt."""


@dataclass(frozen=True)
class Sizes:
    """Request sizes and how their KV caches move; arrays of one shape."""

    input_tokens: Floats
    output_tokens: Floats
    kv_link_gb_per_s: float

    def transfer_ms(self, iteration: Iteration) -> Floats:
        """Time of one KV cache on the link."""
        return self.input_tokens * iteration.kv_bytes_per_token / (self.kv_link_gb_per_s * 1e6)


def time_to_first_token(
    iteration: Iteration, sizes: Sizes, requests_per_s: Floats, percentile: Percentile = "mean"
) -> Floats:
    """TTFT in ms on a prefill replica that gets ``requests_per_s`` of each size alone; inf where it cannot keep up."""
    prompt = prompt_iteration_ms(iteration, sizes)
    busy = requests_per_s * prompt / 1e3
    within = np.minimum(busy, FULL)
    if percentile == "mean":
        wait = prompt * within / (2 * (1 - within))
    else:
        wait = prompt * _tail(within, QUANTILE[percentile])
    return np.where(busy <= FULL * (1 + 1e-9), iteration.prompt_overhead_ms + prompt + wait, np.inf)


def prompt_iteration_ms(iteration: Iteration, sizes: Sizes) -> Floats:
    """Time that a prompt alone in its iteration keeps a prefill replica busy."""
    return np.asarray(iteration.decode_ms[0] + iteration.prompt_ms(sizes.input_tokens))


def _tail(busy: Floats, quantile: float) -> Floats:
    """Wait, in prompts, that a share ``quantile`` of all prompts does not exceed."""
    late = 1 - quantile
    waits = busy > late
    rho = np.where(waits, busy, 0.5)
    x = -2 * np.log(rho)
    for _ in range(NEWTON_STEPS):  # convex, and started right of the root: every step stays right of it
        x = x - (rho * np.expm1(x) - x) / (rho * np.exp(x) - 1)
    wait = np.log((1 - rho) / (x + rho - 1) / late) / x
    return np.where(waits, np.maximum(wait, 0.0), 0.0)


def time_per_output_token(
    iteration: Iteration, sizes: Sizes, concurrency: Floats, percentile: Percentile = "mean"
) -> Floats:
    """TPOT in ms, transfer included, on a decode replica with ``concurrency`` requests in flight on average."""
    gaps = np.maximum(sizes.output_tokens - 1, 1)
    return step_ms(iteration, sizes, crowd(concurrency, percentile)) + sizes.transfer_ms(iteration) / gaps


def decoded_requests_per_s(iteration: Iteration, sizes: Sizes, concurrency: Floats) -> Floats:
    """Rate of a decode replica with ``concurrency`` requests in flight (Little's law)."""
    gaps = sizes.output_tokens - 1
    with np.errstate(divide="ignore"):
        rate = 1e3 * concurrency / (gaps * step_ms(iteration, sizes, concurrency))
    return np.minimum(rate, NO_DECODING_REQUESTS_PER_S)


def most_concurrent(iteration: Iteration, sizes: Sizes) -> Floats:
    """Requests whose KV caches fit a decode replica at once; below 1 where not even one does."""
    held = sizes.input_tokens + iteration.reserved_output * sizes.output_tokens
    return np.minimum(iteration.kv_tokens / held, iteration.most_running)


def step_ms(iteration: Iteration, sizes: Sizes, concurrency: Floats) -> Floats:
    """Time of one iteration with ``concurrency`` requests halfway through their output."""
    running = np.clip(concurrency, 1.0, iteration.most_running)
    base = np.interp(running, np.arange(len(iteration.decode_ms)), iteration.decode_ms)
    return np.asarray(base + running * (sizes.input_tokens + sizes.output_tokens / 2) * iteration.kv_ms_per_token)


@dataclass(frozen=True)
class Phase:
    """What one replica sustains of one phase within an SLO, per request size; as ``Capacity`` is for whole requests.

    Latencies that the phase has no part in are 0, so those of a prefill and a decode replica add up.
    """

    requests_per_s: Floats
    concurrency: Floats
    ttft_ms: Floats
    tpot_ms: Floats
    e2e_ms: Floats
    transfer_ms: Floats
    power_w: Floats
    best_ttft_ms: Floats
    best_tpot_ms: Floats
    best_e2e_ms: Floats


def sustained_prefill(iteration: Iteration, sizes: Sizes, slo: Slo) -> Phase:
    """Highest rate of a prefill replica within the TTFT limit and its link, for each request size."""
    limit = first_token_limit_ms(slo)
    prompt, zero = prompt_iteration_ms(iteration, sizes), np.zeros(np.shape(sizes.input_tokens))
    transfer = sizes.transfer_ms(iteration)
    highest = np.minimum(FULL * 1e3 / prompt, 1e3 / np.maximum(transfer, 1e-9))

    def meets(rate: Floats) -> Marks:
        return time_to_first_token(iteration, sizes, rate, slo.percentile) <= limit

    rate = largest(meets, highest, 1e-6 * highest)
    alone = iteration.prompt_overhead_ms + prompt
    fits = sizes.input_tokens <= iteration.kv_tokens
    rate = np.where((alone <= limit) & fits, rate, 0.0)
    first = time_to_first_token(iteration, sizes, rate, slo.percentile)
    return Phase(
        rate, rate * first / 1e3, first, zero, first, zero, np.full(zero.shape, iteration.prompt_w), alone, zero, alone
    )


def sustained_decode(iteration: Iteration, sizes: Sizes, slo: Slo) -> Phase:
    """Highest rate of a decode replica within the TPOT limit and what is left of the end-to-end limit."""
    gaps, transfer = sizes.output_tokens - 1, sizes.transfer_ms(iteration)
    limit = np.full(np.shape(gaps), np.inf if slo.tpot_ms is None else slo.tpot_ms)
    if slo.e2e_ms is not None:
        left = slo.e2e_ms - first_token_limit_ms(slo)
        limit = np.minimum(limit, left / np.maximum(gaps, 1))
    fits = most_concurrent(iteration, sizes)
    highest = np.maximum(fits, 1.0)

    def meets(concurrency: Floats) -> Marks:
        return (time_per_output_token(iteration, sizes, concurrency, slo.percentile) <= limit) | (gaps <= 0)

    concurrency = largest(meets, highest, np.full_like(highest, 1e-3))
    each = time_per_output_token(iteration, sizes, concurrency, slo.percentile)
    best = time_per_output_token(iteration, sizes, np.full_like(highest, 1e-3), slo.percentile)
    possible = ((each <= limit) | (gaps <= 0)) & (fits >= 1)
    zero = np.zeros(np.shape(gaps))
    watts = np.interp(concurrency, np.arange(len(iteration.decode_w)), iteration.decode_w)
    return Phase(
        np.where(possible, decoded_requests_per_s(iteration, sizes, concurrency), 0.0),
        np.where(possible, concurrency, 0.0), zero, each, gaps * each, transfer, watts, zero, best, gaps * best,
    )  # fmt: skip


def first_token_limit_ms(slo: Slo) -> float:
    """The limit on TTFT: the SLO's own, or a share of its end-to-end limit."""
    if slo.ttft_ms is not None:
        return slo.ttft_ms if slo.e2e_ms is None else min(slo.ttft_ms, slo.e2e_ms)
    return np.inf if slo.e2e_ms is None else slo.e2e_ms * E2E_SHARE_OF_PREFILL
