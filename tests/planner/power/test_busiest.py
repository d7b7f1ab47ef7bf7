"""The busiest hour, from pools."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from planner.power.busiest import busiest_hour, mean_gpu_w, profiles_of, safe_limit_w
from tests.planner.power.rows import calendar, demands, pool, spec


def test_mean_power_is_that_of_the_levels_and_between_them() -> None:
    one = pool("batch", 1)
    means = [float(one.table.gpu_w[states].mean()) for states in one.states]
    assert mean_gpu_w(one, one.load).tolist() == pytest.approx(means)
    assert float(mean_gpu_w(one, np.array((one.load[0] + one.load[1]) / 2))) == pytest.approx(np.mean(means[:2]))
    assert float(mean_gpu_w(one, np.array(9.0))) == pytest.approx(means[-1])


def test_the_busiest_hour_is_of_all_workloads_together() -> None:
    early, late = np.full(168, 0.4), np.full(168, 0.4)
    early[10], late[20] = 1.2, 1.2
    both = [(pool("a", 1), replace(calendar(), shape=early)), (pool("b", 1), replace(calendar(), shape=late))]
    assert busiest_hour(both, (10, 1)) == 10
    assert busiest_hour(both, (1, 10)) == 20


def test_the_safe_limit_is_what_the_servers_draw_in_it() -> None:
    (one, when), (other, _) = demands()
    expected = 3 * float(mean_gpu_w(one, when.shape[0])) + 4 * float(mean_gpu_w(other, when.shape[0]))
    assert safe_limit_w(demands(), (3, 4)) == pytest.approx(expected)


def test_profiles_are_moments_of_the_pools() -> None:
    flat = [(of, replace(when, daily_spread=0.0, hourly_spread=0.0)) for of, when in demands()]
    batch, chat = profiles_of(spec(), flat, {"server": 1000.0}, (5, 5), seed=1)
    assert (batch.name, chat.name) == ("batch", "chat")
    watts = flat[0][0].table.gpu_w[flat[0][0].states[1]]  # the load is that of a level
    assert set(np.round(batch.mean_w, 6)) <= set(np.round(watts.mean(axis=0) + 1000, 6))
    assert batch.spread_w == pytest.approx(float(np.sqrt(watts.var(axis=0).mean())), rel=0.1)
    assert batch.peak_w == 3100 + 1000


def test_servers_in_step_have_no_spread_of_their_own() -> None:
    together = [(replace(of, in_step=True), when) for of, when in demands()]
    assert all(p.spread_w == 0 for p in profiles_of(spec(), together, {"server": 0.0}, (5, 5), seed=1))


def by_load(states: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The same without bursts: the more servers at prompts, the higher the level."""
    servers = np.arange(states.shape[1])[None, :, None]
    level = np.arange(len(states))[:, None, None]
    return np.broadcast_to(servers * 3 < level * states.shape[1], states.shape).astype(np.uint8)


def test_correlated_workloads_are_busy_at_the_same_moments() -> None:
    def correlation(shared: float) -> float:
        spread = [(of, replace(when, daily_spread=0.5, correlation=shared)) for of, when in demands()]
        made = [(replace(of, states=by_load(of.states)), when) for of, when in spread]
        one, other = profiles_of(spec(), made, {"server": 0.0}, (5, 5), seed=1)
        return float(np.corrcoef(one.mean_w, other.mean_w)[0, 1])

    assert correlation(1.0) > 0.9
    assert abs(correlation(0.0)) < 0.15
