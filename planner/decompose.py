"""Large block-angular programs: many parts, each easy alone, that share a few rows (Dantzig–Wolfe).

Columns of one block meet those of others only in *coupling* rows (caps, budgets, instances shared by services).
The master program chooses, for each block, a convex combination of proposals (solutions of that block alone); its
duals price the coupling rows, and each block proposes the best answer to these prices. Any prices give a proven
bound (Lagrange), so proposals may be found heuristically and the bound stays true. Integer answers come from choosing
one proposal per block, then from solving one or two blocks again with all others fixed.

Sources: Dantzig & Wolfe 1960; smoothing of prices by Wentges 1997 (weighted Dantzig–Wolfe decomposition).
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from planner.program import SHARED, Bools, Floats, Ints, Program
from planner.solver import Solution, relative_gap, solve
from planner.types import Outcome, SolveOptions

_SMOOTHING = 0.6
"""Weight of the best prices so far against the master's new ones: the master's alone swing wildly at first."""
_PROPOSAL_GAP = 2e-3
_THREADS = 2
_ROUNDS_A_STEP = 3


@dataclass(frozen=True)
class _Block:
    """One part of the program. ``coupling`` is dense: [coupling rows, columns of the block]."""

    columns: Ints
    program: Program
    coupling: Floats


@dataclass
class _Master:
    """Proposals so far, per block: cost and use of the coupling rows."""

    program: Program
    coupling_rows: Ints
    blocks: tuple[_Block, ...]
    shared: Ints
    shared_coupling: Floats
    proposals: list[list[Floats]]

    def lower(self) -> Floats:
        return self.program.row_lower[self.coupling_rows]

    def upper(self) -> Floats:
        return self.program.row_upper[self.coupling_rows]

    def add(self, k: int, values: Floats) -> bool:
        """Keep a proposal of block ``k``; False when it is there already."""
        if any(np.allclose(values, known, atol=1e-7) for known in self.proposals[k]):
            return False
        self.proposals[k].append(values)
        return True


def is_worthwhile(program: Program) -> bool:
    """Whether decomposing pays: several blocks, and more columns than one tree search handles well."""
    num_blocks = int(program.block.max(initial=SHARED)) + 1
    return num_blocks >= 3 and int(program.integer.sum()) >= 100


def solve_decomposed(program: Program, options: SolveOptions) -> Solution:
    """Solve a block-angular ``program``. The bound is proven whatever happens.

    ``no_solution``, with the bound reached, when no integer answer was found in time. That a block alone is infeasible
    is reported; that the coupling rows cannot hold is for ``planner.solver.solve`` to prove.
    """
    started = time.perf_counter()
    deadline = started + options.time_limit_s
    master = _split(program)
    with ThreadPoolExecutor(_THREADS) as pool:
        best_bound = _converge(master, options, started + 0.5 * options.time_limit_s, pool)
        dived = _dive(master, options, deadline, pool)
    candidates = [a for a in (dived, _round(master, options), _combine(master, options)) if a is not None]
    best = min(candidates, key=lambda answer: float(program.cost @ answer), default=None)
    if best is not None:
        best = _polish(master, best, options, deadline, best_bound)
    bound = float(best_bound) if np.isfinite(best_bound) else None
    seconds = time.perf_counter() - started
    if best is None:
        return Solution("no_solution", None, bound, None, None, seconds)
    objective = float(program.cost @ best)
    gap = relative_gap(objective, bound)
    outcome: Outcome = "optimal" if gap is not None and gap <= options.gap + 1e-9 else "feasible"
    return Solution(outcome, objective, bound, best, None, seconds)


def _converge(
    master: _Master, options: SolveOptions, until: float, pool: ThreadPoolExecutor
) -> float:
    """Add proposals until the master's value meets the bound or time is up; the bound.

    The first prices are those of the linear relaxation of the whole program: near the last ones, where prices from a
    master with few proposals would be nonsense.
    """
    relaxed = solve(replace(master.program, integer=np.zeros(master.program.cost.size, bool)), options)
    duals = relaxed.row_duals
    center = np.zeros(master.coupling_rows.size) if duals is None else duals[master.coupling_rows]
    target, best_bound, stalled = center, -np.inf, 0
    while True:
        bound, new = _price(master, target, options, pool)
        stalled = 0 if bound > best_bound + 1e-5 * abs(bound) else stalled + 1
        if bound > best_bound:
            best_bound, center = bound, target
        combined = _solve_master(master, options, integer=False)
        if combined is None or combined.row_duals is None or stalled >= 5 or time.perf_counter() > until:
            return best_bound
        gap = relative_gap(combined.objective, best_bound)
        if gap is not None and gap < 0.05 * options.gap:
            return best_bound
        prices = combined.row_duals[: master.coupling_rows.size]
        target = prices if not new else _SMOOTHING * center + (1 - _SMOOTHING) * prices


def _dive(master: _Master, options: SolveOptions, deadline: float, pool: ThreadPoolExecutor) -> Floats | None:
    """Fix one block after another to the proposal the master likes best, with fresh proposals for the others."""
    fixed: dict[int, int] = {}
    blocks = range(len(master.blocks))
    while len(fixed) < len(master.blocks):
        combined = None
        for _ in range(_ROUNDS_A_STEP):
            combined = _solve_master(master, options, integer=False, fixed=fixed)
            if combined is None or combined.values is None or combined.row_duals is None:
                return None
            if time.perf_counter() > deadline or not fixed:
                break
            prices = combined.row_duals[: master.coupling_rows.size]
            if not _price(master, prices, options, pool, [k for k in blocks if k not in fixed])[1]:
                break
        if combined is None or combined.values is None:
            return None
        weights = _by_block(master, combined.values)
        k = max((k for k in blocks if k not in fixed), key=lambda k: float(weights[k].max()))
        fixed[k] = int(np.argmax(weights[k]))
    return _chosen(master, options, fixed)


def _combine(master: _Master, options: SolveOptions) -> Floats | None:
    """The best answer that uses, block by block, only what the master's proposals use: far fewer integers than all."""
    combined = _solve_master(master, options, integer=False)
    if combined is None or combined.values is None:
        return None
    program = master.program
    upper = program.upper.copy()
    for block, proposals, weights in zip(master.blocks, master.proposals, _by_block(master, combined.values), strict=True):
        most = np.max([v for v, weight in zip(proposals, weights, strict=True) if weight > 1e-6], axis=0)
        whole = block.program.integer
        upper[block.columns[whole]] = np.minimum(upper[block.columns[whole]], np.where(most[whole] > 0.5, most[whole] + 1, 0))
    limit = options.model_copy(update={"time_limit_s": 0.3 * options.time_limit_s, "gap": options.gap / 10})
    return solve(replace(program, upper=upper), limit).values


