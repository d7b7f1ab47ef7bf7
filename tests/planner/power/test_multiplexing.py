"""Loads by statistics: against fresh draws, against closed forms, and the properties that the planner relies on."""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InvalidInput, UnknownName
from planner.power.feeds.multiplexing import Crowd, GroupProfile, crowd_of, loads_at_risk, risk, tangent
from planner.program import Floats


def crowd(max_risk: float = 1e-3, *, num_moments: int = 200, seed: int = 0, peak: float = 2.0) -> Crowd:
    """Three groups that rise and fall together in part."""
    rng = np.random.Generator(np.random.PCG64(seed))
    common = rng.normal(0.0, 0.05, num_moments)
    base = (5000.0, 4000.0, 6000.0)
    mean_w = np.array([watts * (1 + common + rng.normal(0.0, 0.03, num_moments)) for watts in base])
    return Crowd(mean_w, np.array([500.0, 900.0, 0.0]) ** 2, mean_w.max(axis=1) * peak, max_risk)


counts_of_groups = st.tuples(*[st.integers(0, 60)] * 3).filter(any).map(lambda x: np.array(x, dtype=np.float64))


def load(who: Crowd, counts: Floats) -> float:
    return float(loads_at_risk(who, counts[None], counts[None])[0])


@given(counts_of_groups, st.sampled_from([1e-5, 1e-3, 0.05, 0.3]))
@settings(max_examples=60, deadline=None)
def test_the_load_at_risk_is_exceeded_with_at_most_the_risk(counts: Floats, max_risk: float) -> None:
    who = crowd(max_risk)
    assert risk(who, counts, counts, load(who, counts)) <= max_risk * (1 + 1e-6)


@given(counts_of_groups)
@settings(max_examples=40, deadline=None)
def test_where_no_moment_alone_exceeds_it_the_risk_is_used_in_full(counts: Floats) -> None:
    who = crowd(1e-3)
    if counts[:2].any() and load(who, counts) < counts @ who.peak_w:
        assert risk(who, counts, counts, load(who, counts)) == pytest.approx(1e-3, rel=1e-5)


def test_one_moment_is_a_normal_quantile() -> None:
    who = Crowd(np.array([[5000.0]]), np.array([400.0**2]), np.array([50_000.0]), 1e-4)
    expected = 20 * 5000 + NormalDist().inv_cdf(1 - 1e-4) * 400 * math.sqrt(20)
    assert load(who, np.array([20.0])) == pytest.approx(expected, rel=1e-9)


def test_servers_in_step_are_as_high_as_their_highest_moment() -> None:
    who = crowd(1e-3)
    assert load(who, np.array([0.0, 0.0, 10.0])) == pytest.approx(10 * who.mean_w[2].max())


def test_never_more_than_the_sum_of_peaks() -> None:
    who = crowd(1e-4, peak=1.02)
    assert load(who, np.array([0.0, 1.0, 0.0])) == pytest.approx(who.peak_w[1])
    assert risk(who, np.array([0.0, 1.0, 0.0]), np.array([0.0, 1.0, 0.0]), who.peak_w[1]) == 0


@pytest.mark.parametrize("max_risk", [1e-3, 1e-2])
def test_fresh_draws_exceed_the_load_as_often_as_allowed(max_risk: float) -> None:
    who = crowd(max_risk, num_moments=500)
    counts = np.array([20.0, 30.0, 10.0])
    rng = np.random.Generator(np.random.PCG64(1))
    num_draws = 400_000
    moments = rng.integers(0, 500, num_draws)
    sigma_w = math.sqrt(counts @ who.variance_w2)
    drawn = (counts @ who.mean_w)[moments] + sigma_w * rng.standard_normal(num_draws)
    exceeded = float(np.mean(drawn > load(who, counts)))
    error = 4 * math.sqrt(max_risk / num_draws)
    assert exceeded <= max_risk + error
    assert exceeded >= 0.5 * max_risk - error, "far fewer than allowed: servers were left out for nothing"


@given(counts_of_groups, counts_of_groups, st.sampled_from([1e-4, 1e-2, 0.2]))
@settings(max_examples=80, deadline=None)
def test_a_tangent_is_below_everywhere_and_touches(at: Floats, elsewhere: Floats, max_risk: float) -> None:
    who = crowd(max_risk, peak=10.0)
    plane = tangent(who, at, at)
    for counts in (at, elsewhere):
        below = plane.watts @ counts + plane.per_sigma * math.sqrt(counts @ who.variance_w2)
        assert below <= load(who, counts) * (1 + 1e-7)
    touching = plane.watts @ at + plane.per_sigma * math.sqrt(at @ who.variance_w2)
    assert touching == pytest.approx(load(who, at), rel=1e-7)


@given(counts_of_groups, st.integers(0, 2))
@settings(max_examples=40, deadline=None)
def test_another_server_and_a_smaller_risk_never_lower_the_load(counts: Floats, group: int) -> None:
    more = counts.copy()
    more[group] += 1
    assert load(crowd(1e-3), more) > load(crowd(1e-3), counts)
    assert load(crowd(1e-4), counts) >= load(crowd(1e-3), counts) * (1 - 1e-9)


def profile(name: str = "chat", **changes: object) -> GroupProfile:
    fields = {"mean_w": np.array([4000.0, 5000.0]), "spread_w": 300.0, "peak_w": 6500.0}
    return GroupProfile(name, **(fields | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (profile("code", mean_w=np.zeros(0)), "no moments"),
        (profile("code", mean_w=np.array([4000.0])), "1 moments where chat has 2"),
        (profile("code", mean_w=np.array([4000.0, np.nan])), "not numbers"),
        (profile("code", mean_w=np.array([4000.0, 0.0])), "zero or negative"),
        (profile("code", spread_w=-1.0), "negative"),
        (profile("code", peak_w=4500.0), "above its peak of 4,500 W"),
    ],
)
def test_profiles_that_cannot_be_are_refused(wrong: GroupProfile, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        crowd_of(["chat", "code"], [profile(), wrong], 1e-3)


def test_a_group_without_a_profile_is_refused() -> None:
    with pytest.raises(UnknownName, match="unknown workload 'cod'") as raised:
        crowd_of(["chat", "cod"], [profile(), profile("code")], 1e-3)
    assert raised.value.field == "site.groups[1].workload"
