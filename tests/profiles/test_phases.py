"""Replicas that do one phase: formulas against a queue that is simulated, and rates that meet their limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from profiles.performance import (
    Iteration,
    Sizes,
    Slo,
    decoded_requests_per_s,
    most_concurrent,
    sustained_decode,
    sustained_prefill,
    time_per_output_token,
    time_to_first_token,
)
from profiles.types import Layout

MOST = 256


def iteration(**changes: object) -> Iteration:
    running = np.arange(MOST + 1.0)
    values: dict[str, object] = {
        "layout": Layout(model="m", gpu="H100"), "decode_ms": np.where(running > 0, 20 + 0.05 * running, 0.0),
        "kv_ms_per_token": 1e-4, "prompt_ms_per_token": 0.05, "prompt_ms_per_token2": 1e-6, "prompt_overhead_ms": 30.0,
        "kv_tokens": 200_000.0, "reserved_output": 0.5, "kv_bytes_per_token": 327_680.0, "idle_w": 100.0,
        "prompt_w": 650.0, "decode_w": 300 + running, "relative_error": 0.1, **changes,
    }  # fmt: skip
    return Iteration(**values)  # type: ignore[arg-type]


def sizes(tokens_in: float, tokens_out: float, link: float = 25.0) -> Sizes:
    return Sizes(np.array([tokens_in]), np.array([tokens_out]), link)


def test_waiting_is_that_of_a_simulated_queue() -> None:
    """Lindley's recursion: each prompt waits for what the one before left, less the time between arrivals."""
    replica, size = iteration(), sizes(2000, 100)
    service_ms = float(replica.prompt_ms(np.array([2000.0]))[0])
    rng = np.random.default_rng(1)
    for busy in (0.3, 0.7, 0.9):
        gaps = rng.exponential(service_ms / busy, 1_000_000)
        slack = np.concatenate([[0.0], np.cumsum(service_ms - gaps)])
        waits = slack - np.minimum.accumulate(slack)
        rate = np.array([1e3 * busy / service_ms])
        alone = replica.prompt_overhead_ms + service_ms
        assert time_to_first_token(replica, size, rate)[0] == pytest.approx(alone + waits.mean(), rel=0.03)
        for percentile, q in (("p90", 0.9), ("p99", 0.99)):
            found = time_to_first_token(replica, size, rate, percentile)[0]  # type: ignore[arg-type]
            assert found == pytest.approx(alone + np.quantile(waits, q), rel=0.06)


def test_a_replica_that_cannot_keep_up_never_answers() -> None:
    assert np.isinf(time_to_first_token(iteration(), sizes(1000, 10), np.array([1e3])))[0]


def test_decoding_is_iterations_and_one_transfer() -> None:
    replica, size = iteration(), sizes(1000, 101, link=10.0)
    step = 20 + 0.05 * 8 + 8 * 1050.5 * 1e-4
    transfer = 1000 * 327_680 / 10e9 * 1e3
    assert time_per_output_token(replica, size, np.array([8.0]))[0] == pytest.approx(step + transfer / 100)
    assert decoded_requests_per_s(replica, size, np.array([8.0]))[0] == pytest.approx(8e3 / (100 * step))


requests = st.tuples(st.floats(1, 50_000), st.floats(1, 5_000))
slos = st.builds(
    Slo,
    ttft_ms=st.none() | st.floats(1, 1e5), tpot_ms=st.none() | st.floats(1, 1e3), e2e_ms=st.none() | st.floats(1, 1e6),
    percentile=st.sampled_from(["mean", "p50", "p90", "p99"]),
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(requests, slos)
def test_sustained_rates_meet_the_slo_and_fit(request: tuple[float, float], slo: Slo) -> None:
    replica, size = iteration(), sizes(*request)
    prefill, decode = sustained_prefill(replica, size, slo), sustained_decode(replica, size, slo)
    if prefill.requests_per_s[0] > 0:
        first = time_to_first_token(replica, size, prefill.requests_per_s, slo.percentile)[0]
        assert first <= (slo.ttft_ms or np.inf) * 1.000001
        assert prefill.requests_per_s[0] * size.transfer_ms(replica)[0] <= 1000.001
    if decode.requests_per_s[0] > 0:
        each = time_per_output_token(replica, size, decode.concurrency, slo.percentile)[0]
        assert request[1] <= 1 or each <= (slo.tpot_ms or np.inf) * 1.000001
        assert decode.concurrency[0] <= max(most_concurrent(replica, size)[0], 1) * 1.000001
        if prefill.requests_per_s[0] > 0 and slo.e2e_ms is not None:
            assert prefill.e2e_ms[0] + decode.e2e_ms[0] <= slo.e2e_ms * 1.000001


@settings(max_examples=100, deadline=None)
@given(requests, slos, st.floats(1, 4))
def test_a_looser_slo_or_a_faster_link_never_sustains_less(request: tuple[float, float], slo: Slo, more: float) -> None:
    looser = Slo(
        slo.ttft_ms and slo.ttft_ms * more, slo.tpot_ms and slo.tpot_ms * more, slo.e2e_ms and slo.e2e_ms * more,
        slo.percentile,
    )  # fmt: skip
    replica = iteration()
    for sustained in (sustained_prefill, sustained_decode):
        tight = sustained(replica, sizes(*request), slo).requests_per_s[0]
        if slo.ttft_ms is None or slo.e2e_ms is None:  # with both, a looser TTFT leaves decoding less of the E2E limit
            assert sustained(replica, sizes(*request), looser).requests_per_s[0] >= tight * 0.99999
        assert sustained(replica, sizes(*request, 25.0 * more), slo).requests_per_s[0] >= tight * 0.99999


def test_one_token_needs_no_decoding() -> None:
    found = sustained_decode(iteration(), sizes(500, 1), Slo(tpot_ms=0.001))
    assert found.requests_per_s[0] >= 1e6


def test_what_does_not_fit_is_not_served() -> None:
    long = sizes(300_000, 100)
    assert sustained_decode(iteration(), long, Slo()).requests_per_s[0] == 0
    assert sustained_prefill(iteration(), long, Slo()).requests_per_s[0] == 0
