"""How load moves through a week: by default as interactive services do, from given hours, or from a recording."""

from __future__ import annotations

import numpy as np

from planner.power.demand import Calendar
from planner.power.workload import Week
from profiles.performance.answers import Floats

HOURS = 168
"""Of a week, from Monday 00:00 UTC."""

WORKING_DAY = np.array([
    0.45, 0.40, 0.36, 0.35, 0.36, 0.40, 0.48, 0.60, 0.76, 0.90, 0.96, 0.98,
    0.95, 0.97, 1.00, 1.00, 0.97, 0.92, 0.86, 0.80, 0.74, 0.67, 0.59, 0.52,
])  # fmt: skip
WEEKEND = 0.75
"""Load of each hour of a day as a share of the busiest, and of a weekend day as a share of a working day: an assumption
about interactive services: low at night, high in working hours, lower at weekends, as weeks of Azure's conversation
and code traffic are (DynamoLLM, HPCA 2025). The numbers are ours."""

DEFAULT_WEEK = np.concatenate([np.tile(WORKING_DAY, 5), np.tile(WEEKEND * WORKING_DAY, 2)])


def calendar_of(week: Week) -> Calendar:
    """The calendar that a spec asks for: its hours, or ``DEFAULT_WEEK``."""
    if week.hours is None:
        return _calendar(DEFAULT_WEEK, week, "a day and week as of interactive services: an assumption")
    hours = np.array(week.hours, dtype=np.float64)
    return _calendar(np.tile(hours, HOURS // len(hours)), week, "hours as given")


def recorded_calendar(load: Floats, first_hour: int, week: Week) -> Calendar:
    """The calendar of a recording of at least a day. ``load`` (hours,) from hour ``first_hour`` of the week on.

    Hours of the week that were not recorded are taken from the same hour of recorded days.
    """
    hour = (first_hour + np.arange(len(load))) % HOURS
    by_day = np.bincount(hour % 24, weights=load, minlength=24) / np.bincount(hour % 24, minlength=24)
    count = np.bincount(hour, minlength=HOURS)
    by_week = np.bincount(hour, weights=load, minlength=HOURS) / np.maximum(count, 1)
    shape = np.where(count > 0, by_week, np.tile(by_day, 7))
    missing = int((count == 0).sum())
    filled = f"; {missing} hours of the week were not recorded and are as on other days" if missing else ""
    return _calendar(shape, week, f"as recorded over {len(load)} h{filled}")


def constant_calendar(origin: str) -> Calendar:
    """Every hour alike."""
    return Calendar(np.ones(HOURS), 0.0, 0.0, 0.0, origin)


def _calendar(shape: Floats, week: Week, origin: str) -> Calendar:
    return Calendar(shape / shape.max(), week.daily_spread, week.hourly_spread, week.correlation, origin)
