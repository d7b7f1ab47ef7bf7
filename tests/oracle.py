"""Slow, obviously right answers to small serving problems: every combination of counts is tried.

Independent of the formulation: whether counts can carry the traffic is a linear feasibility question put to scipy,
how many instances they need is found by placing replicas one by one.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.optimize import linprog

from planner.serving.problem import DECODE, PREFILL, UNIFIED, Problem, ServiceNumbers


def cheapest(problem: Problem, most: int = 3, below: float | None = None) -> float | None:
    """Least cost, below ``below``, over all counts up to ``most`` per host; None where nothing is feasible."""
    hosts = [
        (s, p, o) for s, service in enumerate(problem.services) for p, o in zip(*np.nonzero(service.hosts), strict=True)
    ]
    best = below
    found = False
    for counts in itertools.product(range(most + 1), repeat=len(hosts)):
        replicas = [np.zeros(service.hosts.shape, int) for service in problem.services]
        for (s, p, o), count in zip(hosts, counts, strict=True):
            replicas[s][p, o] = count
        instances = instances_needed(problem, replicas)
        if instances is None or not within_limits(problem, replicas, instances):
            continue
        cost = float(instances @ problem.per_instance) + sum(
            float((counts * problem.per_replica(service)).sum())
            for service, counts in zip(problem.services, replicas, strict=True)
        )
        if best is not None and cost >= best:
            continue
        if all(carries(service, counts) for service, counts in zip(problem.services, replicas, strict=True)):
            best, found = cost, True
    return best if found else None


def carries(service: ServiceNumbers, replicas: np.ndarray) -> bool:
    """Whether these counts [P, O] can carry the service's traffic."""
    counts = replicas.sum(axis=1)
    if counts.sum() < service.min_replicas:
        return False
    usable = np.where(counts > 0, counts - service.spare_replicas, 0) * service.max_utilisation
    if (usable < 0).any():
        return False
    buckets = [b for b in range(service.rate.size) if service.rate[b] > 0]
    if not buckets:
        return True
    columns = [(way, b) for way in ways(service) for b in buckets if all(service.capacity[p, b] > 0 for p in way)]
    if not columns:
        return False
    busy = np.zeros((counts.size, len(columns)))
    served = np.zeros((len(buckets), len(columns)))
    spot = np.zeros(len(columns))
    for j, (way, b) in enumerate(columns):
        for p in way:
            busy[p, j] = service.rate[b] / service.capacity[p, b]
        served[buckets.index(b), j] = 1.0
        spot[j] = service.rate[b] * service.spot[way[0]]
    upper = np.vstack([busy, spot])
    limit = np.append(usable, service.max_spot_fraction * service.rate.sum())
    found = linprog(np.zeros(len(columns)), upper, limit + 1e-9, served, np.ones(len(buckets)), bounds=(0, 1))
    return bool(found.status == 0)


def ways(service: ServiceNumbers) -> list[tuple[int, ...]]:
    """The pools that a request may visit: a unified one, or one that reads it and one that decodes it."""
    whole = [(int(p),) for p in np.flatnonzero(service.roles == UNIFIED)]
    pairs = itertools.product(np.flatnonzero(service.roles == PREFILL), np.flatnonzero(service.roles == DECODE))
    return whole + [(int(p), int(d)) for p, d in pairs if service.groups[p] == service.groups[d]]


def instances_needed(problem: Problem, replicas: list[np.ndarray]) -> np.ndarray | None:
    """[O] instances that hold the replicas, placed largest first; None where one does not fit at all."""
    needed = np.zeros(problem.offers.gpus.size, int)
    for o, size in enumerate(problem.offers.gpus):
        free: list[int] = []
        sizes = [
            int(service.gpus[p])
            for service, counts in zip(problem.services, replicas, strict=True)
            for p in range(counts.shape[0])
            for _ in range(counts[p, o])
        ]
        for gpus in sorted(sizes, reverse=True):
            if gpus > size:
                return None
            room = [i for i, left in enumerate(free) if left >= gpus]
            if not room:
                free.append(int(size))
                room = [len(free) - 1]
            free[room[0]] -= gpus
        needed[o] = len(free)
    return needed


def within_limits(problem: Problem, replicas: list[np.ndarray], instances: np.ndarray) -> bool:
    """Whether caps, budget, power and the number of GPU types hold."""
    if any(cap.weight @ instances > cap.limit + 1e-9 for cap in problem.caps):
        return False
    budget = np.inf if problem.budget_usd_per_hour is None else problem.budget_usd_per_hour
    if instances @ problem.offers.usd_per_hour > budget + 1e-9:
        return False
    if problem.power_w is not None:
        active = sum(float(s.active_w @ n.sum(axis=1)) for s, n in zip(problem.services, replicas, strict=True))
        if instances @ problem.offers.idle_w + active > problem.power_w + 1e-6:
            return False
    types = np.unique(problem.offers.gpu_type[instances > 0]).size
    return problem.max_gpu_types is None or types <= problem.max_gpu_types
