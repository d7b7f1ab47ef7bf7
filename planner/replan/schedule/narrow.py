"""Choices that no schedule needs, dropped before the solver sees them. Each rule is exact."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.program import Bools
from planner.replan.schedule.rent import Rent
from planner.serving.dominance import without_dominated
from planner.serving.problem import Cap, Problem, ServiceNumbers


def narrowed(problem: Problem, rent: Rent) -> Problem:
    """The same problem with hosts that are never needed taken out."""
    problem = problem.with_hosts(tuple(_needed(problem, service) for service in problem.services))
    count = rent.reserved.size
    # An offer stands in for another only if it is no less flexible, and none does for one that runs: a start costs.
    differences = [Cap("reserved", rent.reserved.astype(float), np.inf)]
    differences += [
        Cap("running", -(np.arange(count) == o).astype(float), np.inf)
        for o in np.flatnonzero((rent.running[rent.machine] > 0) | (rent.least_reserved > 0))
    ]
    limited = replace(problem, caps=(*problem.caps, *differences))
    return problem.with_hosts(tuple(service.hosts for service in without_dominated(limited).services))


def _needed(problem: Problem, service: ServiceNumbers) -> Bools:
    """[P, O] hosts without those of pools in whose place, on the same GPUs, replicas of another pool do all the work
    and draw no more power.
    """
    kept = service.hosted
    counts_power = problem.power_w is not None
    for p in np.argsort(-service.gpus, kind="stable"):
        if not kept[p]:
            continue
        copies = service.gpus[p] // service.gpus
        rivals = kept & (service.gpus[p] % service.gpus == 0)
        rivals &= (service.roles == service.roles[p]) & (service.groups == service.groups[p])
        rivals &= (service.hosts | ~service.hosts[p]).all(axis=1)
        rivals &= (copies[:, None] * service.capacity >= service.capacity[p]).all(axis=1)
        if counts_power:
            rivals &= copies * service.active_w <= service.active_w[p]
        rivals[p] = False
        kept[p] = not rivals.any()
    return np.asarray(service.hosts & kept[:, None])
