"""Two histograms joined: both sides stay what they were, and the correlation is the one that was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal, norm

from planner.errors import InvalidInput
from planner.telemetry.joint import Histogram, joint_shares

counts = st.lists(st.integers(0, 1000), min_size=1, max_size=8).filter(any)


def histogram(count: list[int], token_sum: float | None = None) -> Histogram:
    return Histogram(np.array([0.0, *(10.0 * 2 ** np.arange(len(count)))]), np.array(count, dtype=float), token_sum)


@settings(max_examples=60, deadline=None)
@given(counts, counts, st.floats(-0.99, 0.99))
def test_both_sides_stay_what_they_were(inputs: list[int], outputs: list[int], correlation: float) -> None:
    rows, columns = histogram(inputs), histogram(outputs)
    cells = joint_shares(rows, columns, correlation)
    assert (cells >= 0).all()
    assert cells.sum(axis=1) == pytest.approx(rows.share, abs=1e-6)
    assert cells.sum(axis=0) == pytest.approx(columns.share, abs=1e-6)


def test_without_a_correlation_the_sides_are_independent() -> None:
    rows, columns = histogram([1, 2, 5]), histogram([3, 1])
    assert joint_shares(rows, columns) == pytest.approx(np.outer(rows.share, columns.share))
    assert joint_shares(rows, columns, 1e-9) == pytest.approx(np.outer(rows.share, columns.share), abs=1e-8)


@pytest.mark.parametrize("correlation", [-0.9, -0.3, 0.2, 0.6, 0.95])
def test_cells_are_those_of_the_copula(correlation: float) -> None:
    """Against SciPy's integral of the normal distribution over each rectangle."""
    rows, columns = histogram([5, 20, 40, 30, 5]), histogram([10, 60, 25, 5])
    rho = 2 * np.sin(np.pi * correlation / 6)
    normal = multivariate_normal(cov=[[1, rho], [rho, 1]])
    z_in, z_out = (norm.ppf(np.clip(np.cumsum([0, *side.share]), 1e-12, 1 - 1e-12)) for side in (rows, columns))
    below = np.array([[normal.cdf([a, b]) for b in z_out] for a in z_in])
    cells = np.diff(np.diff(below, axis=0), axis=1)
    assert joint_shares(rows, columns, correlation) == pytest.approx(cells, abs=2e-4)


def test_the_rank_correlation_of_many_ranges_is_the_one_asked_for() -> None:
    rows = columns = Histogram(np.arange(201.0), np.ones(200), None)
    for correlation in (-0.7, 0.4, 0.9):
        ranks = (np.arange(200) + 0.5) / 200 - 0.5
        found = ranks @ joint_shares(rows, columns, correlation) @ ranks * 12
        assert found == pytest.approx(correlation, abs=2e-3)


@pytest.mark.parametrize("correlation", [1.0, -1.0, 2.0, float("nan"), float("inf")])
def test_other_correlations_are_refused(correlation: float) -> None:
    with pytest.raises(InvalidInput, match="not between"):
        joint_shares(histogram([1, 1]), histogram([1, 1]), correlation)


@settings(max_examples=60, deadline=None)
@given(counts, st.floats(0, 1))
def test_means_of_ranges_add_up_to_all_tokens(count: list[int], way: float) -> None:
    plain = histogram(count)
    low, high = plain.edges[:-1], plain.edges[1:]
    token_sum = float(plain.count @ (low + way * (high - low)))
    means = histogram(count, token_sum).mean
    assert (means >= 1).all()
    assert ((means >= low) & (means <= high)).all()
    if (low + way * (high - low) >= 1).all():
        assert plain.count @ means == pytest.approx(token_sum)


def test_without_a_sum_of_tokens_a_range_stands_at_its_upper_end() -> None:
    assert (histogram([1, 2]).mean == [10, 20]).all()
