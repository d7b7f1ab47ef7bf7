r"""Which counts of replicas carry how much traffic, as inequalities that hold in every hour.

Of one service, with usable replicas U_p of each pool (spares taken off) and rates of every size that are θ times those
of the peak, the most that can be carried is a linear program over shares x_pb:

    θ*(U) = max θ   with   Σ_p x_pb = θ,   Σ_b load_pb x_pb ≤ U_p,   Σ_{p spot} Σ_b λ_b x_pb ≤ f θ Σ_b λ_b,   x ≥ 0,
                           and what the prefill pools of a group take, its decode pools take

Every feasible point of its dual is a price π_p ≥ 0 per replica with θ*(U) ≤ Σ_p π_p U_p for *all* U. So "the hour with
θ_h of the peak is carried" is the set of inequalities Σ_p π_p U_p ≥ θ_h, one per corner of the dual: the same for all
hours but for the right-hand side. Few of them matter, and they are found where they are violated (Benders 1962). Shares
need no column in the program of all hours, which is what makes a week of hours one small program.

As counts are whole, Σ_p min(π_p/θ_h, 1) U_p ≥ 1 holds too, and cuts off more fractions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.program import Floats, Ints, ProgramBuilder
from planner.serving.model import hand_over
from planner.serving.problem import ServiceNumbers
from planner.solver import solve
from planner.types import SolveOptions

TOLERANCE = 2e-6
"""Relative shortfall that is forgiven: twice the solver's own tolerance of a row."""


@dataclass(frozen=True)
class Carried:
    """The most that usable replicas carry, as a multiple of the peak's rates."""

    most: float
    share: Floats  # [P, B] shares of each size, which sum to 1 where anything is carried
    worth: Floats  # [P] π: the traffic that one replica more of each pool adds at most


def carried(service: ServiceNumbers, usable: Floats) -> Carried:
    """What ``usable`` replicas [P] carry of the mix of ``service``, whose rates are those of the peak."""
    load = np.where(service.hosted[:, None], service.load, np.inf)
    pools, buckets = np.nonzero(np.isfinite(load))
    builder = ProgramBuilder()
    most = builder.columns("most", -1.0, count=1)
    x = builder.columns("x", 0.0, count=pools.size)
    demand = builder.rows("demand", 0.0, 0.0, count=load.shape[1])
    admitted = service.admits[pools]
    builder.entries(demand[buckets[admitted]], x[admitted], 1.0)
    builder.entries(demand, most, -1.0)
    hand_over(builder, service, pools, buckets, x)
    room = builder.rows("room", -np.inf, np.maximum(usable, 0.0), count=load.shape[0])
    builder.entries(room[pools], x, load[pools, buckets])
    if service.max_spot_fraction < 1 and service.spot.any():
        row = builder.rows("spot", -np.inf, 0.0)
        on_spot = service.spot[pools] & admitted
        builder.entries(row, x[on_spot], service.rate[buckets[on_spot]])
        builder.entries(row, most, -service.max_spot_fraction * float(service.rate.sum()))
    found = solve(builder.program(), SolveOptions())
    if found.values is None or found.row_duals is None:
        raise RuntimeError("what replicas carry is a linear program that always has an answer")
    share = np.zeros(load.shape)
    share[pools, buckets] = found.values[x]
    total = float(found.values[most[0]])
    return Carried(total, share / total if total > 0 else share, np.maximum(-found.row_duals[room], 0.0))


def tight(worth: Floats, fraction: Floats) -> Floats:
    """[P, H] coefficients of one inequality ≥ 1 in hours with ``fraction`` [H] > 0 of the peak."""
    return np.minimum(worth[:, None] / fraction, 1.0)


Cuts = list[list[Floats]]
"""Per service, the prices π [P] of every inequality found."""


def violated(worths: list[Floats], usable: Floats, fraction: Floats) -> Ints:
    """[.] hours whose usable replicas [H, P] break one of the known inequalities."""
    if not worths:
        return np.zeros(0, np.int64)
    return np.flatnonzero((usable @ np.array(worths).T).min(axis=1) < fraction * (1 - TOLERANCE))
