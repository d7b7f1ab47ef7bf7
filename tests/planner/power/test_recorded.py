"""Recorded power as pools: days, bursts and what servers have in common are kept; watts that cannot be are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planner.errors import InvalidInput
from planner.power.demand import Pool
from planner.power.traces.recorded import recorded_pool
from planner.power.workload import Series, Week
from profiles.catalogue import load

A100 = next(gpu for gpu in load().gpus if gpu.name == "A100-80GB")
TDP_W, IDLE_W = 8 * A100.tdp_w, 8 * A100.idle_w


def watts(pool: Pool) -> np.ndarray:
    """(levels, servers, seconds)."""
    return pool.table.gpu_w[pool.states]


def series(values: np.ndarray, **fields: Any) -> Series:
    return Series(gpu_w=np.rint(values).astype(int).tolist(), **fields)


def recorded(values: np.ndarray, week: Week | None = None, **fields: Any) -> tuple[Pool, Any]:
    return recorded_pool("w", series(values, **fields), week or Week(), A100, 8)


def days(num_days: int, interval_s: float = 60.0) -> np.ndarray:
    """(2 servers, intervals) watts with a day of their own: 1,000 W at midnight, 3,000 W at noon."""
    hour = np.arange(num_days * 86_400 / interval_s) * interval_s / 3600
    common = 2000 - 1000 * np.cos(2 * np.pi * hour / 24)
    return np.stack([common, common + 50])


def test_a_recording_tells_its_day() -> None:
    pool, calendar = recorded(days(3), interval_s=60.0, start_hour=5.0)
    shape = calendar.shape.reshape(7, 24)
    assert shape.max() == 1
    assert (shape.argmax(axis=1) % 24 == (12 + 5) % 24).sum() >= 5  # noon of the recording is 17:00 UTC
    assert shape[0] == pytest.approx(shape[6], abs=0.05)
    by_level = watts(pool).mean(axis=(1, 2))
    assert by_level / by_level[-1] == pytest.approx(pool.load / pool.load[-1], rel=0.01)
    assert pool.load[0] < 0.4 < 0.99 < pool.load[-1] <= 1
    assert pool.states.shape[2] % 3600 == 0
    assert any("60 s" in note for note in pool.notes)


def test_servers_stay_side_by_side() -> None:
    values = days(2)
    pool, _ = recorded(values, interval_s=60.0)
    apart = watts(pool)[:, 1] - watts(pool)[:, 0]
    assert apart.mean() == pytest.approx(50, abs=2)
    assert np.abs(apart - 50).max() < 2 * (values.max() - values.min()) / 256 + 1


def test_hours_of_the_spec_go_before_those_recorded() -> None:
    hours = tuple(np.linspace(0.1, 1, 24).tolist())
    _, calendar = recorded(days(2), Week(hours=hours), interval_s=60.0)
    assert calendar.shape[:24] == pytest.approx(hours)


def test_less_than_a_day_stands_for_every_hour() -> None:
    values = np.tile(np.array([[600.0, 3000.0]]), 300)
    pool, calendar = recorded(values)
    assert pool.states.shape == (1, 1, 600)
    assert watts(pool)[0, 0, :4].tolist() == [600, 3000, 600, 3000]
    assert (calendar.shape == 1).all()
    assert calendar.hourly_spread == 0
    assert any("every hour" in note for note in pool.notes)


def test_intervals_of_other_lengths_than_a_second() -> None:
    slow, _ = recorded(np.array([[600.0, 3000.0, 1500.0]]), interval_s=15.0)
    assert watts(slow)[0, 0].tolist() == [600] * 15 + [3000] * 15 + [1500] * 15
    fast, _ = recorded(np.array([[600.0, 3000.0] * 4]), interval_s=0.5)
    assert watts(fast)[0, 0].tolist() == [600] * 4


def test_utilisation_is_power_between_idle_and_tdp() -> None:
    pool, _ = recorded_pool("w", Series(utilisation=[[0, 5000, 10_000]]), Week(), A100, 8)
    assert watts(pool)[0, 0] == pytest.approx([IDLE_W, (IDLE_W + TDP_W) / 2, TDP_W])
    assert pool.table.busy[pool.states][0, 0] == pytest.approx([0, 0.5, 1])
    assert any("assumption" in note for note in pool.notes)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[1000, 3600]], "server 1 draws 3,600 W after 1 s.*3,200 W at most.*other_w"),
        ([[2, 3]], "more than 3 W.*544 W idle.*watts, not kW"),
        ([[200, 400]], "more than 400 W.*of all GPUs"),
    ],
)
def test_watts_that_cannot_be(values: list[list[int]], message: str) -> None:
    with pytest.raises(InvalidInput, match=f"(?s){message}"):
        recorded_pool("w", Series(gpu_w=values), Week(), A100, 8)
