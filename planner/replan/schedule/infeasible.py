"""Why no schedule exists: which hours cannot be carried, which limits are in the way, and what would do."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from planner.replan.schedule.model import Hours, one_hour_of
from planner.replan.schedule.optimise import optimise_hours
from planner.replan.schedule.types import HourlyDemand
from planner.types import Conflict, Relaxation, SolveOptions

_QUICK_S = 10.0
"""For each question of what would do; explaining must not take much longer than finding out."""


@dataclass(frozen=True)
class _Limit:
    """A limit, how to set it, and how far it may be moved; ``most`` is the value at which it limits nothing."""

    path: str
    value: float
    most: float
    at: Callable[[Hours, float], Hours]


def conflicting_hours(hours: Hours, demand: HourlyDemand, options: SolveOptions) -> tuple[Conflict, ...]:
    """One conflict: the hours that cannot be carried alone (or all, where only their order is in the way), and for each
    limit the value that alone would do.
    """
    until = time.perf_counter() + options.time_limit_s
    quick = options.model_copy(update={"time_limit_s": min(options.time_limit_s, _QUICK_S), "gap": 1.0})

    def feasible(asked: Hours) -> bool:
        return optimise_hours(asked, quick).solution.outcome != "infeasible"

    alone = replace(
        hours, rent=replace(hours.rent, least_reserved=0.0 * hours.rent.least_reserved),
        terms=hours.terms.model_copy(update={"lead_s": None}),
    )  # fmt: skip
    highest = np.argsort(-hours.fraction.max(axis=0), kind="stable")
    short: list[int] = []
    for h in highest:  # what carries an hour carries all with less demand of every service
        if time.perf_counter() > until:
            break
        if feasible(alone.only(np.array([h]))):
            if hours.fraction.shape[0] == 1:
                break
        else:
            short.append(int(h))
    asked = alone.only(np.sort(np.array(short))) if short else hours
    relaxations, constraints = [], []
    for limit in _limits(hours):
        if time.perf_counter() > until or not feasible(limit.at(asked, limit.most)):
            continue
        needed = _least(limit, asked, feasible, until)
        constraints.append(limit.path)
        relaxations.append(Relaxation(
            limit=limit.path, current=limit.value, needed=needed, detail="enough by itself for the hours named",
        ))  # fmt: skip
    if not constraints:
        constraints = [limit.path for limit in _limits(hours)] or ["demand"]
    when = _named(sorted(short), demand) if short else "no hour by itself, but all of them in a row"
    detail = f"demand is not carried within {', '.join(constraints)}: {when}"
    return (Conflict(constraints=tuple(constraints), detail=detail, relaxations=tuple(relaxations)),)


def _named(short: list[int], demand: HourlyDemand) -> str:
    """The first hours by their start, and how many there are."""
    listing = ", ".join(demand.hour(h).isoformat(timespec="minutes") for h in short[:8])
    more = f" and {len(short) - 8} more" if len(short) > 8 else ""
    return f"{len(short)} of {demand.num_hours} hours are short: {listing}{more}"


def _least(limit: _Limit, hours: Hours, feasible: Callable[[Hours], bool], until: float) -> float:
    """The least value of a limit that does, to 1%, by bisection; whole where the limit counts."""
    low, high = limit.value, limit.most
    whole = float(limit.value).is_integer() and limit.path.startswith(("limits.availability", "services"))
    while time.perf_counter() < until and high - low > (1.0 if whole else 0.01 * max(high, 1e-9)):
        middle = np.floor((low + high) / 2) if whole else (low + high) / 2
        if feasible(limit.at(hours, float(middle))):
            high = float(middle)
        else:
            low = float(middle)
    return high


def _limits(hours: Hours) -> list[_Limit]:
    problem, peak = hours.problem, _ample(hours)
    limits = [
        _Limit(cap.path, cap.limit, max(cap.limit, peak * float(cap.weight.max(initial=1.0))), partial(_with_cap, k))
        for k, cap in enumerate(problem.caps)
    ]
    if problem.budget_usd_per_hour is not None:
        most = max(problem.budget_usd_per_hour, peak * float(problem.offers.usd_per_hour.max(initial=0.0)))
        limits.append(_Limit("limits.budget_usd_per_hour", problem.budget_usd_per_hour, most, _with_budget))
    if problem.power_w is not None:
        busy = max((float(service.active_w.max(initial=0.0)) for service in problem.services), default=0.0)
        most = max(problem.power_w, peak * (float(problem.offers.idle_w.max(initial=0.0)) + 8 * busy))
        limits.append(_Limit("limits.power_w", problem.power_w, most, _with_power))
    for s, service in enumerate(problem.services):
        if service.max_spot_fraction < 1 and service.spot.any():
            limits.append(
                _Limit(f"services[{s}].max_spot_fraction", service.max_spot_fraction, 1.0, partial(_with_spot, s))
            )
    if hours.terms.lead_s is not None and hours.terms.lead_s < hours.terms.start_up_s:
        limits.append(_Limit("terms.lead_s", hours.terms.lead_s, hours.terms.start_up_s, _with_lead))
    return limits


def _ample(hours: Hours) -> float:
    """More instances than any schedule needs: one for each replica that would keep busy on the weakest pool."""
    replicas = 1.0
    for service in hours.problem.services:
        load = np.where(service.hosted[:, None] & np.isfinite(service.load), service.load, 0.0)
        replicas += float(np.ceil(load.sum(axis=1)).max(initial=0.0)) + service.min_replicas + service.spare_replicas
    return 2 * replicas * float(max((s.gpus.max(initial=1) for s in hours.problem.services), default=1))


def _with_cap(k: int, hours: Hours, value: float) -> Hours:
    caps = list(hours.problem.caps)
    caps[k] = replace(caps[k], limit=value)
    return replace(hours, problem=replace(hours.problem, caps=tuple(caps)))


def _with_budget(hours: Hours, value: float) -> Hours:
    return replace(hours, problem=replace(hours.problem, budget_usd_per_hour=value))


def _with_power(hours: Hours, value: float) -> Hours:
    return replace(hours, problem=replace(hours.problem, power_w=value))


def _with_spot(s: int, hours: Hours, value: float) -> Hours:
    services = list(hours.problem.services)
    services[s] = replace(services[s], max_spot_fraction=value)
    problem = replace(hours.problem, services=tuple(services))
    return replace(hours, problem=problem, one_hour=one_hour_of(problem))


def _with_lead(hours: Hours, value: float) -> Hours:
    return replace(hours, terms=hours.terms.model_copy(update={"lead_s": value}))
