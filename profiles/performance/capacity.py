"""The highest request rate that meets an SLO."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats, Slo, Strings
from profiles.performance.bisection import largest
from profiles.performance.latency import Latency, Timing
from profiles.performance.lattice import RUNNING

ALONE = 1e-3
"""Mean requests in flight at which a request practically never meets another."""


@dataclass(frozen=True)
class Sustained:
    """Highest rates with their mean times, and what binds; arrays over request sizes."""

    concurrency: Floats
    requests_per_s: Floats
    timing: Timing
    """At the SLO's percentile."""
    binding: Strings


def sustain(latency: Latency, input_tokens: Floats, output_tokens: Floats, slo: Slo, most: float) -> Sustained:
    """Largest rate within ``slo`` for each request size, at no more than ``most`` requests in flight.

    Every time grows with concurrency, so the largest concurrency that meets the SLO is found by bisection. Rate
    ``N / E2E(N)`` mostly grows with it until memory is full; where it does not, fewer requests are kept in flight.
    """
    fits = latency.limit.running(input_tokens, output_tokens)
    highest = np.maximum(np.minimum(fits, most), 1.0)

    def timing(concurrency: Floats) -> Timing:
        return latency.at(input_tokens, output_tokens, concurrency, slo.percentile)

    concurrency = largest(lambda n: _excess(timing(n), slo).max(axis=0) <= 1.0, highest, np.full_like(highest, ALONE))
    excess = _excess(timing(np.minimum(concurrency * 1.001, highest)), slo)
    names = np.array(["ttft", "tpot", "e2e"])
    full = np.where(fits <= most, "memory", "throughput")
    binding = np.where(excess.max(axis=0) > 1.0, names[excess.argmax(axis=0)], full)
    concurrency, rate = _fastest(latency, input_tokens, output_tokens, concurrency)
    at = timing(concurrency)
    possible = (_excess(at, slo).max(axis=0) <= 1.0) & (fits >= 1.0)
    binding = np.where(fits < 1.0, "memory", binding)
    return Sustained(np.where(possible, concurrency, 0.0), np.where(possible, rate, 0.0), at, binding)


def _fastest(latency: Latency, input_tokens: Floats, output_tokens: Floats, most: Floats) -> tuple[Floats, Floats]:
    """Concurrency up to ``most`` with the highest rate, and that rate per second.

    Times are linear in concurrency between the nodes of their lattice, so the rate is highest on a node, or at the end.
    """
    tried = np.minimum(
        np.concatenate([most[None], np.tile(RUNNING[most.max(initial=0.0) > RUNNING, None], len(most))]), most
    )
    rate = 1e3 * tried / np.stack([latency.at(input_tokens, output_tokens, n).e2e_ms for n in tried])
    best = rate.argmax(axis=0), np.arange(len(most))
    return tried[best], rate[best]


def _excess(timing: Timing, slo: Slo) -> Floats:
    """(3, points): each latency as a multiple of its limit; 0 where not asked."""
    zero = np.zeros_like(timing.e2e_ms)
    return np.stack(
        [
            zero if limit is None else value / limit
            for value, limit in (
                (timing.ttft_ms, slo.ttft_ms),
                (timing.tpot_ms, slo.tpot_ms),
                (timing.e2e_ms, slo.e2e_ms),
            )
        ]
    )
