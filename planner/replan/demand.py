"""The demand of the planned hours: what a service's forecasts say, at the quantile that is planned for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.replan.fleets import total_rate
from planner.replan.forecast import Forecast, forecast
from planner.replan.history import read_history
from planner.replan.report import DemandReport
from planner.replan.schedule.types import HourlyDemand
from planner.replan.service import SavedService

REPORTED_DAYS = 7
"""Reports show the week ahead, however much of it is planned."""


@dataclass(frozen=True)
class Planned:
    """Demand of every service of the spec in the hours of the horizon, and how it came about."""

    demand: HourlyDemand
    reports: tuple[DemandReport, ...]

    def highest(self, hours: Sequence[int] | None = None) -> dict[str, float]:
        """The highest rate of each service in some hours (None: in all); they may be of different hours."""
        at = range(self.demand.num_hours) if hours is None else hours
        return {name: max(rates[i] for i in at) for name, rates in self.demand.services.items()}


def midnight(service: SavedService, date: dt.date) -> dt.datetime:
    """When a day begins for the people who use the service, in UTC."""
    return dt.datetime.combine(date, dt.time(), service.zone()).astimezone(dt.UTC)


def planned_demand(service: SavedService, date: dt.date) -> Planned:
    """Forecast every service from what was known before ``date``.

    Raises ``InvalidInput`` where a history cannot be read, or says too little (``read_history``, ``forecast``).
    """
    start = midnight(service, date)
    num_hours = _hours_between(start, midnight(service, date + dt.timedelta(days=service.terms.horizon_days)))
    shown = _hours_between(start, midnight(service, date + dt.timedelta(days=REPORTED_DAYS)))
    quantile = service.terms.quantile
    sources = {source.service: source for source in service.demand}
    rates: dict[str, tuple[float, ...]] = {}
    reports = []
    for served in service.spec.services:
        if served.name not in sources:
            rate = total_rate(served)
            rates[served.name] = (rate,) * num_hours
            reports.append(_constant(served.name, rate, shown))
            continue
        history = read_history(sources[served.name], start)
        made = forecast(history, start, shown, (quantile,), service.zone())
        rates[served.name] = made.quantiles[quantile][:num_hours]
        reports.append(_forecast(served.name, made, quantile, num_hours))
    return Planned(HourlyDemand(start=start, services=rates), tuple(reports))


def _hours_between(start: dt.datetime, end: dt.datetime) -> int:
    return round((end - start) / dt.timedelta(hours=1))


def _constant(name: str, rate: float, num_hours: int) -> DemandReport:
    return DemandReport(
        service=name, method="as the spec says", num_origins=0, mean_requests_per_s=rate,
        busiest_requests_per_s=rate, planned_requests_per_s=rate, week_ahead_requests_per_s=(rate,) * num_hours,
        week_ahead_planned_requests_per_s=(rate,) * num_hours,
    )  # fmt: skip


def _forecast(name: str, made: Forecast, quantile: float, num_hours: int) -> DemandReport:
    median, planned = np.array(made.requests_per_s), np.array(made.quantiles[quantile])
    return DemandReport(
        service=name, method=made.method, num_origins=made.num_origins,
        mean_requests_per_s=float(median[:num_hours].mean()),
        busiest_requests_per_s=float(median[:num_hours].max()),
        planned_requests_per_s=float(planned[:num_hours].max()),
        week_ahead_requests_per_s=tuple(median.tolist()),
        week_ahead_planned_requests_per_s=tuple(planned.tolist()),
        notes=made.notes,
    )  # fmt: skip
