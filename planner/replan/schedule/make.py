"""From a serving spec and demand by hour to a schedule, checked."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from planner.errors import FailedCheck, InvalidInput
from planner.replan.schedule.check import check
from planner.replan.schedule.demand import at_rates, hourly_rates
from planner.replan.schedule.infeasible import conflicting_hours
from planner.replan.schedule.model import Hours, one_hour_of
from planner.replan.schedule.narrow import narrowed
from planner.replan.schedule.optimise import optimise_hours
from planner.replan.schedule.rent import rent_of, with_reserved
from planner.replan.schedule.types import HourlyDemand, Rented, Schedule, Terms, instances_of
from planner.replan.schedule.write import write_schedule
from planner.serving.infeasible import unservable
from planner.serving.pools import pose
from planner.serving.spec import ServingSpec
from planner.solver import SOLVER
from planner.types import SolveOptions
from profiles.types import Facts


def make_schedule(
    spec: ServingSpec, facts: Facts, demand: HourlyDemand, terms: Terms, options: SolveOptions,
    running: Sequence[Rented] = (),
) -> Schedule:  # fmt: skip
    """The cheapest schedule that carries ``demand`` in every hour, from what runs before the first.

    Raises
    ------
    InvalidInput, UnknownName, MissingProfile
        As ``planner.serving.pools.pose`` says, and for specs that have no meaning over time. Infeasible and unfinished
        requests are schedules that say so.
    FailedCheck
        The check rejects the schedule: a defect.
    """
    started = time.perf_counter()
    _check_timed(spec)
    before = instances_of(running)
    rates = hourly_rates(spec, demand)
    peak = rates.max(axis=1)
    question = pose(at_rates(with_reserved(spec, facts, terms, before), peak), facts)
    empty = Schedule(
        outcome="infeasible", solver=SOLVER, profile_digest=facts.digest, spec=spec, demand=demand, terms=terms,
        running=before,
    )  # fmt: skip
    conflicts = unservable(question)
    if not conflicts:
        rent = rent_of(spec, question.offers, terms, before)
        problem = narrowed(question.problem, rent)
        fraction = np.divide(rates, peak[:, None], out=np.zeros_like(rates), where=peak[:, None] > 0)
        hours = Hours(problem, fraction, rent, terms, np.zeros(demand.num_hours), one_hour_of(problem))
        optimum = optimise_hours(hours, options)
        if optimum.fleets is not None:
            made = write_schedule(empty, question, hours, rates, optimum, options)
            found = check(made, facts)
            if not found.passed:
                listing = "".join(f"\n  {v.constraint}: {v.detail}" for v in found.violations[:20])
                raise FailedCheck(f"the schedule breaks its own constraints; this is a defect in gpuplan:{listing}")
            # The check of a schedule checks each of its plans, and says so in them: they are shown on their own too.
            plans = tuple(plan.model_copy(update={"check": found}) for plan in made.plans)
            taken = {"check": found, "plans": plans, "solve_seconds": time.perf_counter() - started}
            return made.model_copy(update=taken)
        conflicts = conflicting_hours(hours, demand, options) if optimum.solution.outcome == "infeasible" else ()
        empty = empty.model_copy(update={"outcome": optimum.solution.outcome, "bound": optimum.solution.bound})
    made = empty.model_copy(update={"conflicts": conflicts, "notes": tuple(c.detail for c in conflicts)})
    return made.model_copy(update={"check": check(made, facts), "solve_seconds": time.perf_counter() - started})


def _check_timed(spec: ServingSpec) -> None:
    if spec.objective != "cost":
        raise InvalidInput(
            f"is {spec.objective!r}; a schedule weighs prices against starts, both in money",
            field="objective", fix="write objective: cost",
        )  # fmt: skip
    if spec.limits.max_gpu_types is not None:
        raise InvalidInput(
            "is not planned for by the hour", field="limits.max_gpu_types",
            fix="leave it out, and name the GPUs to choose from in offers.gpus",
        )  # fmt: skip
