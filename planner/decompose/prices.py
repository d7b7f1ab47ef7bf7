"""Prices of the coupling rows, and the bound that they prove.

At any prices the blocks fall apart, and the sum of their cheapest answers is a bound (Lagrange). Prices are improved by
a cutting-plane model, the linear program over proposals, within a trust region around the best prices so far (the
boxstep method: Marsten, Hogan & Blankenship 1975). The first prices are the duals of the linear relaxation of the
whole; a model with few proposals says nothing far from them.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np

from planner.decompose.parts import Parts
from planner.decompose.pool import Pool, Slack, combination
from planner.program import Floats
from planner.solver import Solution, solve
from planner.types import SolveOptions

_THREADS = 2
_MAX_NODES = 300
THOROUGH_NODES = 5_000
_FIRST_RADIUS = 0.02
"""Half width of the trust region, in typical costs of a unit of each row."""


@dataclass(frozen=True)
class Bound:
    """A proven bound and the prices [K] that prove it: inf if a block alone is infeasible, -inf if none was found."""

    value: float
    prices: Floats


def price(
    pool: Pool, prices: Floats, options: SolveOptions, gap: float, until: float, *, max_nodes: int = _MAX_NODES
) -> tuple[Bound, int]:
    """The bound that ``prices`` prove, and how many new proposals were found on the way.

    Blocks are solved to ``gap`` or ``max_nodes``: what they prove by then counts.
    """
    parts = pool.parts

    def answer(k: int) -> Solution:
        block = parts.blocks[k]
        limit = options.model_copy(update={"gap": gap, "time_limit_s": max(until - time.perf_counter(), 0.05)})
        cost = block.program.cost - prices @ block.coupling
        start = min(pool.values[k], key=lambda values: float(cost @ values), default=None)
        return solve(replace(block.program, cost=cost), limit, start=start, max_nodes=max_nodes)

    with ThreadPoolExecutor(_THREADS) as threads:
        solutions = list(threads.map(answer, range(len(parts.blocks))))
    new = sum(pool.add(k, s.values) for k, s in enumerate(solutions) if s.values is not None)
    if any(s.outcome == "infeasible" for s in solutions):
        return Bound(np.inf, prices), new
    blocks = sum(-np.inf if s.bound is None else s.bound for s in solutions)
    reduced = parts.whole.cost[parts.shared] - prices @ parts.shared_coupling
    ends = np.where(reduced >= 0, parts.whole.lower[parts.shared], parts.shared_upper)
    limits = np.where(prices > 0, parts.lower, parts.upper)
    value = blocks + _dot(reduced, ends) + _dot(prices, limits)
    return Bound(float(value), prices), new


def converge(pool: Pool, first: Floats, options: SolveOptions, gap: float, until: float) -> Bound:
    """Improve ``first`` prices until they cannot be better by more than a tenth of ``options.gap``, or time is up."""
    parts = pool.parts
    best, _ = price(pool, _signed(parts, first), options, gap, until)
    radius = _FIRST_RADIUS * parts.unit_price
    for _ in range(200):
        if time.perf_counter() > until or not np.isfinite(best.value) or not all(pool.values):
            break
        low, high = best.prices - radius, best.prices + radius
        box = Slack(_signed(parts, low), _signed(parts, high))
        program = combination(pool, box, list(range(len(parts.blocks))), parts.lower, parts.upper, integer=False)
        model = solve(program, options)
        if model.row_duals is None or model.objective is None:
            break
        promised = model.objective - best.value
        if promised <= 0.1 * options.gap * abs(best.value):
            break
        prices = _signed(parts, model.row_duals[: parts.rows.size])
        found, new = price(pool, prices, options, gap, until)
        gained = found.value - best.value
        if gained > 0:
            best = found
        if gained > 0.5 * promised:
            radius = 2 * radius
        elif gained < 0.1 * promised:
            radius = 0.5 * radius
        if not new and gained <= 0:
            break
    return best


def _signed(parts: Parts, prices: Floats) -> Floats:
    """Prices with the sign that one-sided rows allow."""
    allowed = np.where(np.isfinite(parts.lower), prices, np.minimum(prices, 0.0))
    return np.where(np.isfinite(parts.upper), allowed, np.maximum(allowed, 0.0))


def _dot(weights: Floats, limits: Floats) -> float:
    """Σ weights·limits where a weight of (nearly) 0 makes an infinite limit no matter."""
    counted = np.abs(weights) > 1e-12
    return float(weights[counted] @ limits[counted])
