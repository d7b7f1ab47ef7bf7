"""From counts by hour to the schedule that people and systems read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.program import Floats, Ints
from planner.replan.schedule.carry import carried
from planner.replan.schedule.demand import at_rates
from planner.replan.schedule.model import Fleets, Hours
from planner.replan.schedule.optimise import TimedOptimum
from planner.replan.schedule.types import Hour, Instances, Schedule
from planner.serving.balance import balanced
from planner.serving.offers import Offer
from planner.serving.optimise import Optimum
from planner.serving.plan import ServingPlan
from planner.serving.pools import Question
from planner.serving.problem import Answer, Problem
from planner.serving.write import write_plan
from planner.solver import relative_gap
from planner.types import SolveOptions

_ROOM = 1e-6
"""Relative distance from what a fleet carries at most, so that sums of shares do not reach over it."""


def write_schedule(
    empty: Schedule, question: Question, hours: Hours, rates: Floats, optimum: TimedOptimum, options: SolveOptions
) -> Schedule:
    """``empty`` with the optimum's hours. ``rates`` [S, H] are requests/s; ``question`` is posed at the peak."""
    if optimum.fleets is None:
        raise ValueError("write_schedule needs fleets")
    fleets = _all_in_use(hours.problem, optimum.fleets)
    optimum = replace(optimum, fleets=fleets)
    keys = [
        (tuple(fleets.instances[h]), *(tuple(counts[h].ravel()) for counts in fleets.replicas))
        for h in range(hours.num_hours)
    ]
    order = list(dict.fromkeys(keys))
    plans = [
        _plan(question, rates, hours, [h for h, own in enumerate(keys) if own == key], optimum, options)
        for key in order
    ]
    written = tuple(_hour(empty, question, hours, rates, optimum, h, order.index(keys[h])) for h in range(len(keys)))
    usd = float(sum(hour.usd for hour in written))
    base = [o for o in np.flatnonzero(hours.rent.reserved) if fleets.instances[0, o]]
    bound = None if optimum.solution.bound is None else min(optimum.solution.bound, usd)
    return empty.model_copy(update={
        "outcome": optimum.solution.outcome, "objective": usd, "usd": usd, "bound": bound,
        "gap": relative_gap(usd, bound), "hours": written, "plans": tuple(plans),
        "reserved": tuple(_instances(question.offers[o], int(fleets.instances[0, o])) for o in base),
    })  # fmt: skip


def _all_in_use(problem: Problem, fleets: Fleets) -> Fleets:
    """The fleets with replicas on instances that are paid for and would stand idle, such as reserved ones at night:
    those of the pool that carries most per GPU.
    """
    replicas = tuple(counts.copy() for counts in fleets.replicas)
    used = sum(np.einsum("hpo,p->ho", counts, s.gpus) for counts, s in zip(replicas, problem.services, strict=True))
    for o, size in enumerate(problem.offers.gpus):
        idle = fleets.instances[:, o] - -(-used[:, o] // size)
        best = _most_per_gpu(problem, o, int(size))
        if best is not None and idle.any():
            s, p = best
            gpus = problem.services[s].gpus[p]
            replicas[s][:, p, o] += np.maximum(idle, 0) * size // gpus
    return replace(fleets, replicas=replicas)


def _most_per_gpu(problem: Problem, offer: int, size: int) -> tuple[int, int] | None:
    """(service, pool) with the least load per GPU among the pools that fit into one instance of the offer."""
    able = [
        (float(service.gpus[p] * service.load[p].sum()), s, int(p))
        for s, service in enumerate(problem.services)
        for p in np.flatnonzero(service.hosts[:, offer] & (size % service.gpus == 0))
        if service.rate.any()
    ]
    return min(able)[1:] if able else None


def _plan(
    question: Question, rates: Floats, hours: Hours, when: list[int], optimum: TimedOptimum, options: SolveOptions
) -> ServingPlan:
    """The plan of one fleet at the most traffic that it carries: never less than in the hours that it runs in."""
    fleets = optimum.fleets
    if fleets is None:
        raise ValueError("a plan needs fleets")
    replicas = tuple(counts[when[0]] for counts in fleets.replicas)
    services, shares, most = [], [], []
    for s, (service, counts) in enumerate(zip(hours.problem.services, replicas, strict=True)):
        total = counts.sum(axis=1)
        usable = np.where(total > 0, total - service.spare_replicas, 0).astype(float)
        able = carried(service, usable) if service.rate.any() else None
        fraction = 0.0 if able is None else max(able.most * (1 - _ROOM), float(hours.fraction[s, when].max()))
        services.append(replace(service, rate=service.rate * fraction))
        shares.append(np.zeros(service.capacity.shape) if able is None else able.share)
        most.append(float(rates[s].max()) * fraction)
    spec = at_rates(question.spec, np.array(most))
    posed = replace(
        question, spec=spec, buckets=tuple(service.workload.all_buckets() for service in spec.services),
        problem=replace(question.problem, services=tuple(services)),
    )  # fmt: skip
    answer = balanced(posed.problem, Answer(replicas, fleets.instances[when[0]], tuple(shares)), options)
    usd = float(answer.instances @ question.problem.offers.usd_per_hour)
    solution = replace(optimum.solution, outcome="feasible", objective=usd, bound=None, values=None)
    return write_plan(posed, Optimum(solution, answer), (), (), ()).model_copy(update={"explanation": ()})


def _hour(
    empty: Schedule, question: Question, hours: Hours, rates: Floats, optimum: TimedOptimum, h: int, plan: int
) -> Hour:
    fleets, rent = optimum.fleets, hours.rent
    if fleets is None:
        raise ValueError("an hour needs fleets")
    machines = rent.machine[:, None] == np.arange(rent.num_machines)  # [O, M]
    now = fleets.instances[h] @ machines
    before = rent.running if h == 0 else fleets.instances[h - 1] @ machines
    change: Ints = np.rint(now - before).astype(np.int64)
    offers = question.offers
    names = {m: offers[max(np.flatnonzero(rent.machine == m), key=lambda o: offers[o].market != "reserved")]
             for m in range(rent.num_machines)}  # fmt: skip
    gone = _not_on_offer(empty, offers) if h == 0 else ()
    usd = float(fleets.instances[h] @ question.problem.offers.usd_per_hour)
    usd += float(np.maximum(change, 0) @ hours.start_usd())
    return Hour(
        start=empty.demand.hour(h), plan=plan,
        requests_per_s={s.name: float(rate) for s, rate in zip(empty.spec.services, rates[:, h], strict=True)},
        rentals=tuple(_instances(offers[o], int(count)) for o, count in enumerate(fleets.instances[h]) if count),
        starts=tuple(_instances(names[m], int(count)) for m, count in enumerate(change) if count > 0),
        stops=tuple(_instances(names[m], int(-count)) for m, count in enumerate(change) if count < 0) + gone,
        usd=usd,
    )  # fmt: skip


def _not_on_offer(empty: Schedule, offers: tuple[Offer, ...]) -> tuple[Instances, ...]:
    """What runs and cannot be rented any more."""
    known = {(o.provider, o.region, o.instance_type, o.market == "spot") for o in offers}
    return tuple(r for r in empty.running if (r.provider, r.region, r.instance_type, r.market == "spot") not in known)


def _instances(offer: Offer, count: int) -> Instances:
    return Instances(
        provider=offer.provider, instance_type=offer.instance_type, region=offer.region, market=offer.market,
        instances=count,
    )  # fmt: skip
