"""Demand of the coming hours, with quantiles that past forecasts have earned.

The logarithm of the hourly rates, on the clock of the people who use the service, is a weekly season plus a level by
day plus noise. The season is STL's (Cleveland et al., 1990, with locally constant seasons), the level simple
exponential smoothing, both of statsmodels. Quantiles come from what the same method got wrong when asked for the same
hours of earlier days (rolling origin): the errors of up to ``MOST_ORIGINS`` nights, of hours near the one
forecast, at the finite-sample level of split conformal prediction (Vovk et al., 2005).
"""

from __future__ import annotations

import datetime as dt
import math
import warnings
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from planner.errors import InvalidInput
from planner.replan.history import History

DAY, WEEK = 24, 168
Method = Literal["weekly season", "daily season", "mean"]

LEAST_WEEKLY_DAYS = 21
"""Three weeks tell a season of the week from chance; from one to three, only a season of the day is learned."""
LEAST_DAILY_DAYS = 4
MOST_FIT_DAYS = 56
"""A season older than eight weeks says more about another time of the year."""
MOST_ORIGINS = 28
LEAST_ORIGINS = 5
NEAR_HOURS = 2
"""Errors of this many hours before and after an hour count as its own: five times the sample."""
ASSUMED_LOG_ERROR = 0.5
"""Standard deviation of the logarithm where no forecast could be tried yet: half as much again, or a third less."""
SEASON_WINDOW = 35
"""Of STL, in weeks (or days): so many past seasons count, the latest most."""
SPIKE_SIGMAS = 5.0
"""Further from its season than this, in robust standard deviations, an hour is no example of its season."""
LEAST_SMOOTHING = 0.01
"""Of the level: a level that never moved is a mean of all days."""
MOST_LATE_DAYS = 14
OFFSET_FRACTION = 0.01
"""Of the mean rate, added before the logarithm, so that hours without requests have one."""


@dataclass(frozen=True)
class Forecast:
    """Demand by hour: ``requests_per_s`` is the median, ``quantiles[p]`` what the rate stays below with chance p."""

    start: dt.datetime
    requests_per_s: tuple[float, ...]
    quantiles: dict[float, tuple[float, ...]]
    method: Method
    num_origins: int
    notes: tuple[str, ...]


