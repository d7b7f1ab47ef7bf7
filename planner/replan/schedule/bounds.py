"""What a schedule is measured against: one plan for the highest hour, and knowing all of the future."""

from __future__ import annotations

from planner.replan.schedule.make import make_schedule
from planner.replan.schedule.types import HourlyDemand, Schedule, Terms
from planner.serving.spec import ServingSpec
from planner.types import SolveOptions
from profiles.types import Facts


def static_peak(
    spec: ServingSpec, facts: Facts, demand: HourlyDemand, terms: Terms, options: SolveOptions
) -> Schedule:  # fmt: skip
    """One hour that carries the highest demand of every service: what it costs, times the hours, is a static plan.

    Starts are left out: over many hours they are nothing. Raises what ``make_schedule`` raises.
    """
    peak = HourlyDemand(start=demand.start, services={name: (max(rates),) for name, rates in demand.services.items()})
    still = terms.model_copy(update={"start_up_s": 0.0, "usd_per_start": 0.0, "min_up_hours": 1, "lead_s": None})
    return make_schedule(spec, facts, peak, still, options)


def perfect_foresight(
    spec: ServingSpec, facts: Facts, demand: HourlyDemand, terms: Terms, options: SolveOptions
) -> Schedule:  # fmt: skip
    """The schedule of someone who knows ``demand`` beforehand. No one carries it for less than its ``bound``.

    Raises what ``make_schedule`` raises.
    """
    return make_schedule(spec, facts, demand, terms, options)
