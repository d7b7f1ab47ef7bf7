"""Forecasts promise what they keep, and say what they rest on."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.errors import InvalidInput
from planner.replan.forecast import Forecast, forecast
from planner.replan.history import History
from tests.planner.replan.demands import START, real_shaped

DAY = dt.timedelta(days=1)


def ahead(rates: np.ndarray, num_days: int, hours: int = 24, quantiles: tuple[float, ...] = (0.5, 0.95)) -> Forecast:
    """The forecast after so many days of ``rates``."""
    return forecast(History(START, rates[: num_days * 24]), START + num_days * DAY, hours, quantiles)


def pinball(truth: np.ndarray, said: np.ndarray, p: float) -> float:
    above = truth - said
    return float(np.where(above > 0, p * above, (p - 1) * above).mean())


def test_quantiles_cover_what_they_say_and_beat_last_week() -> None:
    covered: dict[float, list[float]] = {0.5: [], 0.9: [], 0.95: []}
    ours, naive = [], []
    for seed in range(8):
        rates = real_shaped(63, seed)
        for num_days in (42 + seed % 7, 56):
            made = ahead(rates, num_days, 168, tuple(covered))
            truth = rates[num_days * 24 :][:168]
            for p, shares in covered.items():
                shares.append(float((truth <= np.array(made.quantiles[p])).mean()))
            last_week = rates[(num_days - 7) * 24 : num_days * 24]
            earlier = np.log(rates[168 : num_days * 24] / rates[: (num_days - 7) * 24])
            ours.append(pinball(truth, np.array(made.quantiles[0.95]), 0.95))
            naive.append(pinball(truth, last_week * np.exp(np.quantile(earlier, 0.95)), 0.95))
    for p, shares in covered.items():
        assert np.mean(shares) == pytest.approx(p, abs=0.09 if p == 0.5 else 0.05), p
    assert np.mean(ours) < 0.9 * np.mean(naive)


def test_the_same_again_and_in_order() -> None:
    rates = real_shaped(30, 1)
    one, again = ahead(rates, 28, 48, (0.1, 0.5, 0.9)), ahead(rates, 28, 48, (0.1, 0.5, 0.9))
    assert one == again
    assert one.method == "weekly season"
    low, middle, high = (np.array(one.quantiles[p]) for p in (0.1, 0.5, 0.9))
    assert (low <= middle).all()
    assert (middle <= high).all()
    assert one.requests_per_s == one.quantiles[0.5]


def test_nothing_of_the_day_itself_is_used() -> None:
    rates = real_shaped(30, 2)
    other = rates.copy()
    other[28 * 24 :] *= 50
    day = START + 28 * DAY
    assert forecast(History(START, rates), day, 24, (0.9,)) == forecast(History(START, other), day, 24, (0.9,))


@given(st.floats(1e-3, 1e3))
@settings(max_examples=3, deadline=None)
def test_units_do_not_matter(factor: float) -> None:
    rates = real_shaped(25, 3)
    once, scaled = ahead(rates, 23), ahead(rates * factor, 23)
    assert np.array(scaled.quantiles[0.95]) == pytest.approx(np.array(once.quantiles[0.95]) * factor, rel=1e-6)


def test_gaps_outages_and_a_spike_do_not_shape_it() -> None:
    rates = real_shaped(36, 4)
    usual = np.array(ahead(rates, 35).quantiles[0.5])
    broken = rates.copy()
    broken[200:230] = np.nan
    broken[400:410] = 0.0
    broken[33 * 24 + 12] *= 30
    made = ahead(broken, 35)
    assert np.array(made.quantiles[0.5]) == pytest.approx(usual, rel=0.15)
    notes = " ".join(made.notes)
    for words in ("40 hours are not known", "10 hours without a request", "far from their season"):
        assert words in notes


def test_too_little_history_is_said() -> None:
    rates = real_shaped(30, 5)
    week = ahead(rates, 10)
    assert week.method == "daily season"
    assert any("weekends" in note for note in week.notes)
    hours = ahead(rates, 2)
    assert hours.method == "mean"
    assert hours.num_origins == 0
    assert max(hours.quantiles[0.95]) >= rates[:48].max()
    assert any("48 hours are known" in note for note in hours.notes)
    assert ahead(rates, 1).method == "mean"


def test_zeros_and_constants() -> None:
    nothing = ahead(np.zeros(30 * 24), 28)
    assert max(nothing.quantiles[0.95]) < 1e-6
    same = ahead(np.full(30 * 24, 5.0), 28)
    assert np.array(same.quantiles[0.95]) == pytest.approx(5.0, rel=0.01)


def test_late_histories_are_forecast_from_where_they_end() -> None:
    rates = real_shaped(40, 6)
    late = forecast(History(START, rates[: 32 * 24]), START + 35 * DAY, 24, (0.95,))
    assert any("3 days" in note for note in late.notes)
    assert np.array(late.requests_per_s) == pytest.approx(rates[35 * 24 : 36 * 24], rel=0.6)
    with pytest.raises(InvalidInput, match="20 days before"):
        forecast(History(START, rates[: 15 * 24]), START + 35 * DAY, 24, (0.95,))
    with pytest.raises(InvalidInput, match="no hour of demand"):
        forecast(History(START, rates), START, 24, (0.95,))


@pytest.mark.parametrize(("day", "num_hours"), [(dt.date(2026, 3, 29), 23), (dt.date(2026, 10, 25), 25)])
def test_seasons_follow_clocks_that_change(day: dt.date, num_hours: int) -> None:
    """A demand that follows the clock of Berlin is forecast for its hours, on the day when it changes and after."""
    zone = ZoneInfo("Europe/Berlin")
    start = dt.datetime.combine(day, dt.time(), zone).astimezone(dt.UTC)
    end = dt.datetime.combine(day + DAY, dt.time(), zone).astimezone(dt.UTC)
    assert (end - start) == num_hours * dt.timedelta(hours=1)

    def demand(moment: dt.datetime) -> float:
        return 10.0 if 9 <= moment.astimezone(zone).hour < 17 else 1.0

    begin = start - 40 * DAY
    hours = int((start - begin) / dt.timedelta(hours=1))
    history = History(begin, np.array([demand(begin + dt.timedelta(hours=i)) for i in range(hours)]))
    made = forecast(history, start, num_hours + 24, (0.9,), zone)
    truth = [demand(start + dt.timedelta(hours=i)) for i in range(num_hours + 24)]
    assert np.array(made.requests_per_s) == pytest.approx(truth, rel=0.05)