def forecast(
    history: History, start: dt.datetime, num_hours: int, quantiles: tuple[float, ...], zone: ZoneInfo | None = None
) -> Forecast:
    """Forecast ``num_hours`` from ``start`` on, a local midnight, from what was known before it.

    Raises
    ------
    InvalidInput
        Nothing was known before ``start``, or nothing of the last ``MOST_LATE_DAYS``.
    """
    zone = zone or ZoneInfo("UTC")
    rates, first_day = _by_local_hours(history.before(start), zone)
    known = np.flatnonzero(np.isfinite(rates))
    if len(known) == 0:
        raise InvalidInput("no hour of demand is known before the day to plan", field="demand",
                           fix="add files of earlier days")  # fmt: skip
    wanted = [_local_index(start + dt.timedelta(hours=i), first_day, zone) for i in range(num_hours)]
    now = wanted[0]
    late_days = max(0, math.ceil((now - int(known[-1]) - 1 - DAY // 4) / DAY))  # up to six hours are a gap as any
    if late_days > MOST_LATE_DAYS:
        raise InvalidInput(f"demand is known until {late_days} days before the day to plan", field="demand",
                           fix="add files of later days, or plan for an earlier date")  # fmt: skip
    notes = list(history.notes)
    if late_days:
        notes.append(f"the last {late_days} days are not known yet: forecast from before them")
    end = now - late_days * DAY
    if not np.isfinite(rates[:end]).any():  # no whole day yet
        return _around_mean(rates, start, num_hours, quantiles, notes)
    rates = np.concatenate([rates, np.full(max(0, end - len(rates)), np.nan)])[
        max(0, end - 3 * MOST_FIT_DAYS * DAY) : end
    ]
    rates = rates[len(rates) % DAY :] if len(rates) >= DAY else rates
    days_ahead = late_days + max(-(-(index - now + 1) // DAY) for index in wanted)
    offset = OFFSET_FRACTION * max(float(np.nanmean(rates)), 1e-9)
    method = _method(rates)
    if method == "mean":
        return _around_mean(rates, start, num_hours, quantiles, notes)
    outages = _outages(rates, _period(method))
    if outages.any():
        notes.append(f"{int(outages.sum())} hours without a request, where there usually are many, count as unknown")
    logs = np.where(outages, np.nan, np.log(rates + offset))
    clean = _cleaned(logs, method, notes)
    smoothing = _smoothing(clean, method)
    middle = _ahead(clean, days_ahead, method, smoothing)
    errors = _past_errors(clean, logs, days_ahead, method, smoothing)
    at = np.array([index - now + late_days * DAY for index in wanted])
    ahead = {p: middle[at] + _error_quantile(errors, at, p) for p in {0.5, *quantiles}}
    if len(errors) < LEAST_ORIGINS:
        notes.append(f"only {len(errors)} earlier nights to learn errors from: wide quantiles are assumed")
    if method == "daily season":
        notes.append("less than three weeks of history: weekends are forecast as any other day")
    by_quantile = {p: tuple(np.maximum(np.exp(values) - offset, 0.0).tolist()) for p, values in ahead.items()}
    return Forecast(start, by_quantile[0.5], {p: by_quantile[p] for p in quantiles}, method, len(errors), tuple(notes))


def _method(rates: np.ndarray) -> Method:
    first = int(np.flatnonzero(np.isfinite(rates))[0]) if np.isfinite(rates).any() else len(rates)
    num_days = (len(rates) - first) / DAY
    enough = np.isfinite(rates).sum() >= 0.5 * (len(rates) - first)
    if num_days >= LEAST_WEEKLY_DAYS and enough:
        return "weekly season"
    return "daily season" if num_days >= LEAST_DAILY_DAYS and enough else "mean"


def _around_mean(
    rates: np.ndarray, start: dt.datetime, num_hours: int, quantiles: tuple[float, ...], notes: list[str]
) -> Forecast:
    """The mean of what is known, with assumed quantiles that reach at least to what was seen."""
    from scipy.stats import norm

    known = rates[np.isfinite(rates)]
    mean, highest = float(known.mean()), float(known.max())
    notes.append(f"only {len(known)} hours are known: their mean is repeated, with wide quantiles that are assumed")

    def at(p: float) -> float:
        value = mean * math.exp(ASSUMED_LOG_ERROR * float(norm.ppf(p)))
        return max(value, highest) if p >= 0.9 else value

    flat = {p: (at(p),) * num_hours for p in quantiles}
    return Forecast(start, (mean,) * num_hours, flat, "mean", 0, tuple(notes))


def _by_local_hours(history: History, zone: ZoneInfo) -> tuple[np.ndarray, dt.date]:
    """The rates on the local clock, 24 hours to a day, from the first day's midnight on.

    The hour that a clock skips in spring stays unknown; the one that it repeats in autumn is the mean of both.
    """
    if len(history.requests_per_s) == 0:
        return np.array([]), dt.date(1970, 1, 1)
    first_day = history.start.astimezone(zone).date()
    at = np.array(
        [
            _local_index(history.start + dt.timedelta(hours=i), first_day, zone)
            for i in range(len(history.requests_per_s))
        ]
    )
    known = np.isfinite(history.requests_per_s)
    sums = np.bincount(at[known], weights=history.requests_per_s[known], minlength=int(at[-1]) + 1)
    counts = np.bincount(at[known], minlength=int(at[-1]) + 1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan), first_day


def _local_index(moment: dt.datetime, first_day: dt.date, zone: ZoneInfo) -> int:
    local = moment.astimezone(zone)
    return (local.date() - first_day).days * DAY + local.hour


def _period(method: Method) -> int:
    return WEEK if method == "weekly season" else DAY


def _cleaned(logs: np.ndarray, method: Method, notes: list[str]) -> np.ndarray:
    """The series without gaps and spikes: each such hour as its season and its neighbours would have it."""
    known = np.isfinite(logs)
    gaps = int((~known[int(np.argmax(known)) :]).sum())
    if gaps:
        notes.append(f"{gaps} hours are not known: filled from the same hours of other days")
    filled = _filled(logs, _period(method))
    season, level = _parts(filled, method)
    rest = filled - season - level
    sigma = 1.4826 * float(np.median(np.abs(rest - np.median(rest)))) + 1e-6  # of a normal distribution, robustly
    spikes = np.abs(rest) > SPIKE_SIGMAS * sigma
    if spikes.any():
        notes.append(f"{int((spikes & known).sum())} hours far from their season do not shape the forecast")
    return np.where(spikes, season + level, filled)


def _outages(rates: np.ndarray, period: int) -> np.ndarray:
    """Hours at zero where the same hour usually has a fair share of the mean rate. Zeros of days on end are meant."""
    usual = _usual(rates, period)
    odd = (rates == 0) & (usual > 0.1 * float(np.nanmean(rates)))
    runs = np.flatnonzero(np.diff(np.concatenate([[0], odd.astype(int), [0]])))
    for first, end in zip(runs[::2], runs[1::2], strict=True):
        if end - first > 3 * DAY:
            odd[first:end] = False
    return np.asarray(odd)


def _usual(series: np.ndarray, period: int) -> np.ndarray:
    """The median of the same hour of all days or weeks; where that is unknown, of everything."""
    padded = np.concatenate([series, np.full(-len(series) % period, np.nan)]).reshape(-1, period)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an hour that nobody knows in any week
        medians = np.nanmedian(padded, axis=0)
    medians = np.where(np.isfinite(medians), medians, np.nanmedian(series))
    return np.asarray(np.resize(medians, len(series)))


def _filled(series: np.ndarray, period: int) -> np.ndarray:
    """Unknown hours: what is usual for the hour, as much higher or lower as the known hours around are."""
    known = np.isfinite(series)
    if known.all():
        return series
    usual = _usual(series, period)
    hours = np.arange(len(series))
    around = np.interp(hours, hours[known], (series - usual)[known])
    return np.asarray(np.where(known, series, usual + around))


def _parts(series: np.ndarray, method: Method) -> tuple[np.ndarray, np.ndarray]:
    """Season and level of each hour; the level is the mean of its day."""
    from statsmodels.tsa.seasonal import STL

    period = _period(method)
    fitted = STL(series, period=period, seasonal=SEASON_WINDOW, seasonal_deg=0, trend_jump=DAY, low_pass_jump=DAY).fit()
    season = np.asarray(fitted.seasonal)
    days = (series - season).reshape(-1, DAY).mean(axis=1)
    return season, np.repeat(days, DAY)


def _ahead(series: np.ndarray, days: int, method: Method, smoothing: float) -> np.ndarray:
    """Logarithms of ``days`` days after the series: its season, at a level where later days count more."""
    season, level = _parts(series[-MOST_FIT_DAYS * DAY :], method)
    by_day = level[::DAY]
    weights = smoothing * (1 - smoothing) ** np.arange(len(by_day))[::-1]
    last = float(weights @ by_day / weights.sum())
    return np.asarray(np.resize(season[-_period(method) :], days * DAY) + last)


def _smoothing(series: np.ndarray, method: Method) -> float:
    """How fast the level of days moves: the smoothing that would have forecast each day best from those before."""
    from statsmodels.tsa.holtwinters import SimpleExpSmoothing

    level = _parts(series[-MOST_FIT_DAYS * DAY :], method)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a level that never moves has no best smoothing
        fitted = SimpleExpSmoothing(level[::DAY], initialization_method="estimated").fit()
    found = float(fitted.params["smoothing_level"])
    return min(max(found, LEAST_SMOOTHING), 1.0) if math.isfinite(found) else LEAST_SMOOTHING


def _past_errors(clean: np.ndarray, logs: np.ndarray, days: int, method: Method, smoothing: float) -> np.ndarray:
    """What forecasts of earlier nights got wrong, origins × hours ahead; nan where the truth is not known (yet)."""
    num_days = len(clean) // DAY
    first_known = int(np.argmax(np.isfinite(logs))) // DAY
    least = first_known + (2 * WEEK // DAY if method == "weekly season" else 2)
    origins = range(max(least, num_days - MOST_ORIGINS), num_days)
    errors = np.full((len(origins), days * DAY), np.nan)
    for row, origin in enumerate(origins):
        expected = _ahead(clean[max(0, origin - MOST_FIT_DAYS) * DAY : origin * DAY], days, method, smoothing)
        truth = logs[origin * DAY :][: days * DAY]
        errors[row, : len(truth)] = truth - expected[: len(truth)]
    return errors


def _error_quantile(errors: np.ndarray, at: np.ndarray, p: float) -> np.ndarray:
    """The quantile ``p`` of the errors of each hour ahead and its neighbours."""
    from scipy.stats import norm

    width, all_known = errors.shape[1], errors[np.isfinite(errors)]
    found = np.empty(len(at))
    for i, hour in enumerate(at):
        near = errors[:, max(0, hour - NEAR_HOURS) : min(width, hour + NEAR_HOURS + 1)]
        near = near[np.isfinite(near)]
        if len(near) < LEAST_ORIGINS * (NEAR_HOURS + 1):
            near = all_known
        if len(near) < LEAST_ORIGINS * (NEAR_HOURS + 1):
            found[i] = ASSUMED_LOG_ERROR * float(norm.ppf(p))
            continue
        num_nights = len(near) / (2 * NEAR_HOURS + 1)
        level = 0.5 + (p - 0.5) * (1 + 1 / num_nights)  # the next error is one more than those seen
        found[i] = np.quantile(near, min(max(level, 0.0), 1.0))
    return found