def _by_block(master: _Master, values: Floats) -> list[Floats]:
    ends = np.cumsum([len(proposals) for proposals in master.proposals])
    return np.split(values[: ends[-1]], ends[:-1])


def _split(program: Program) -> _Master:
    """Sort rows into blocks (touched by one block only) and coupling rows."""
    num_blocks = int(program.block.max(initial=SHARED)) + 1
    num_rows = program.row_lower.size
    owner = program.block[program.column]
    least, most = np.full(num_rows, np.iinfo(np.int64).max), np.full(num_rows, np.iinfo(np.int64).min)
    np.minimum.at(least, program.row, owner)
    np.maximum.at(most, program.row, owner)
    local = (least == most) & (least != SHARED)
    coupling_rows = np.flatnonzero(~local & (most >= SHARED))
    matrix = np.full(num_rows, -1)
    matrix[coupling_rows] = np.arange(coupling_rows.size)

    def coupling(columns: Ints) -> Floats:
        at = np.full(program.cost.size, -1)
        at[columns] = np.arange(columns.size)
        dense = np.zeros((coupling_rows.size, columns.size))
        entries = (at[program.column] >= 0) & (matrix[program.row] >= 0)
        dense[matrix[program.row[entries]], at[program.column[entries]]] = program.value[entries]
        return dense

    blocks = []
    for k in range(num_blocks):
        columns = np.flatnonzero(program.block == k)
        blocks.append(_Block(columns, _restricted(program, columns, np.flatnonzero(local & (least == k))), coupling(columns)))
    shared = np.flatnonzero(program.block == SHARED)
    return _Master(program, coupling_rows, tuple(blocks), shared, coupling(shared), [[] for _ in blocks])


