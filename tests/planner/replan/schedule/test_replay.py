"""28 nights on demand of a real shape: what re-planning costs between perfect foresight and a static plan."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from planner.program import Floats
from planner.replan.forecast import forecast
from planner.replan.history import History
from planner.replan.schedule.bounds import perfect_foresight, static_peak
from planner.replan.schedule.generated import Shape, generated
from planner.replan.schedule.replay import Replayed, replay
from planner.replan.schedule.types import Terms
from planner.types import SolveOptions
from tests.planner.replan.schedule.asked import FACTS, START, demand_of, spec_of

FIRST_DAY, NUM_DAYS, QUANTILE = 28, 56, 0.95
SPEC = spec_of((0.8, 2.1), (1.86, 6.2))
TERMS = Terms(start_up_s=600, usd_per_start=0.1, min_up_hours=2)
OPTIONS = SolveOptions(time_limit_s=5, gap=0.01)
RATES = generated(Shape(spike_day=FIRST_DAY + 17, holiday=FIRST_DAY + 9), NUM_DAYS, seed=1)


def quantile(past: Floats, midnight: dt.datetime, hours: int) -> Floats:
    return np.array(forecast(History(START, past), midnight, hours, (QUANTILE,)).quantiles[QUANTILE])


@pytest.fixture(scope="module")
def replayed() -> Replayed:
    return replay(SPEC, FACTS, RATES, START, FIRST_DAY, TERMS, OPTIONS, quantile)


def test_every_day_is_planned(replayed: Replayed) -> None:
    assert len(replayed.days) == 28
    for day, after in zip(replayed.days, replayed.days[1:], strict=False):
        assert after.schedule.running == day.schedule.hours[-1].rentals


def test_it_costs_less_than_a_static_plan_for_the_peak(replayed: Replayed) -> None:
    actual = RATES[24 * FIRST_DAY :]
    peak = static_peak(SPEC, FACTS, demand_of(*actual[:672].tolist()), Terms(), OPTIONS)
    assert replayed.usd < 0.8 * (peak.usd or 0.0) * 672


def test_it_never_beats_perfect_foresight(replayed: Replayed) -> None:
    """Of what it carried: hours that were short were carried in part."""
    bound = 0.0
    for week in range(4):  # four bounds of a week each are a bound of all: a week may begin with anything running
        served = replayed.served[168 * week : 168 * (week + 1)]
        free = TERMS.model_copy(update={"usd_per_start": 0.0, "start_up_s": 0.0, "min_up_hours": 1})
        known = perfect_foresight(SPEC, FACTS, demand_of(*served.tolist()), free, OPTIONS)
        assert known.bound is not None
        bound += known.bound
    assert bound <= replayed.usd <= 1.5 * bound


def test_no_more_hours_are_short_than_the_quantile_allows(replayed: Replayed) -> None:
    """Whole instances carry more than is planned for, so fewer hours than 5% are short, spike and all."""
    assert 0 < replayed.short_hours <= 1 - QUANTILE
    assert replayed.short_requests < 0.01
