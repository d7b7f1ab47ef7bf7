"""Choices that can never be needed, dropped before the solver sees them.

Both rules are exact: whatever a dropped choice does in a plan, the choice that dominates it does for no more of
anything that is counted. They also remove ties, such as one instance type at one price in two regions.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from planner.program import Bools, Floats
from planner.serving.problem import Problem, ServiceNumbers


def without_dominated(problem: Problem) -> Problem:
    """The same problem with hosts that are never needed taken out."""
    return _without_dominated_pools(_without_dominated_offers(problem))


def _without_dominated_offers(problem: Problem) -> Problem:
    """Drop offer o where an offer r of the same size hosts all that o hosts and uses no more of any resource."""
    used = _resources(problem)
    hosts = np.concatenate([service.hosts for service in problem.services])
    size = problem.offers.gpus
    kept = np.ones(size.size, bool)
    for o in range(size.size):
        same = kept & (size == size[o]) & (used <= used[:, o : o + 1]).all(axis=0)
        same &= (hosts | ~hosts[:, o : o + 1]).all(axis=0)
        same[o] = False
        ties = same & (used >= used[:, o : o + 1]).all(axis=0) & (hosts <= hosts[:, o : o + 1]).all(axis=0)
        ties[:o] = False  # of equal offers the first stays
        kept[o] = not (same & ~ties).any()
    return problem.with_hosts(tuple(service.hosts & kept for service in problem.services))


def _resources(problem: Problem) -> Floats:
    """[R, O] what one instance uses of everything that is priced or limited."""
    offers = problem.offers
    rows: list[npt.NDArray[np.generic]] = [problem.per_instance, problem.per_active_w]
    if problem.budget_usd_per_hour is not None:
        rows.append(offers.usd_per_hour)
    if problem.power_w is not None:
        rows.append(offers.idle_w)
    if problem.max_gpu_types is not None:  # a type is its own resource: only offers of one type compare
        rows += [offers.gpu_type, -offers.gpu_type]
    rows += [cap.weight for cap in problem.caps]
    return np.array(rows, dtype=float)


def _without_dominated_pools(problem: Problem) -> Problem:
    """Drop pool p where k whole replicas of q do at least the work of one of p at no higher price.

    Only where a replica is all that a choice costs: each fills its instance, no limit counts instances or types.
    """
    counted = (problem.budget_usd_per_hour, problem.power_w, problem.max_gpu_types)
    if problem.caps or problem.goodput or problem.per_active_w.any() or any(limit is not None for limit in counted):
        return problem
    return problem.with_hosts(tuple(_hosts_needed(problem, service) for service in problem.services))


def _hosts_needed(problem: Problem, service: ServiceNumbers) -> Bools:
    size = problem.offers.gpus
    if service.spare_replicas or not (~service.hosts | (service.gpus[:, None] == size)).all():
        return service.hosts
    price: Floats = np.where(service.hosts, problem.per_instance, np.inf).min(axis=1, initial=np.inf)
    kept = np.isfinite(price)
    counts_spot = service.max_spot_fraction < 1
    for p in np.argsort(-price, kind="stable"):
        if not kept[p]:
            continue
        rivals = (
            kept & (price <= price[p]) & (service.roles == service.roles[p]) & (service.groups == service.groups[p])
        )
        if counts_spot:
            rivals &= service.spot <= service.spot[p]
        rivals[p] = False
        q = np.flatnonzero(rivals)
        copies = np.floor(price[p] / np.maximum(price[q], 1e-12) + 1e-9)
        kept[p] = not (copies[:, None] * service.capacity[q] >= service.capacity[p]).all(axis=1).any()
    needed: Bools = service.hosts & kept[:, None]
    return needed
