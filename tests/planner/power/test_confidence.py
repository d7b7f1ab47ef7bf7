"""Confidence statements against what fresh draws do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from planner.power.confidence import Weeks, clopper_pearson, confidence, exceeds, failure, sum_exceeds

HORIZON = 6


def weeks_of(peak: NDArray[np.float64], beyond: NDArray[np.float64] | None = None) -> Weeks:
    """Weeks that brake once where the peak is above 1; without slowdowns unless given."""
    never = np.full((*peak.shape, 1), -1.0)
    return Weeks(peak, (peak > 1).astype(float), never if beyond is None else beyond)


def failed_in(weeks: Weeks) -> NDArray[np.bool_]:
    spans = len(weeks.peak) // HORIZON
    brakes = weeks.num_brakes[: spans * HORIZON].reshape(spans, HORIZON).sum(axis=1)
    return np.asarray(brakes > 0)


def test_gumbel_tail_is_found_from_its_draws() -> None:
    maxima = stats.gumbel_r.rvs(0.9, 0.02, size=200_000, random_state=1)
    for level in (0.92, 0.95, 1.0):
        assert exceeds(maxima, level) == pytest.approx(stats.gumbel_r.sf(level, 0.9, 0.02), rel=0.05)


@pytest.mark.parametrize("draw", ["gumbel", "highest of many normals", "bounded", "weeks of two kinds"])
def test_what_is_promised_at_99_percent_fails_in_at_most_about_one_percent(draw: str) -> None:
    """The limit is put where the fit to 96 weeks promises 99%; the truth is known by a million fresh weeks."""
    rng = np.random.Generator(np.random.PCG64(7))

    def peaks(size: tuple[int, ...]) -> NDArray[np.float64]:
        if draw == "gumbel":
            return rng.gumbel(0.9, 0.01, size)
        if draw == "bounded":
            return np.asarray(0.9 - 0.05 * rng.exponential(size=size) ** 0.3)
        if draw == "weeks of two kinds":
            return rng.gumbel(0.9, 0.01, size) + 0.02 * (rng.random(size) < 0.15)
        return np.asarray(0.8 + 0.02 * stats.norm.ppf(rng.random(size) ** (1 / 5000)))

    truth = np.sort(peaks((1_000_000,)))
    shares = []
    for _ in range(200):
        seen = peaks((96,))
        levels = np.linspace(truth[500_000], truth[-1] + 0.1, 2001)
        chance = (1 - exceeds(np.repeat(seen[:, None], levels.size, axis=1), levels)) ** HORIZON
        level = levels[np.searchsorted(chance, 0.99)]
        shares.append(1 - (np.searchsorted(truth, level) / truth.size) ** HORIZON)
    assert np.mean(shares) < 0.015
    if draw == "gumbel":
        assert np.mean(shares) > 0.005  # nor is it much more careful than promised


@pytest.mark.parametrize("shape", [-0.1, -0.3])
def test_heavier_tails_are_seen_where_weeks_show_them(shape: float) -> None:
    maxima = stats.genextreme.rvs(shape, size=200_000, random_state=1)
    level = stats.genextreme.isf(0.002, shape)
    assert exceeds(maxima, level) == pytest.approx(0.002, rel=0.1)


def test_the_lower_end_is_below_the_truth_in_all_but_a_few_cases() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    truth = float(stats.gumbel_r.cdf(1.0, 0.9, 0.013) ** HORIZON)
    low = []
    for _ in range(120):
        weeks = weeks_of(rng.gumbel(0.9, 0.013, 96))
        low.append(confidence(weeks, failed_in(weeks), HORIZON, 0, seed=0).low)
    assert np.mean(np.array(low) < truth) > 0.93
    assert np.median(low) > truth - 0.05  # and worth something


def test_slowdown_over_a_horizon_fails_as_often_as_fresh_horizons_do() -> None:
    rng = np.random.Generator(np.random.PCG64(5))

    def beyond(size: tuple[int, ...]) -> NDArray[np.float64]:
        return np.asarray(rng.gamma(2.0, 1.0, size) - 3.2)

    predicted = float(sum_exceeds(beyond((5000,)), HORIZON))
    happened = float((beyond((100_000, HORIZON)).sum(axis=1) > 0).mean())
    assert happened <= predicted < 3 * happened


def test_brakes_that_are_allowed_are_counted() -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    brakes = rng.negative_binomial(1.0, 0.7, 20_000).astype(float)
    weeks = Weeks(np.where(brakes > 0, 1.1, 0.8), brakes, np.full((brakes.size, 1), -1.0))
    happened = float((brakes[: 20_000 // HORIZON * HORIZON].reshape(-1, HORIZON).sum(axis=1) > 4).mean())
    assert float(failure(weeks, HORIZON, 4)) == pytest.approx(happened, rel=0.15)


def test_counting_bounds_what_the_tail_may_claim() -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    weeks = weeks_of(rng.gumbel(0.8, 0.001, 60))
    found = confidence(weeks, np.ones(10, dtype=bool), HORIZON, 0, seed=0)
    assert found.low > 0.99
    assert found.proven == found.counted[1] < 0.5


@given(num=st.integers(1, 400), data=st.data())
@settings(max_examples=30, deadline=None)
def test_clopper_pearson_covers_its_own_estimate(num: int, data: st.DataObject) -> None:
    failed = data.draw(st.integers(0, num))
    low, high = clopper_pearson(failed, num)
    assert 0 <= low <= 1 - failed / num <= high <= 1
    if low > 0:
        assert stats.binom.sf(num - failed - 1, num, low) == pytest.approx(0.025, rel=1e-6)
    if high < 1:
        assert stats.binom.cdf(num - failed, num, high) == pytest.approx(0.025, rel=1e-6)


def test_nothing_counted_says_nothing() -> None:
    assert clopper_pearson(0, 0) == (0.0, 1.0)


def test_weeks_that_never_differ_are_certain() -> None:
    assert float(failure(weeks_of(np.full(5, 0.9)), HORIZON, 0)) == 0.0
    assert float(failure(weeks_of(np.full(5, 1.1)), HORIZON, 0)) == 1.0


@given(st.floats(0.5, 1.5), st.floats(0.001, 0.2))
@settings(max_examples=30, deadline=None)
def test_higher_levels_and_shorter_horizons_fail_less(level: float, scale: float) -> None:
    maxima = np.random.Generator(np.random.PCG64(1)).gumbel(0.9, scale, 40)
    assert exceeds(maxima, level) >= exceeds(maxima, level + 0.01)
    weeks = weeks_of(maxima)
    assert failure(weeks, 2, 0) <= failure(weeks, 3, 0)
    assert failure(weeks, 6, 1) <= failure(weeks, 6, 0) + 1e-12


def test_the_same_seed_tells_the_same() -> None:
    weeks = weeks_of(np.random.Generator(np.random.PCG64(1)).gumbel(0.9, 0.02, 30))
    assert confidence(weeks, failed_in(weeks), HORIZON, 0, 4) == confidence(weeks, failed_in(weeks), HORIZON, 0, 4)
