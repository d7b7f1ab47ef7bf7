"""Requests to replay: the busiest hour of a trace, or drawn at random; and either as often as a load asks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from planner.packed import PackedArray
from planner.power.workload import Generated, Trace
from planner.program import Ints
from profiles.performance.answers import Floats, Marks

HOUR_S = 3600
"""Longer traces are cut to their busiest hour: what is slower than an hour is in the calendar."""

GENERATED_PER_S = 5.0
"""Of generated requests, before they are multiplied: as many an hour as the Azure conversation trace has."""

BURST_S = 300.0
"""How long a generated burst or lull lasts."""


class Requests(NamedTuple):
    """Requests by arrival; arrays (R,)."""

    arrival_s: Floats
    input_tokens: Ints
    output_tokens: Ints

    def at(self, which: Ints | Marks | slice) -> Requests:
        """Some of them."""
        return Requests(self.arrival_s[which], self.input_tokens[which], self.output_tokens[which])


def requests_of(demand: Trace) -> Requests:
    """What ``demand`` names, at most an hour, from 0 s on."""
    if demand.generated is not None:
        return _generated(demand.generated)
    assert demand.requests is not None  # noqa: S101  (the spec's validator saw to it)
    return _busiest_hour(demand.requests)


def at_rate(requests: Requests, requests_per_s: float, span_s: float, spread_s: float, seed: int) -> Requests:
    """``requests`` of ``span_s`` seconds as often as ``requests_per_s`` in all says.

    Each comes many times, or only with some chance, at moments spread over the ``spread_s`` after its own; at the end
    of the span they go round to its start. So many more users behave as these did, but not at the same instant.
    """
    random = np.random.Generator(np.random.PCG64(seed))
    factor = requests_per_s * span_s / len(requests.arrival_s)
    whole = int(factor)
    copies = whole + (random.random(len(requests.arrival_s)) < factor - whole)
    at = np.repeat(np.arange(len(requests.arrival_s)), copies)
    arrival_s = (requests.arrival_s[at] + spread_s * random.random(len(at))) % span_s
    order = np.argsort(arrival_s, kind="stable")
    return requests.at(at[order])._replace(arrival_s=arrival_s[order])


def warmed_up(requests: Requests, span_s: float, warm_up_s: float) -> Requests:
    """``requests`` after the last ``warm_up_s`` of them, which come before 0 s."""
    before = requests.at(requests.arrival_s >= span_s - warm_up_s)
    return Requests(
        np.concatenate([before.arrival_s - span_s, requests.arrival_s]),
        np.concatenate([before.input_tokens, requests.input_tokens]),
        np.concatenate([before.output_tokens, requests.output_tokens]),
    )


def _busiest_hour(packed: PackedArray) -> Requests:
    table = packed.array()
    arrival_s = table[:, 0] / 1e3
    last = np.searchsorted(arrival_s, arrival_s + HOUR_S)
    first = int((last - np.arange(len(table))).argmax())
    hour = table[first : last[first]]
    return Requests((hour[:, 0] - hour[0, 0]) / 1e3, hour[:, 1].copy(), hour[:, 2].copy())


def _generated(generated: Generated) -> Requests:
    """Rates of five minutes are gamma; within them arrivals are Poisson; sizes are log-normal."""
    random = np.random.Generator(np.random.PCG64(generated.seed))
    num_bursts = int(HOUR_S / BURST_S)
    rates = np.ones(num_bursts)
    if generated.burstiness > 0:
        shape = generated.burstiness**-2
        rates = random.gamma(shape, 1 / shape, num_bursts)
    rates *= num_bursts / rates.sum()
    counts = random.poisson(GENERATED_PER_S * BURST_S * rates)
    arrival_s = np.repeat(np.arange(num_bursts) * BURST_S, counts) + BURST_S * random.random(counts.sum())
    return Requests(
        np.sort(arrival_s),
        _log_normal(random, generated.mean_input_tokens, generated.input_spread, len(arrival_s)),
        _log_normal(random, generated.mean_output_tokens, generated.output_spread, len(arrival_s)),
    )


def _log_normal(random: np.random.Generator, mean: float, spread: float, count: int) -> Ints:
    """Whole numbers of 1 or more with about that mean; their logarithms have the standard deviation ``spread``."""
    drawn = np.exp(spread * random.standard_normal(count) - spread**2 / 2) * mean
    return np.maximum(np.rint(drawn), 1).astype(np.int64)
