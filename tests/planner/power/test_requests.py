"""Requests to replay: of a trace or drawn at random, as often as asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.power.traces.requests import Requests, at_rate, requests_of
from planner.power.workload import Generated, Trace


@settings(max_examples=50, deadline=None)
@given(rate=st.floats(0.05, 40.0), seed=st.integers(0, 1000))
def test_a_rate_multiplies_requests_and_keeps_their_sizes_and_bursts(rate: float, seed: int) -> None:
    random = np.random.Generator(np.random.PCG64(seed))
    arrival_s = np.sort(np.concatenate([random.uniform(0, 600, 500), random.uniform(200, 300, 500)]))
    requests = Requests(arrival_s, random.integers(1, 2000, 1000), random.integers(1, 500, 1000))
    found = at_rate(requests, rate, 600.0, 30.0, seed)
    assert len(found.arrival_s) == pytest.approx(rate * 600, abs=5 * np.sqrt(rate * 600) + 1)
    assert (np.diff(found.arrival_s) >= 0).all()
    assert found.arrival_s.min() >= 0
    assert found.arrival_s.max() < 600
    sizes = set(zip(requests.input_tokens.tolist(), requests.output_tokens.tolist(), strict=True))
    assert set(zip(found.input_tokens.tolist(), found.output_tokens.tolist(), strict=True)) <= sizes
    in_burst = ((found.arrival_s > 200) & (found.arrival_s < 330)).mean()
    assert in_burst == pytest.approx(0.6, abs=0.1 + 2 / np.sqrt(rate * 600))


def test_of_a_long_trace_the_busiest_hour_is_replayed() -> None:
    quiet, busy = np.arange(0, 7_200_000, 60_000), np.arange(7_200_000, 10_800_000, 5_000)
    arrival_ms = np.concatenate([quiet, busy, busy[-1] + quiet + 60_000])
    demand = Trace(requests=np.column_stack([arrival_ms, np.full((len(arrival_ms), 2), 10)]).tolist(), model="m")
    found = requests_of(demand)
    assert len(found.arrival_s) == len(busy)
    assert found.arrival_s[0] == 0


@pytest.mark.parametrize("burstiness", [0.0, 0.5])
def test_generated_requests_have_the_sizes_and_bursts_asked_for(burstiness: float) -> None:
    found = requests_of(Trace(generated=Generated(burstiness=burstiness, seed=3), model="m"))
    assert found.input_tokens.mean() == pytest.approx(1155, rel=0.05)
    assert found.output_tokens.mean() == pytest.approx(211, rel=0.05)
    assert np.log(found.input_tokens).std() == pytest.approx(1.0, abs=0.05)
    per_burst = np.bincount((found.arrival_s // 300).astype(int))
    assert len(per_burst) == 12
    assert per_burst.std() / per_burst.mean() == pytest.approx(burstiness, abs=0.2)
