"""Results of simulated weeks against the promise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from planner.power.judge import bar_of, braking, chances, judged, strain
from planner.power.plan import Judged
from planner.power.policy import no_capping, polca
from planner.power.rows.row import Results
from planner.power.rows.slowdown import SLOWDOWN_BINS
from tests.planner.power.rows import spec

BAR = bar_of(spec())  # 3 weeks, 95%, no brakes; low 5% and 50%, high 2% and 10%
POLICIES = (no_capping(), polca("low", "high"))
COUNTS = (10, 12)
WEEKS = 30
SHAPE = (WEEKS, len(POLICIES), len(COUNTS))


def bin_of(slowdown: float) -> int:
    return int(np.searchsorted(SLOWDOWN_BINS, slowdown))


def quiet() -> Results:
    """Weeks without brakes, far below the budget, nothing slowed."""
    rng = np.random.Generator(np.random.PCG64(1))
    histogram = np.zeros((*SHAPE, 2, SLOWDOWN_BINS.size))
    histogram[..., 0] = 1000.0
    return Results(
        num_brakes=np.zeros(SHAPE, dtype=np.int64),
        peak=rng.normal(0.8, 0.005, SHAPE),
        mean=np.full(SHAPE, 0.6),
        seconds_over=np.zeros(SHAPE, dtype=np.int64),
        capped_seconds=np.zeros((*SHAPE, 2), dtype=np.int64),
        slowdown_histogram=histogram,
        natural_peak=np.full((WEEKS, len(COUNTS)), 0.8),
        seconds=1000,
    )


def test_quiet_weeks_keep_the_promise() -> None:
    found = judged(quiet(), POLICIES, COUNTS[1], (1, 1), BAR, 0)
    assert found.holds
    assert (found.num_servers, found.policy) == (12, "two thresholds")
    assert (found.num_horizons, found.failed_horizons, found.weeks) == (10, 0, 30)
    assert found.oversubscription_ratio == pytest.approx(1.2)
    assert found.why_not == ()


def test_a_week_with_a_brake_fails_its_horizon_and_says_so() -> None:
    results = quiet()
    results.num_brakes[4, 0, 0] = 2
    results.peak[4, 0, 0] = 1.05
    found = judged(results, POLICIES, COUNTS[0], (0, 0), BAR, 0)
    assert not found.holds
    assert (found.num_brakes, found.failed_horizons) == (2, 1)
    assert any(reason.startswith("brakes: 2 in 30 weeks") for reason in found.why_not)
    assert judged(results, POLICIES, COUNTS[1], (0, 1), BAR, 0).holds  # the others are as they were
    allowed = replace(BAR, max_brakes=5)
    assert float(chances(results, POLICIES, allowed)[0, 0]) < float(chances(results, POLICIES, BAR)[0, 0])


@pytest.mark.parametrize(("slowed", "by", "holds"), [(0.02, 0.2, False), (0.005, 0.2, True), (0.02, 0.09, True)])
def test_the_99th_percentile_bears_one_in_a_hundred(slowed: float, by: float, holds: bool) -> None:
    """Of the high class 10% are allowed: 2% of requests may not be slower, half a percent may."""
    results = quiet()
    results.slowdown_histogram[..., 1, 0] = 1000 * (1 - slowed)
    results.slowdown_histogram[..., 1, bin_of(by)] = 1000 * slowed
    found = judged(results, POLICIES, COUNTS[0], (0, 0), BAR, 0)
    assert found.holds is holds
    assert (float(chances(results, POLICIES, BAR)[0, 0]) <= BAR.allowed) is holds
    assert (found.slowdown["high"].p99 > 0.1) is not holds
    assert found.slowdown["low"].p99 == 0
    if not holds:
        assert any(reason.startswith("high: 99th percentile") for reason in found.why_not)
        assert float(braking(results, POLICIES, BAR)[0, 0]) < 1e-6


def test_the_median_is_judged_too() -> None:
    results = quiet()
    results.slowdown_histogram[..., 0, :] = 0
    results.slowdown_histogram[..., 0, bin_of(0.06)] = 1000
    found = judged(results, POLICIES, COUNTS[0], (0, 0), BAR, 0)
    assert not found.holds
    assert any(reason.startswith("low: median") for reason in found.why_not)
    assert strain(results, BAR)[0, 0] == pytest.approx(found.slowdown["low"].p50 / 0.05)
    assert strain(results, BAR)[0, 0] > 1


def test_requests_that_never_end_are_told_as_a_number() -> None:
    results = quiet()
    results.slowdown_histogram[..., 0, :] = 0
    results.slowdown_histogram[..., 0, -1] = 1000
    found = judged(results, POLICIES, COUNTS[0], (0, 0), BAR, 0)
    assert not found.holds
    assert found.slowdown["low"].p50 == 100
    assert Judged.model_validate_json(found.model_dump_json()) == found


def test_slowdowns_and_capped_time_are_those_of_the_worst_horizon() -> None:
    results = quiet()
    results.capped_seconds[3:6, 0, 0, 0] = 500
    results.slowdown_histogram[3:6, 0, 0, 0, bin_of(0.3)] = 100
    found = judged(results, POLICIES, COUNTS[0], (0, 0), BAR, 0)
    assert found.capped_time_fraction == {"low": 0.5, "high": 0.0}
    assert found.slowdown["low"].p99 >= 0.3


def test_weeks_that_make_no_whole_horizon_are_left_out_of_the_count() -> None:
    found = judged(quiet(), POLICIES, COUNTS[0], (0, 0), replace(BAR, horizon=7), 0)
    assert (found.num_horizons, found.weeks) == (4, 28)


def test_a_promise_that_few_weeks_cannot_prove_is_not_made() -> None:
    results = quiet()
    results.peak[:] = np.random.Generator(np.random.PCG64(2)).normal(0.97, 0.012, SHAPE)
    found = judged(results, POLICIES, COUNTS[0], (0, 0), BAR, 0)
    assert found.num_brakes == 0
    assert not found.holds


def test_peaks_count_against_the_policys_own_brake() -> None:
    later = polca("low", "high").model_copy(update={"brake_at": 1.2})
    results = quiet()
    results.peak[:] += 0.2
    assert (
        float(chances(results, (no_capping(), later), BAR)[1, 0])
        < 0.01
        < float(chances(results, (no_capping(), later), BAR)[0, 0])
    )
