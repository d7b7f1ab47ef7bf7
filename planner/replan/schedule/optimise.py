"""Fleets for every hour with a proven bound.

Fleets of single hours are put together first (``mixes``), and improved among the replicas and offers that they use.
What is found begins the program of all hours (``model``), which alone proves a bound, for as long as there is time. It
knows what each hour costs alone, which lifts its relaxation.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from planner.program import Floats
from planner.replan.schedule.carry import TOLERANCE, Cuts, carried, violated
from planner.replan.schedule.mixes import Duals, Mix, choose, mix_of, spread
from planner.replan.schedule.model import Fleets, Hours, TimedFormulation, formulate_hours, one_hour_of
from planner.replan.schedule.types import Terms
from planner.solver import Solution, relative_gap, solve
from planner.types import Outcome, SolveOptions

_SMALL = 400
"""Columns up to which the whole program is solved at once."""
_SHARE = 0.4
"""Of the time that is left, at most, for putting fleets together, and then for improving them; the rest proves."""
_ROUGHLY = 0.01
"""Relative shortfall that is forgiven in the relaxation, which only has to be near."""


@dataclass(frozen=True)
class TimedOptimum:
    """A solution and what it means; ``fleets`` is None unless feasible ones were found."""

    solution: Solution
    fleets: Fleets | None


def optimise_hours(hours: Hours, options: SolveOptions, cuts: Cuts | None = None) -> TimedOptimum:
    """The cheapest fleets, with a proven bound. Inequalities that are found are added to ``cuts``."""
    started = time.perf_counter()
    until = started + options.time_limit_s
    cuts = [[] for _ in hours.problem.services] if cuts is None else cuts
    if hours.num_hours == 1 or hours.num_hours * hours.one_hour.program.cost.size <= _SMALL:
        best = _settled(hours, cuts, options, until)
    else:
        best = _optimise_many(hours, cuts, options, until)
    return replace(best, solution=replace(best.solution, seconds=time.perf_counter() - started))


def _optimise_many(hours: Hours, cuts: Cuts, options: SolveOptions, until: float) -> TimedOptimum:
    cheapest = partial(_cheapest, hours, cuts, options, until)
    pool, least = [], np.zeros(hours.num_hours)
    for hour in spread(hours):
        mix, bound = cheapest(int(hour), hours.problem.offers.usd_per_hour)
        if mix is None:
            return _settled(hours, cuts, options, until)
        pool.append(mix)
        above = (hours.fraction >= hours.fraction[:, [hour]]).all(axis=0)
        least[above] = np.maximum(least[above], bound * (1 - 1e-9))
    duals = _relaxation(hours, cuts, options, until)
    soon = time.perf_counter() + _SHARE * (until - time.perf_counter())
    fleets = choose(hours, pool, cheapest, duals, options, soon) or _constant(hours, pool)
    hours = replace(hours, least_usd=least)
    soon = time.perf_counter() + _SHARE * (until - time.perf_counter())
    fleets = _settled(_only_used(hours, pool), cuts, options, soon, fleets).fleets or fleets
    best = _settled(hours, cuts, options, until, fleets)
    # Hours cost no less together than each of them alone, which is known even where time was short.
    bound = max(best.solution.bound or 0.0, float(least.sum()))
    return best if best.solution.outcome == "infeasible" else _within(best, bound, options)


def _only_used(hours: Hours, pool: list[Mix]) -> Hours:
    """The hours with nothing to choose from but what some fleet uses. Inequalities found for them hold for all."""
    services = hours.problem.services
    used = tuple(np.any([mix.replicas[s] > 0 for mix in pool], axis=0) for s in range(len(services)))
    return replace(hours, one_hour=one_hour_of(hours.problem.with_hosts(used)))


def _constant(hours: Hours, pool: list[Mix]) -> Fleets | None:
    """One fleet for all hours, where one carries the peak of every service and there is time to start it."""
    peak = hours.fraction.max(axis=1)
    able = [mix for mix in pool if (mix.carries * (1 + TOLERANCE) >= peak).all()]
    if not able or hours.terms.lead_s is not None:
        return None
    mix = min(able, key=lambda mix: float(mix.instances @ hours.problem.offers.usd_per_hour))
    instances = np.maximum(mix.instances, hours.rent.least_reserved).astype(np.int64)
    return Fleets(
        tuple(np.repeat(counts[None], hours.num_hours, axis=0) for counts in mix.replicas),
        np.repeat(instances[None], hours.num_hours, axis=0),
    )


def _relaxation(hours: Hours, cuts: Cuts, options: SolveOptions, until: float) -> Duals:
    """Prices of instances in the relaxation of all hours; those of hours alone where there is no time for it."""
    while True:
        formulation = formulate_hours(hours, cuts)
        program = replace(formulation.program, integer=np.zeros(formulation.program.cost.size, bool))
        solution = solve(program, _remaining(options, until))
        if solution.values is None or solution.row_duals is None:
            usd = hours.problem.offers.usd_per_hour
            return Duals(np.repeat(usd[:, None], hours.num_hours, axis=1), 0.0)
        if time.perf_counter() > until or not _add_broken(hours, formulation, solution.values, cuts, _ROUGHLY):
            break
    duals = solution.row_duals
    reduced = program.cost.copy()
    np.subtract.at(reduced, program.column, program.value * duals[program.row])
    prices = np.maximum(duals[formulation.within], 0.0)
    linked = formulation.within.min()
    limits = np.where(duals > 0, program.row_lower, program.row_upper)[:linked]
    binding = np.isfinite(limits) & (duals[:linked] != 0)
    rest = float(limits[binding] @ duals[:linked][binding])
    columns = np.arange(formulation.fleet.min())
    at_upper = columns[(reduced[columns] < 0) & np.isfinite(program.upper[columns])]
    rest += float(reduced[at_upper] @ program.upper[at_upper])
    return Duals(prices, rest)


def _cheapest(
    hours: Hours, cuts: Cuts, options: SolveOptions, until: float, hour: int, prices: Floats
) -> tuple[Mix | None, float]:
    """The cheapest fleet of an hour at ``prices`` [O], were it alone, and a proven bound of what it costs."""
    terms = Terms(start_up_s=0.0)
    plain = replace(hours.rent, reserved=np.zeros_like(hours.rent.reserved), running=0.0 * hours.rent.running)
    problem = replace(hours.problem, offers=replace(hours.problem.offers, usd_per_hour=prices))
    alone = replace(hours.only(np.array([hour])), terms=terms, rent=plain, problem=problem)
    accurate = _remaining(options, until).model_copy(update={"gap": options.gap / 10})
    best = _settled(alone, cuts, accurate, until)
    return None if best.fleets is None else mix_of(hours, best.fleets), best.solution.bound or 0.0


def _within(best: TimedOptimum, bound: float | None, options: SolveOptions) -> TimedOptimum:
    if best.solution.objective is None:
        return best
    gap = relative_gap(best.solution.objective, bound)
    outcome: Outcome = "optimal" if gap is not None and gap <= options.gap + 1e-9 else "feasible"
    return replace(best, solution=replace(best.solution, bound=bound, outcome=outcome))


def _settled(
    hours: Hours, cuts: Cuts, options: SolveOptions, until: float, known: Fleets | None = None
) -> TimedOptimum:
    """Solve, add what the answer breaks, and solve again until it breaks nothing; ``known`` fleets are the least."""
    bound: float | None = None
    while True:
        formulation = formulate_hours(hours, cuts)
        start = None if known is None else formulation.values(hours, known)
        solution = solve(formulation.program, _remaining(options, until), start=start)
        if solution.bound is not None:
            bound = solution.bound if bound is None else max(bound, solution.bound)
        if solution.values is not None and not _add_broken(hours, formulation, solution.values, cuts):
            fleets = formulation.fleets(solution.values)
            return _within(TimedOptimum(solution, fleets), bound, options)
        if solution.values is None or time.perf_counter() > until:
            break
    if known is None or start is None:
        outcome = solution.outcome if solution.values is None else "no_solution"
        return TimedOptimum(Solution(outcome, None, bound, None, None, 0.0), None)
    usd = float(formulation.program.cost @ start)
    return _within(TimedOptimum(Solution("feasible", usd, bound, start, None, 0.0), known), bound, options)


def _add_broken(
    hours: Hours, formulation: TimedFormulation, values: Floats, cuts: Cuts, tolerance: float = TOLERANCE
) -> bool:
    """Whether an inequality was added that ``values`` break."""
    found = False
    for s, usable in enumerate(formulation.usable(values)):
        service = hours.problem.services[s]
        points = np.concatenate([usable, hours.fraction[s][:, None]], axis=1)
        for point in _distinct(points[hours.fraction[s] > 0]):
            replicas, fraction = point[:-1], point[-1:]
            if violated(cuts[s], replicas[None], fraction).size:
                continue  # one just found for another hour holds here too
            # A little of every pool settles prices of pools that stand idle at their lowest, which cuts deepest.
            worth = carried(service, replicas + 1e-4).worth
            if replicas @ worth >= fraction[0] * (1 - tolerance):
                exact = carried(service, replicas)
                if exact.most >= fraction[0] * (1 - tolerance):
                    continue
                worth = exact.worth
            cuts[s].append(worth)
            found = True
    return found


def _distinct(points: Floats) -> Floats:
    """[., P + 1] the points without repetition, those with most demand first."""
    unique = np.unique(np.round(points, 9), axis=0)
    return np.asarray(unique[np.argsort(-unique[:, -1], kind="stable")])


def _remaining(options: SolveOptions, until: float) -> SolveOptions:
    return options.model_copy(update={"time_limit_s": max(until - time.perf_counter(), 0.05)})