def _restricted(program: Program, columns: Ints, rows: Ints) -> Program:
    """The program of some columns and rows alone."""
    column_at, row_at = np.full(program.cost.size, -1), np.full(program.row_lower.size, -1)
    column_at[columns], row_at[rows] = np.arange(columns.size), np.arange(rows.size)
    kept = (column_at[program.column] >= 0) & (row_at[program.row] >= 0)
    return Program(
        cost=program.cost[columns], row=row_at[program.row[kept]], column=column_at[program.column[kept]],
        value=program.value[kept], row_lower=program.row_lower[rows], row_upper=program.row_upper[rows],
        lower=program.lower[columns], upper=program.upper[columns], integer=program.integer[columns],
        block=program.block[columns],
    )  # fmt: skip


def _propose(block: _Block, cost: Floats, options: SolveOptions) -> Solution:
    limit = options.model_copy(update={"gap": max(options.gap / 4, _PROPOSAL_GAP / 4), "time_limit_s": 2.0})
    return solve(replace(block.program, cost=cost), limit)


def _price(
    master: _Master, prices: Floats, options: SolveOptions, pool: ThreadPoolExecutor, only: list[int] | None = None
) -> tuple[float, int]:
    """Lagrangian bound at ``prices`` (if all blocks are asked), and how many new proposals they brought."""
    asked = list(range(len(master.blocks))) if only is None else only
    blocks = [master.blocks[k] for k in asked]
    costs = [block.program.cost - prices @ block.coupling for block in blocks]
    solutions = pool.map(lambda pair: _propose(*pair, options), zip(blocks, costs, strict=True))
    bound, new = 0.0, 0
    for k, solution in zip(asked, solutions, strict=True):
        bound += solution.bound if solution.bound is not None else -np.inf
        if solution.values is not None:
            new += master.add(k, solution.values)
    reduced = master.program.cost[master.shared] - prices @ master.shared_coupling
    lower, upper = master.program.lower[master.shared], master.program.upper[master.shared]
    at = np.where(reduced >= -1e-9, lower, upper)
    bound += float(np.sum(reduced * np.where(np.abs(reduced) <= 1e-9, 0.0, at)))
    with np.errstate(invalid="ignore"):
        rows = np.where(prices > 0, prices * master.lower(), prices * master.upper())
    return bound + float(np.sum(np.where(np.abs(prices) <= 1e-12, 0.0, rows))), new


def _solve_master(
    master: _Master, options: SolveOptions, *, integer: bool, fixed: dict[int, int] | None = None
) -> Solution | None:
    """Best combination of proposals (one each, when ``integer``), with penalised slack so that it always exists."""
    num_rows = master.coupling_rows.size
    counts = [len(proposals) for proposals in master.proposals]
    if not all(counts):
        return None
    use = [b.coupling @ np.array(p).T for b, p in zip(master.blocks, master.proposals, strict=True)]
    cost = [np.array(p) @ b.program.cost for b, p in zip(master.blocks, master.proposals, strict=True)]
    penalty = 2.0 * max(float(np.abs(master.program.cost).max()), 1e-3)
    slack = np.concatenate([np.eye(num_rows), -np.eye(num_rows)], axis=1)
    dense = np.concatenate([*use, master.shared_coupling, slack], axis=1)
    row, column = np.nonzero(dense)
    num_proposals, num_columns = sum(counts), dense.shape[1]
    shared, ones = master.program, np.ones(len(counts))
    lower = np.concatenate([np.zeros(num_proposals), shared.lower[master.shared], np.zeros(2 * num_rows)])
    starts = np.concatenate([[0], np.cumsum(counts)])
    for k, proposal in (fixed or {}).items():
        lower[starts[k] + proposal] = 1.0
    program = Program(
        cost=np.concatenate([*cost, shared.cost[master.shared], np.full(2 * num_rows, penalty)]),
        row=np.concatenate([row, num_rows + np.repeat(np.arange(len(counts)), counts)]),
        column=np.concatenate([column, np.arange(num_proposals)]),
        value=np.concatenate([dense[row, column], np.ones(num_proposals)]),
        row_lower=np.concatenate([master.lower(), ones]),
        row_upper=np.concatenate([master.upper(), ones]),
        lower=lower,
        upper=np.concatenate([np.ones(num_proposals), shared.upper[master.shared], np.full(2 * num_rows, np.inf)]),
        integer=_integers(num_proposals, shared.integer[master.shared], num_columns) & integer,
        block=np.full(num_columns, SHARED),
    )
    solution = solve(program, options)
    return solution if solution.values is not None else None


