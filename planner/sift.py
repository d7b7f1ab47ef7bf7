"""Programs with very many ways to route: solve with the cheap ways first, and prove that the others do not matter.

A *routing column* is a share of one demand: continuous, free of cost, 1 in one equality row, and using room in
capacity rows. Room has a price, that of the cheapest column that makes room, so each share has a price too. Shares far
dearer than the cheapest of their demand are hardly ever used, yet they are most of the columns.

They are merged into one column z_d per demand d. With s_r the slack and w_r ≥ 0 the price of capacity row r,

    Σ_r w_r s_r ≥ Σ_d μ_d z_d,    μ_d = the cheapest price among the merged shares of d

holds in every answer of the whole program, so the narrow program is a relaxation: its bound is proven. If the integers
it finds can be routed with the true shares (a linear program), they are an answer of the whole within the same gap.
Otherwise the whole program is solved after all.

Related: sifting of linear programs (Bixby et al. 1992), which needs no merged columns because duals prove it done.
"""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from planner.program import SHARED, Bools, Floats, Ints, Program
from planner.solver import Solution, relative_gap, solve
from planner.types import SolveOptions

_WORTHWHILE = 1_200
"""Columns from which a second, smaller solve pays."""
_SPREAD = 1.5
"""Shares up to 1 + _SPREAD/√N times as dear as the cheapest of their demand stay, where N counts of room are needed:
the fewer there are, the further whole counts are from the relaxation, and the dearer the shares worth taking."""


def solve_sifted(program: Program, options: SolveOptions) -> Solution:
    """Like ``planner.solver.solve``, faster where routing columns are many."""
    narrow = narrowed(program) if program.cost.size >= _WORTHWHILE else None
    if narrow is None:
        return solve(program, options)
    started = time.perf_counter()
    relaxed = solve(narrow, options.model_copy(update={"time_limit_s": 0.5 * options.time_limit_s}))
    routed = None
    if relaxed.values is not None:
        routed = _routed(program, relaxed.values[narrow.integer], relaxed.bound, options)
    if relaxed.outcome == "infeasible" or (routed is not None and routed.outcome == "optimal"):
        return replace(routed or relaxed, seconds=time.perf_counter() - started)
    remaining = max(options.time_limit_s - (time.perf_counter() - started), 0.01)
    start = routed.values if routed is not None else None
    whole = solve(program, options.model_copy(update={"time_limit_s": remaining}), start=start)
    return replace(_under(whole, relaxed.bound, options), seconds=time.perf_counter() - started)


def narrowed(program: Program) -> Program | None:
    """The relaxation with few routing columns; None where it would not be much smaller.

    Columns: those kept, in their order (all integers are), then slacks, then merged shares.
    """
    kept, demand, price, room_price = _priced(program)
    if kept.mean() > 0.6:
        return None
    num_rows = program.row_lower.size
    cheapest_merged = np.full(num_rows, np.inf)
    np.minimum.at(cheapest_merged, demand[~kept], price[~kept])
    merged, priced = np.flatnonzero(np.isfinite(cheapest_merged)), np.flatnonzero(room_price > 0)
    at = np.cumsum(kept) - 1
    entries = kept[program.column]
    slack = int(kept.sum()) + np.arange(priced.size)
    share = slack.size + int(kept.sum()) + np.arange(merged.size)
    ones, more = np.ones(priced.size), np.zeros(priced.size + merged.size)
    surrogate = np.full(priced.size, num_rows), np.full(merged.size, num_rows)
    row_lower = program.row_lower.copy()
    row_lower[priced] = program.row_upper[priced]
    return Program(
        cost=np.concatenate([program.cost[kept], more]),
        row=np.concatenate([program.row[entries], priced, merged, *surrogate]),
        column=np.concatenate([at[program.column[entries]], slack, share, slack, share]),
        value=np.concatenate(
            [program.value[entries], ones, np.ones(merged.size), room_price[priced], -cheapest_merged[merged]]
        ),
        row_lower=np.append(row_lower, 0.0),
        row_upper=np.append(program.row_upper, np.inf),
        lower=np.concatenate([program.lower[kept], more]),
        upper=np.concatenate([program.upper[kept], np.full(more.size, np.inf)]),
        integer=np.concatenate([program.integer[kept], more > 0]),
        block=np.concatenate([program.block[kept], np.full(more.size, SHARED)]),
    )


def _priced(program: Program) -> tuple[Bools, Ints, Floats, Floats]:
    """Per column: kept or not, its demand row and price, if it is a routing column; per row: the price of room."""
    num_columns, num_rows = program.cost.size, program.row_lower.size
    row, column, value = program.row, program.column, program.value
    equality = (program.row_lower == program.row_upper)[row]
    capacity = np.isneginf(program.row_lower)[row] & np.isfinite(program.row_upper)[row]
    makes_room = capacity & (value < 0)
    room_price = np.full(num_rows, np.inf)
    np.minimum.at(room_price, row[makes_room], np.maximum(program.cost[column[makes_room]], 0) / -value[makes_room])
    room_price[np.isinf(room_price)] = 0.0

    demands = np.bincount(column, equality & (value == 1.0), num_columns)
    others = np.bincount(column, ~(equality & (value == 1.0)) & ~(capacity & (value > 0)), num_columns)
    routes = (demands == 1) & (others == 0) & ~program.integer & (program.cost == 0) & (program.lower == 0)
    demand = np.zeros(num_columns, np.int64)
    demand[column[equality]] = row[equality]
    price = np.bincount(column, np.where(capacity, room_price[row] * value, 0.0), num_columns).astype(float)
    cheapest = np.full(num_rows, np.inf)
    np.minimum.at(cheapest, demand[routes], price[routes])
    typical = np.median(room_price[room_price > 0]) if room_price.any() else 1.0
    counts = float(cheapest[np.isfinite(cheapest)].sum() / typical)
    factor = 1 + _SPREAD / np.sqrt(max(counts, 1e-9))
    kept: Bools = ~routes | (price <= factor * cheapest[demand])
    return kept, demand, price, room_price


def _routed(program: Program, integers: Floats, bound: float | None, options: SolveOptions) -> Solution | None:
    """The best shares for the integers that the narrow program found; None when they do not suffice."""
    lower, upper = program.lower.copy(), program.upper.copy()
    lower[program.integer] = upper[program.integer] = integers
    found = solve(replace(program, lower=lower, upper=upper, integer=np.zeros_like(program.integer)), options)
    if found.values is None or found.objective is None:
        return None
    values = found.values.copy()
    values[program.integer] = integers
    return _under(replace(found, values=values, row_duals=None, bound=None), bound, options)


def _under(solution: Solution, bound: float | None, options: SolveOptions) -> Solution:
    """``solution`` with the higher of its own and another proven bound."""
    best = max((b for b in (solution.bound, bound) if b is not None), default=None)
    gap = relative_gap(solution.objective, best)
    if solution.objective is None:
        return replace(solution, bound=best if solution.outcome != "infeasible" else None)
    proven = gap is not None and gap <= options.gap + 1e-9
    return replace(solution, bound=best, outcome="optimal" if proven else "feasible")
