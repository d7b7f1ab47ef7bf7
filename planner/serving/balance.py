"""Routing for counts that are settled: of all shares that the counts can carry, those that leave most headroom.

The program only needs some routing that fits. Many do, and a solver returns any of them; the one whose busiest pool is
least busy forgives most errors of rates and traffic. A linear program per service:

    min u   with   Σ_p x_pb = 1,   Σ_b load_pb x_pb ≤ u·(N_p − k),   spot share within its limit,   0 ≤ x,   u ≤ 1,
    and what the prefill pools of a group take, its decode pools take
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from planner.program import Floats, ProgramBuilder
from planner.serving.model import hand_over
from planner.serving.problem import Answer, Problem, ServiceNumbers
from planner.solver import solve
from planner.types import SolveOptions


def balanced(problem: Problem, answer: Answer, options: SolveOptions) -> Answer:
    """``answer`` with its counts and better shares; goodput answers stay: their pools are meant to be full."""
    if problem.goodput:
        return answer
    shares = tuple(
        _shares(service, counts.sum(axis=1), share, options)
        for service, counts, share in zip(problem.services, answer.replicas, answer.share, strict=True)
    )
    return replace(answer, share=shares)


def _shares(service: ServiceNumbers, replicas: np.ndarray, share: Floats, options: SolveOptions) -> Floats:
    """[P, B] shares with the least busy busiest pool; the given ones where no better are found in time."""
    usable = np.where(replicas > 0, replicas - service.spare_replicas, 0)
    load = np.where((usable > 0)[:, None], service.load, np.inf)
    pools, buckets = np.nonzero(np.isfinite(load))
    if not pools.size:
        return share
    builder = ProgramBuilder()
    busiest = builder.columns("busiest", 1.0, count=1, upper=1.0)
    x = builder.columns("x", 0.0, count=pools.size, upper=1.0)
    demand = builder.rows("demand", 1.0, 1.0, count=load.shape[1])
    admitted = service.admits[pools]
    builder.entries(demand[buckets[admitted]], x[admitted], 1.0)
    hand_over(builder, service, pools, buckets, x)
    room = builder.rows("room", -np.inf, 0.0, count=load.shape[0])
    builder.entries(room[pools], x, load[pools, buckets])
    builder.entries(room[usable > 0], busiest, -usable[usable > 0].astype(float))
    if service.max_spot_fraction < 1 and service.spot.any():
        row = builder.rows("spot", -np.inf, service.max_spot_fraction * float(service.rate.sum()))
        on_spot = service.spot[pools] & admitted
        builder.entries(row, x[on_spot], service.rate[buckets[on_spot]])
    found = solve(builder.program(), options)
    if found.outcome != "optimal" or found.values is None:
        return share
    better = np.zeros(load.shape)
    better[pools, buckets] = found.values[x]
    return better
