"""Whether both solvers work here: ``python -m planner.solver_trial`` solves one small program with each.

A process of its own, because versions that do not fit each other can end the process they are loaded in (DECISIONS.md,
"solver versions").
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

from planner.program import ProgramBuilder
from planner.types import SolveOptions

NUM_ITEMS, WEIGHT, LEAST = 4, 3, 7
"""The program: as few of 4 items of weight 3 as together weigh 7 or more. The answer is 3."""

ANSWER = 3.0


def trial() -> dict[str, str]:
    """What each solver came to: its version, or why it does not work."""
    return {f"HiGHS {version('highspy')}": _said(_with_highs()), f"CP-SAT {version('ortools')}": _said(_with_cp_sat())}


def _with_highs() -> float | None:
    from planner.solver import solve

    build = ProgramBuilder()
    items = build.columns("item", 1.0, count=NUM_ITEMS, upper=1.0, integer=True)
    build.entries(build.rows("weight", LEAST, float("inf")), items, WEIGHT)
    return solve(build.program(), SolveOptions(time_limit_s=10)).objective


def _with_cp_sat() -> float | None:
    from planner.constraint_solver import new_model, solve_constraints, weighted

    model = new_model()
    items = [model.new_bool_var(f"item {number}") for number in range(NUM_ITEMS)]
    model.add(weighted(items, [WEIGHT] * NUM_ITEMS) >= LEAST)
    model.minimize(weighted(items, [1] * NUM_ITEMS))
    return solve_constraints(model, items, SolveOptions(time_limit_s=10)).objective


def _said(objective: float | None) -> str:
    return "" if objective == ANSWER else f"says {objective} where the answer is {ANSWER}"


if __name__ == "__main__":
    sys.stdout.write(json.dumps(trial()))
