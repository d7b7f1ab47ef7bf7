"""Bound and answer of a block-angular program within a time limit."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations

import numpy as np

from planner.decompose.answers import Answer, Searcher
from planner.decompose.parts import Parts, split
from planner.decompose.pool import Pool
from planner.decompose.prices import THOROUGH_NODES, Bound, converge, price
from planner.program import SHARED, Program
from planner.solver import Solution, relative_gap, solve
from planner.types import Outcome, SolveOptions

_PRICING_SHARE = 0.4
"""Of the time limit, at most this for the bound."""
_REPAIR_SHARE = 0.6
"""When this much of the time is gone and coupling rows are still broken, tree search on the whole takes over."""
_SEARCH_SHARE = 0.85
"""When this much of the time is gone, the rest goes into a sharper bound at the best prices."""
_LOOSEST_PRICING_GAP = 2e-4


def is_worthwhile(program: Program) -> bool:
    """Whether decomposing pays: several blocks, and more columns than one tree search handles well."""
    num_blocks = int(program.block.max(initial=SHARED)) + 1
    return num_blocks >= 3 and int(program.integer.sum()) >= 100


def solve_decomposed(program: Program, options: SolveOptions) -> Solution:
    """Solve a block-angular ``program``; the bound is proven whatever happens.

    Tree search on the whole has the last word, from the best answer found: where the search for answers is at its end
    with time left, and where it finds none, so that infeasible programs are proven so.
    """
    started = time.perf_counter()
    until = started + options.time_limit_s
    relaxed = solve(replace(program, integer=np.zeros(program.cost.size, bool)), options)
    if relaxed.outcome == "infeasible":
        return replace(relaxed, seconds=time.perf_counter() - started)
    bound, answer, parts = None, None, split(program)
    if relaxed.row_duals is not None:
        pool = Pool(parts)
        gap = max(0.3 * options.gap, _LOOSEST_PRICING_GAP)
        prices = relaxed.row_duals[parts.rows]
        bound = converge(pool, prices, options, gap, started + _PRICING_SHARE * options.time_limit_s)
        if bound.value == np.inf:
            return Solution("infeasible", None, None, None, None, time.perf_counter() - started)
        if np.isfinite(bound.value) and all(pool.values):
            answer = _search(pool, bound, options, started)
            if answer is not None and answer.holds and _solution(parts, answer, bound, options).outcome != "optimal":
                sharper, _ = price(pool, bound.prices, options, 0.1 * gap, until, max_nodes=THOROUGH_NODES)
                bound = max(bound, sharper, key=lambda b: b.value)
    best = _solution(parts, answer, bound, options)
    remaining = until - time.perf_counter()
    if best.outcome != "optimal" and remaining > 0:
        rest = options.model_copy(update={"time_limit_s": remaining})
        best = _better(best, solve(program, rest, start=best.values), options)
    return replace(best, seconds=time.perf_counter() - started)


def _search(pool: Pool, bound: Bound, options: SolveOptions, started: float) -> Answer | None:
    parts = pool.parts
    target = bound.value / (1 - options.gap) if bound.value > 0 and options.gap < 1 else bound.value
    penalty = 5 * (parts.unit_price + np.abs(bound.prices))
    end = started + _SEARCH_SHARE * options.time_limit_s
    searcher = Searcher(pool, penalty, target, options, until=started + _REPAIR_SHARE * options.time_limit_s)
    best = _cheaper(searcher.first(), searcher.chosen())
    for groups, narrow in _neighbourhoods(len(parts.blocks), options.seed):
        improved = best is not None
        while improved and best is not None:
            if best.holds:
                searcher.until = end
            if searcher.late or searcher.done(best):
                return best
            before = best.merit
            best = _cheaper(searcher.better(best, groups, narrow=narrow), searcher.chosen())
            improved = best is not None and best.merit < before - 1e-9 * abs(before)
    return best


def _neighbourhoods(num_blocks: int, seed: int) -> Iterator[tuple[list[tuple[int, ...]], bool]]:
    """Groups of blocks to free together, in an order drawn once, and whether with few of their integers."""
    rng = np.random.default_rng(seed)
    for size, narrow in ((1, True), (2, True), (3, True), (1, False), (2, False), (3, False)):
        groups = list(combinations(range(num_blocks), min(size, num_blocks)))
        yield [groups[i] for i in rng.permutation(len(groups))], narrow


def _cheaper(one: Answer | None, other: Answer | None) -> Answer | None:
    found = [answer for answer in (one, other) if answer is not None]
    return min(found, key=lambda answer: answer.merit, default=None)


def _solution(parts: Parts, answer: Answer | None, bound: Bound | None, options: SolveOptions) -> Solution:
    value = bound.value if bound is not None and np.isfinite(bound.value) else None
    if answer is None or not answer.holds:
        return Solution("no_solution", None, value, None, None, 0.0)
    values = answer.values(parts)
    objective = float(parts.whole.cost @ values)
    return Solution(_outcome(objective, value, options), objective, value, values, None, 0.0)


def _better(known: Solution, found: Solution, options: SolveOptions) -> Solution:
    """The cheaper answer under the higher bound: both bounds are proven."""
    if found.outcome == "infeasible":
        return found
    bound = max((b for b in (known.bound, found.bound) if b is not None), default=None)
    answers = [s for s in (known, found) if s.objective is not None]
    if not answers:
        return replace(known, bound=bound)
    best = min(answers, key=lambda s: s.objective if s.objective is not None else np.inf)
    return replace(best, bound=bound, outcome=_outcome(best.objective, bound, options))


def _outcome(objective: float | None, bound: float | None, options: SolveOptions) -> Outcome:
    gap = relative_gap(objective, bound)
    return "optimal" if gap is not None and gap <= options.gap + 1e-9 else "feasible"
