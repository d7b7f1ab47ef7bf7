"""Which recorded seconds servers play: shares, loads, and draws that do not depend on what else is asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.power.rows.deal import BLOCK_S, WEEK_S, draw, loads, order, servers
from tests.planner.power.fleets import calendar, pool


@given(weights=st.lists(st.integers(1, 20), min_size=1, max_size=5), count=st.integers(1, 200))
def test_every_prefix_keeps_the_shares(weights: list[int], count: int) -> None:
    shares = np.array(weights) / sum(weights)
    dealt = order(shares, count)
    given_ = np.cumsum(dealt[:, None] == np.arange(len(shares)), axis=0)
    wanted = shares * np.arange(1, count + 1)[:, None]
    assert np.abs(given_ - wanted).max() < max(1.0, len(shares) / 2)
    assert order(shares, max(count // 2, 1)).tolist() == dealt[: max(count // 2, 1)].tolist()


def test_servers_of_halves() -> None:
    assert order([0.5, 0.5], 5).tolist() == [0, 1, 0, 1, 0]
    assert servers([0.75, 0.25], [4, 52, 53]).tolist() == [[3, 39, 40], [1, 13, 13]]


def test_loads_follow_the_shape_where_nothing_varies() -> None:
    known = calendar(daily_spread=0.0, hourly_spread=0.0)
    assert loads(known, 1, 2, 0).tolist() == known.shape.tolist()


def test_spread_and_correlation_are_as_asked() -> None:
    known = calendar(shape=np.ones(168), daily_spread=0.3, hourly_spread=0.4, correlation=0.6)
    logs = np.log([[loads(known, 5, week, index) for week in range(300)] for index in (0, 1)])
    assert logs.mean() == pytest.approx(0, abs=0.02)
    assert logs.std() == pytest.approx(0.5, rel=0.03)
    assert np.corrcoef(logs[0].ravel(), logs[1].ravel())[0, 1] == pytest.approx(0.6, abs=0.05)
    days = logs.reshape(2, 300, 7, 24).mean(axis=3)
    assert days.std() == pytest.approx(np.hypot(0.3, 0.4 / np.sqrt(24)), rel=0.05)
    weekly = logs.mean(axis=2)
    assert abs(np.corrcoef(weekly[0, :-1], weekly[0, 1:])[0, 1]) < 0.15, "weeks are independent"


def test_levels_mix_to_the_load_that_is_asked() -> None:
    known, recorded = calendar(daily_spread=0.5), pool(levels=4)
    week = draw(recorded, known, 3, 4, 1)
    hour = np.arange(WEEK_S // BLOCK_S) * BLOCK_S // 3600
    asked = np.clip(loads(known, 3, 4, 1)[hour], recorded.load[0], recorded.load[-1])
    mixed = recorded.load[week.lower] * (1 - week.upper_share) + recorded.load[week.lower + 1] * week.upper_share
    np.testing.assert_allclose(mixed, asked)
    assert week.lower.max() == 2
    assert ((week.offset >= 0) & (week.offset < recorded.states.shape[2])).all()


def test_a_pool_of_one_level_is_played_at_any_load() -> None:
    week = draw(pool(levels=1), calendar(), 3, 4, 1)
    assert (week.lower == 0).all()
    assert (week.upper_share == 0).all()


def test_draws_depend_on_seed_week_and_workload() -> None:
    recorded, known = pool(), calendar()
    weeks = [draw(recorded, known, seed, week, index) for seed, week, index in
             ((1, 2, 0), (1, 2, 0), (2, 2, 0), (1, 3, 0), (1, 2, 1))]  # fmt: skip
    keys = [tuple(week.key[:5].tolist()) for week in weeks]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4
