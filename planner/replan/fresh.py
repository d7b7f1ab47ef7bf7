"""What can be planned tonight: a fleet for every hour, or one for all."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from planner.replan.decide import Candidate
from planner.replan.demand import Planned
from planner.replan.fleets import as_fleet, at_rates, fleet_of, place_of, usd_of
from planner.replan.schedule.make import make_schedule
from planner.replan.schedule.rent import with_reserved
from planner.replan.schedule.types import Place, Schedule
from planner.replan.service import Fleet, Running, RunningPlan, SavedService
from planner.service import answer_from
from planner.serving.infeasible import unservable
from planner.serving.offers import Offer, given, rentable
from planner.serving.optimise import optimise
from planner.serving.plan import ServingPlan
from planner.serving.pools import pose
from planner.types import Conflict, SolveOptions
from profiles.names import KnownNames
from profiles.types import Facts


@dataclass(frozen=True)
class Night:
    """What one service is planned from tonight."""

    service: SavedService
    planned: Planned
    facts: Facts
    options: SolveOptions
    running: Running | None

    @property
    def hours(self) -> tuple[dt.datetime, ...]:
        """Beginnings of the planned hours, by the local clock."""
        zone, demand = self.service.zone(), self.planned.demand
        return tuple(demand.hour(i).astimezone(zone) for i in range(demand.num_hours))

    @property
    def going_on(self) -> tuple[Fleet, ...]:
        """What would run in the planned hours if nothing changed."""
        return () if self.running is None else tuple(self.running.at(hour).fleet for hour in self.hours)

    @cached_property
    def offers(self) -> tuple[Offer, ...]:
        """Everything that the spec lets through."""
        spec, terms = self.service.spec, self.service.terms.schedule
        held = [rented for plan in (self.running.plans if self.running else ()) for rented in plan.fleet]
        units = [given(service.name, unit) for service in spec.services for unit in service.units or ()]
        predicted = any(service.units is None for service in spec.services)
        if not predicted:
            return tuple(units)
        spec = with_reserved(spec, self.facts, terms, held)
        return (*rentable(spec, self.facts, KnownNames.of(self.facts)), *units)

    @cached_property
    def prices(self) -> dict[Place, float]:
        """USD an hour of an instance of each."""
        return {place_of(offer): offer.usd_per_hour for offer in self.offers}

    @property
    def before(self) -> Fleet:
        """What runs in the hour before the first."""
        return () if self.running is None else self.running.at(self.hours[0] - dt.timedelta(hours=1)).fleet


@dataclass(frozen=True)
class Fresh:
    """A plan made tonight: a fleet for each hour, and the serving plans that they run."""

    candidate: Candidate
    fleets: tuple[Fleet, ...] = ()
    plans: tuple[ServingPlan, ...] = ()
    plan_of_hour: tuple[int, ...] = ()
    usd_bound: float | None = None
    gap: float | None = None
    conflicts: tuple[Conflict, ...] = ()
    notes: tuple[str, ...] = ()

    def running(self, night: Night, plan_ids: Sequence[str | None]) -> Running:
        """How the store remembers it, ``plan_ids`` naming ``plans``.

        A day of 23 hours runs the skipped one as the hour before; of an hour that comes twice, the second counts.
        """
        since, days = night.hours[0].date(), night.service.terms.horizon_days
        runs = list(zip(self.fleets, self.plan_of_hour, strict=True))
        kinds = list(dict.fromkeys(runs))
        plans = tuple(RunningPlan(fleet=fleet, plan_id=plan_ids[plan]) for fleet, plan in kinds)
        if len(kinds) == 1:
            return Running(since=since, plans=plans)
        by_clock = {
            (hour.date() - since).days * 24 + hour.hour: kinds.index(run)
            for hour, run in zip(night.hours, runs, strict=True)
        }
        hours: list[int] = []
        for i in range(24 * days):
            hours.append(by_clock.get(i, hours[-1] if hours else kinds.index(runs[0])))
        return Running(since=since, plans=plans, hours=tuple(hours))


def fresh(night: Night) -> Fresh:
    """Plan tonight's demand afresh, in the service's mode.

    Raises what ``planner.service.answer_from`` raises.
    """
    terms = night.service.terms
    return _scheduled(night) if terms.mode == "hourly" else _static(night)


def peak_fleet(night: Night) -> Fleet | None:
    """What carries the highest demand of the horizon at least cost: what the hours are measured against."""
    question = pose(at_rates(night.service.spec, night.planned.highest()), night.facts)
    if unservable(question):
        return None
    answer = optimise(question.problem, night.options).answer
    if answer is None:
        return None
    return as_fleet({place_of(offer): int(n) for offer, n in zip(question.offers, answer.instances, strict=True)})


def _static(night: Night) -> Fresh:
    spec = at_rates(night.service.spec, night.planned.highest())
    plan = answer_from("serving", spec, night.facts, night.options)
    if not isinstance(plan, ServingPlan) or plan.usd_per_hour is None:
        return Fresh(Candidate(plan.outcome, None), conflicts=plan.conflicts)
    num_hours = len(night.hours)
    fleets = (fleet_of(plan),) * num_hours
    terms = night.service.terms.schedule
    usd = usd_of(fleets, night.before, night.prices, terms)
    bound = None if plan.bound is None else plan.bound * num_hours
    candidate = Candidate(plan.outcome, usd, fleets != night.going_on)
    return Fresh(candidate, fleets, (plan,), (0,) * num_hours, bound, plan.gap, plan.conflicts)


def _scheduled(night: Night) -> Fresh:
    terms = night.service.terms.schedule
    if night.running is not None:  # what is reserved runs for a year: no single night buys more of it
        terms = terms.model_copy(update={"reserve": False})
    made: Schedule = make_schedule(
        night.service.spec, night.facts, night.planned.demand, terms, night.options, running=night.before
    )
    if made.usd is None:
        return Fresh(Candidate(made.outcome, None), conflicts=made.conflicts, notes=made.notes)
    fleets = tuple(tuple(sorted(hour.rentals, key=place_of)) for hour in made.hours)
    candidate = Candidate(made.outcome, made.usd, fleets != night.going_on)
    return Fresh(
        candidate, fleets, made.plans, tuple(hour.plan for hour in made.hours), made.bound, made.gap, made.conflicts,
        made.notes,
    )  # fmt: skip
