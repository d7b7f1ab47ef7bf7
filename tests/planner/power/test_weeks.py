"""Weeks of load: the default, given hours, and what a recording tells."""

from __future__ import annotations

import numpy as np
import pytest

from planner.power.traces.weeks import DEFAULT_WEEK, calendar_of, recorded_calendar
from planner.power.workload import Week


def test_calendars() -> None:
    assert DEFAULT_WEEK.shape == (168,)
    assert calendar_of(Week()).shape.max() == 1
    day = tuple(float(h) for h in range(1, 25))
    given_hours = calendar_of(Week(hours=day, correlation=0.2))
    assert given_hours.shape.reshape(7, 24) == pytest.approx(np.tile(np.arange(1, 25) / 24, (7, 1)))
    assert (given_hours.correlation, given_hours.daily_spread) == (0.2, 0.05)
    assert "assumption" in calendar_of(Week()).origin


def test_hours_that_were_not_recorded_are_as_on_other_days() -> None:
    load = np.concatenate([np.arange(1.0, 25.0), np.arange(3.0, 27.0), [8.0]])  # two days and an hour, from 06:00 on
    found = recorded_calendar(load, 6, Week()).shape.reshape(7, 24)
    assert found[0, 7:] == pytest.approx(load[1:18] / 26)
    assert found[1, :6] == pytest.approx(load[18:24] / 26)
    assert found[4, 7:] == pytest.approx((load[1:18] + load[25:42]) / 2 / 26)
    assert "119 hours of the week were not recorded" in recorded_calendar(load, 6, Week()).origin
