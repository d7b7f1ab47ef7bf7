"""Which pattern of servers hangs on which phase, as a constraint program.

Sets:        r  rows;  p  patterns on the menu of r's kind, the empty one among them;  g  groups;  l  limits
Parameters:  count[p, g] servers;  full[r, p] load at risk of a phase with p over its budget;  average[p] W
Variables:   n[r, p] ∈ {0, …, phases[r]}  phases of r with pattern p;   on[r, p] ∈ {0, 1}  whether there are any
             u  the fullest budget's load over the budget, in units of 1 / SCALE
Minimise     u, everything being placed;   or maximise Σ servers placed, u ≤ 1
subject to   Σ_p n[r, p] = phases[r]                                                  every r
             Σ_{p, g} count[p, g] · n[r, p] ≤ slots[r]                                every r
             Σ_{r, p} count[p, g] · n[r, p] = asked[g]  (≤ where not all fit)         every g
             full[r, p] ≤ u                           where on[r, p]
             average[p] ≤ (1 + max_imbalance) · Σ_q average[q] · n[r, q] / phases[r]  where on[r, p]
             Σ_{r, g} watts[l, r, g] · Σ_p count[p, g] · n[r, p] ≤ u · budget[l] + spare[l]     every l

Phases are interchangeable, so that only how many have a pattern counts; rows of a kind are ordered by their average
load. Limits are planes for the chance constraints of feeds, PDUs and rows; those of phases are exact in ``full``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from planner.constraint_solver import new_model, solve_constraints, weighted
from planner.power.feeds.problem import Kind, Patterns, Problem
from planner.program import Floats, Ints
from planner.types import SolveOptions

if TYPE_CHECKING:
    from ortools.sat.python.cp_model import CpModel, IntVar, LinearExpr

SCALE = 100_000
"""Whole numbers for fractions of budgets: to 0.001%."""

FINER = 1_000
"""Single servers are weighed so much finer: rounding 2,000 of them up must not add up."""

EMPTY = 0
"""The first pattern of every menu: no servers."""

MILLIWATTS = 1_000
"""Whole numbers for average watts: fine enough that balance is kept to a ten-millionth."""


@dataclass(frozen=True, eq=False)
class Limit:
    """``Σ watts · servers ≤ u · budget_w + spare_w``, with ``watts`` (R, G)."""

    watts: Floats
    budget_w: float
    spare_w: float


@dataclass(frozen=True, eq=False)
class Assigned:
    """``phases``: per row the counts (phases, G), None if nothing was found; ``fullest`` budget, as limits see it.

    ``bound``: of the fullest budget or of the number of servers, over these menus and limits.
    """

    phases: tuple[Ints, ...] | None
    bound: float | None
    fullest: float


def assign(
    problem: Problem,
    menus: Sequence[Patterns],
    limits: Sequence[Limit],
    options: SolveOptions,
    *,
    guesses: Sequence[Ints],
    everything: bool,
    bound: float,
    fraction: float,
) -> Assigned:
    """The best use of the ``menus``, one per kind of rows.

    With ``everything``, all that is asked is placed and the fullest budget is as empty as can be: at least ``bound``,
    which is proven, and at most ``fraction``. Without, as many servers as possible are placed, at most ``bound``.
    ``guesses``: per row, the numbers of the patterns on its phases to begin from; they need not hold.
    """
    model = new_model()
    fullest = model.new_int_var(math.floor(bound * SCALE) if everything else 0, math.ceil(fraction * SCALE), "u")
    used, held = [], {}
    for kind, menu in zip(problem.kinds, menus, strict=True):
        drawn = []
        for r in kind.rows.tolist():
            n = [model.new_int_var(0, kind.num_phases, f"n_{r}_{p}") for p in range(len(menu.counts))]
            held[r] = [weighted(n, column) for column in menu.counts.T.tolist()]
            model.add(sum(n) == kind.num_phases)
            if kind.together > 1:
                model.add(n[EMPTY] == kind.together * model.new_int_var(0, kind.num_phases // kind.together, "empty"))
            model.add(weighted(n, menu.counts.sum(axis=1).tolist()) <= kind.slots)
            drawn.append(_patterned(model, problem, kind, menu, n, fullest))
            for count, guess in zip(n, np.bincount(guesses[r], minlength=len(n)).tolist(), strict=True):
                model.add_hint(count, guess)
            used += n
        for before, after in pairwise(drawn):
            model.add(before >= after)
    for limit in limits:
        _obey(model, limit, held, fullest)
    _aim(model, problem, held, fullest, everything=everything, bound=bound)
    answer = solve_constraints(model, used, options)
    if answer.values is None or answer.objective is None or answer.bound is None:
        return Assigned(None, None, fraction)
    phases = _phases(problem, menus, answer.values)
    if not everything:
        return Assigned(phases, answer.bound, fraction)
    return Assigned(phases, (answer.bound - 1) / SCALE, answer.objective / SCALE)  # loads were rounded up by up to 1


def _aim(
    model: CpModel, problem: Problem, held: dict[int, list[LinearExpr]], fullest: IntVar, *, everything: bool,
    bound: float,
) -> None:  # fmt: skip
    """Place all that is asked and minimise the fullest budget, or place as many as possible."""
    totals = [sum(expressions[g] for expressions in held.values()) for g in range(problem.asked.size)]
    for total, asked in zip(totals, problem.asked.tolist(), strict=True):
        model.add(total == asked if everything else total <= asked)
    if everything:
        model.minimize(fullest)
    else:
        model.add(sum(totals) <= math.floor(bound + 1e-6))
        model.maximize(sum(totals))


def _patterned(
    model: CpModel, problem: Problem, kind: Kind, menu: Patterns, n: list[IntVar],
    fullest: IntVar,
) -> LinearExpr:  # fmt: skip
    """What follows from the patterns that a row uses: its fullest phase, its balance. Returns its average load."""
    average = menu.counts @ np.round(problem.crowd.average_w * MILLIWATTS).astype(np.int64)
    drawn = weighted(n, average.tolist())
    fullness = np.ceil(menu.load_w / kind.phase_w * SCALE - 1e-3).astype(np.int64)
    for count, full, pattern in zip(n, fullness.tolist(), average.tolist(), strict=True):
        on = model.new_bool_var("")
        model.add(count <= kind.num_phases * on)
        model.add(fullest >= full * on)
        if kind.max_imbalance is not None:
            most = round((1 + kind.max_imbalance) * SCALE)
            model.add(most * drawn >= SCALE * kind.num_phases * pattern).only_enforce_if(on)
    return drawn


def _obey(model: CpModel, limit: Limit, held: dict[int, list[LinearExpr]], fullest: IntVar) -> None:
    # Rounded down: planes bound from below, and whether a placement holds is judged without them.
    per_server = np.floor(limit.watts / limit.budget_w * FINER * SCALE).astype(np.int64).tolist()
    carried = sum(
        part * expression
        for r, parts in enumerate(per_server)
        for part, expression in zip(parts, held[r], strict=True)
        if part
    )
    model.add(carried <= FINER * fullest + math.ceil(limit.spare_w / limit.budget_w * FINER * SCALE))


def _phases(problem: Problem, menus: Sequence[Patterns], values: Ints) -> tuple[Ints, ...]:
    phases: list[Ints] = [np.zeros((0, 0), dtype=np.int64)] * problem.num_rows
    start = 0
    for kind, menu in zip(problem.kinds, menus, strict=True):
        for r in kind.rows.tolist():
            end = start + len(menu.counts)
            phases[r] = np.repeat(menu.counts, values[start:end], axis=0)
            start = end
    return tuple(phases)
