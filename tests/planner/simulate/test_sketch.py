"""Percentiles of the sketch against those of the values themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.simulate.cluster import Options, Pool, every_route
from planner.simulate.replay import replay
from planner.simulate.sketch import BINS_PER_E, FIRST_BIN, NUM_BINS, RELATIVE_ERROR, quantiles
from planner.simulate.traffic import from_arrays
from tests.planner.simulate.costs import iteration


def counted(values: list[float]) -> np.ndarray:
    at = np.ceil(np.log(values) * BINS_PER_E).astype(int) - FIRST_BIN
    return np.bincount(np.clip(at, 0, NUM_BINS - 1), minlength=NUM_BINS)


@given(st.lists(st.floats(1e-3, 1e9), min_size=1, max_size=200), st.floats(0, 1))
def test_within_its_relative_error_of_the_value_with_that_rank(values: list[float], share: float) -> None:
    exact = np.sort(values)[int(share * (len(values) - 1))]
    assert quantiles(counted(values), [share]) == [pytest.approx(exact, rel=RELATIVE_ERROR * 1.0001)]


def test_nothing_counted_has_no_percentile() -> None:
    assert quantiles(np.zeros(NUM_BINS, dtype=np.int64), [0.5]) == []


def test_the_replay_counts_as_the_sketch_reads() -> None:
    """The compiled half and the other use one mapping of values to bins."""
    told: list[np.ndarray] = []
    pools = (Pool("u", iteration(), 2),)
    random = np.random.default_rng(0)
    traffic = from_arrays(
        np.cumsum(random.exponential(0.1, 300)), random.integers(1, 900, 300), random.integers(1, 90, 300)
    )
    found = replay(pools, every_route(pools), traffic, Options(), sink=lambda rows: told.append(rows.copy()))
    rows = np.concatenate(told)
    for metric, name in enumerate(("ttft_ms", "tpot_ms", "e2e_ms")):
        values = rows[name][~np.isnan(rows[name])]
        np.testing.assert_array_equal(found.histogram[metric], counted(values.tolist()))
