"""Nights in a row: forecast, schedule, and what the next day really brings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from planner.program import Floats
from planner.replan.schedule.make import make_schedule
from planner.replan.schedule.types import HourlyDemand, Instances, Schedule, Terms
from planner.serving.spec import ServingSpec
from planner.types import SolveOptions
from profiles.types import Facts

Forecaster = Callable[[Floats, dt.datetime, int], Floats]
"""([T] rates of the hours until a moment, the moment, hours ahead) → [hours ahead] the rates to plan for."""


@dataclass(frozen=True)
class ReplayedDay:
    """One day: what was planned, and what came."""

    schedule: Schedule
    planned: Floats  # [24] requests/s
    actual: Floats  # [24]
    carried: Floats  # [24] what the fleets carry within the SLO at the planned utilisation

    @property
    def short(self) -> Floats:
        """[24] requests/s beyond what the fleets carry."""
        return np.maximum(self.actual - self.carried, 0.0)


@dataclass(frozen=True)
class Replayed:
    """What many days came to."""

    days: tuple[ReplayedDay, ...]

    @property
    def usd(self) -> float:
        """Rent and starts of all days."""
        return sum(day.schedule.usd or 0.0 for day in self.days)

    @property
    def short_hours(self) -> float:
        """Share of hours with more demand than was planned to be carried."""
        return float(np.mean([day.short > 1e-6 * day.actual for day in self.days]))

    @property
    def short_requests(self) -> float:
        """Share of requests beyond what was planned to be carried."""
        return float(sum(day.short.sum() for day in self.days) / sum(day.actual.sum() for day in self.days))

    @property
    def served(self) -> Floats:
        """[hours] the part of the demand that was carried."""
        return np.concatenate([np.minimum(day.actual, day.carried) for day in self.days])


def replay(
    spec: ServingSpec, facts: Facts, rates: Floats, start: dt.datetime, first_day: int, terms: Terms,
    options: SolveOptions, forecast: Forecaster, running: tuple[Instances, ...] = (),
) -> Replayed:  # fmt: skip
    """Plan every day of ``rates`` [24 · days] from ``first_day`` on at the midnight before, knowing only what was.

    One service; what a day ends with runs when the next begins. Raises what ``make_schedule`` raises, and ValueError
    where a day cannot be planned.
    """
    name = spec.services[0].name
    days = []
    for day in range(first_day, rates.size // 24):
        midnight = start + dt.timedelta(days=day)
        planned = forecast(rates[: 24 * day], midnight, 24)
        demand = HourlyDemand(start=midnight, services={name: tuple(planned.tolist())})
        schedule = make_schedule(spec, facts, demand, terms, options, running)
        if not schedule.hours:
            raise ValueError(f"{midnight.date()} cannot be planned: {schedule.outcome}")
        carried = np.array([schedule.carries(h)[name] for h in range(24)])
        days.append(ReplayedDay(schedule, planned, rates[24 * day : 24 * day + 24], carried))
        running = schedule.hours[-1].rentals
    return Replayed(tuple(days))
