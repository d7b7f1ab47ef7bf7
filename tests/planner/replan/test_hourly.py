"""Nights by the hour: the schedule is adopted, remembered by the local clock, and kept while it is right."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from sqlalchemy import Engine

from planner.replan import store
from planner.replan.fleets import usd_of
from planner.replan.report import Report
from planner.replan.request import ReplanOptions
from planner.replan.run import replan
from tests.planner.replan.demands import START
from tests.planner.replan.services import service

PRICES = {("given", "given", "chat/small", "on_demand"): 1.0, ("given", "given", "chat/large", "on_demand"): 2.5}


def night(engine: Engine, day: dt.date) -> Report:
    return replan(engine, day, ReplanOptions())[0]


def office_hours(num_days: int, zone: dt.tzinfo) -> np.ndarray:
    """Six times the demand from 8 to 18 by the local clock, every day."""
    moments = [START + dt.timedelta(hours=i) for i in range(num_days * 24)]
    return np.array([2.4 if 8 <= moment.astimezone(zone).hour < 18 else 0.4 for moment in moments])


@pytest.mark.parametrize(("day", "num_hours"), [(dt.date(2026, 2, 3), 24), (dt.date(2026, 3, 29), 23)])
def test_a_day_that_repeats_is_planned_once(engine: Engine, day: dt.date, num_hours: int) -> None:
    wanted = service(rates=office_hours(85, ZoneInfo("Europe/Berlin")), mode="hourly", time_zone="Europe/Berlin")
    store.save(engine, wanted)
    first = night(engine, day)
    assert first.decision == "first_plan", first
    assert len(first.hours) == num_hours
    assert first.usd_plan == pytest.approx(
        usd_of([hour.fleet for hour in first.hours], (), PRICES, wanted.terms.schedule), abs=1e-4
    )
    assert first.usd_static_peak is not None
    assert first.usd_plan < 0.7 * first.usd_static_peak
    for i in (1, 2):
        later = night(engine, day + i * dt.timedelta(days=1))
        assert later.decision == "keep", later.reason
        assert len(later.hours) == 24
        by_clock = {hour.start.astimezone(wanted.zone()).hour: hour.fleet for hour in later.hours}
        for hour in first.hours:
            assert by_clock[hour.start.astimezone(wanted.zone()).hour] == hour.fleet