def _integers(num_proposals: int, shared: Bools, num_columns: int) -> Bools:
    flags = np.zeros(num_columns, bool)
    flags[:num_proposals] = True
    flags[num_proposals : num_proposals + shared.size] = shared
    return flags


def _round(master: _Master, options: SolveOptions) -> Floats | None:
    """One proposal per block, chosen together; None when no choice keeps the coupling rows."""
    limit = options.model_copy(update={"time_limit_s": 0.15 * options.time_limit_s, "gap": options.gap / 2})
    chosen = _solve_master(master, limit, integer=True)
    if chosen is None or chosen.values is None:
        return None
    return _chosen(master, options, {k: int(np.argmax(w)) for k, w in enumerate(_by_block(master, chosen.values))})


def _chosen(master: _Master, options: SolveOptions, picks: dict[int, int]) -> Floats | None:
    """The program's values when each block follows its pick; None where the coupling rows do not hold."""
    if len(picks) < len(master.blocks):
        return None
    solution = _solve_master(master, options, integer=True, fixed=picks)
    if solution is None or solution.values is None:
        return None
    num_proposals = sum(len(proposals) for proposals in master.proposals)
    shared, slack = np.split(solution.values[num_proposals:], [master.shared.size])
    if slack.sum() > 1e-6:
        return None
    values = np.zeros(master.program.cost.size)
    for k, block in enumerate(master.blocks):
        values[block.columns] = master.proposals[k][picks[k]]
    values[master.shared] = shared
    return values


def _polish(master: _Master, values: Floats, options: SolveOptions, deadline: float, bound: float) -> Floats:
    """Solve one block, then two together, again with all others fixed, as long as that pays and time remains."""
    cost = master.program.cost
    tried: set[tuple[tuple[int, ...], float]] = set()
    for size in (1, 2, 3):
        improved = True
        while improved:
            improved = False
            for group in combinations(range(len(master.blocks)), size):
                objective = float(cost @ values)
                gap = relative_gap(objective, bound)
                if time.perf_counter() > deadline or (gap is not None and gap <= options.gap):
                    return values
                if (group, round(objective, 9)) in tried:
                    continue
                tried.add((group, round(objective, 9)))
                better = _again(master, values, group, options, deadline)
                if better is not None and float(cost @ better) < objective - 1e-7 * abs(objective):
                    values, improved = better, True
    return values


def _again(
    master: _Master, values: Floats, group: tuple[int, ...], options: SolveOptions, deadline: float
) -> Floats | None:
    """The best answer with every block outside ``group`` fixed; None where there is none in time."""
    program = master.program
    free = np.zeros(program.cost.size, bool)
    free[master.shared] = True
    for k in group:
        free[master.blocks[k].columns] = True
    columns = np.flatnonzero(free)
    entries = free[program.column]
    rows = np.unique(program.row[entries])
    used = np.zeros(program.row_lower.size)
    fixed = ~entries
    np.add.at(used, program.row[fixed], program.value[fixed] * values[program.column[fixed]])
    smaller = replace(program, row_lower=program.row_lower - used, row_upper=program.row_upper - used)
    limit = min(max(deadline - time.perf_counter(), 0.1), 0.1 * options.time_limit_s)
    found = solve(_restricted(smaller, columns, rows), options.model_copy(update={"time_limit_s": limit}))
    if found.values is None:
        return None
    answer = values.copy()
    answer[columns] = found.values
    return answer
