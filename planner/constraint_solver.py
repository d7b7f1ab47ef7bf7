"""The one place that runs OR-Tools CP-SAT and reads its status: for models of whole numbers and implications.

Beside ``planner.solver``, which runs programs as arrays. As there, a status is trusted only together with its bound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from planner.program import Ints
from planner.solver import relative_gap
from planner.types import Outcome, SolveOptions

if TYPE_CHECKING:
    from ortools.sat.python.cp_model import CpModel, IntVar, LinearExpr

SOLVER = "CP-SAT"


@dataclass(frozen=True, eq=False)
class Answer:
    """What CP-SAT proved. ``values`` of the variables asked for; None unless a feasible point was found."""

    outcome: Outcome
    objective: float | None
    bound: float | None
    values: Ints | None


def new_model() -> CpModel:
    """An empty model."""
    from ortools.sat.python import cp_model  # here, not above: a CLI call that solves nothing must not pay for it

    return cp_model.CpModel()


def weighted(variables: Sequence[IntVar], weights: Sequence[int]) -> LinearExpr:
    """Σ weight · variable."""
    from ortools.sat.python import cp_model

    return cp_model.LinearExpr.weighted_sum(variables, weights)


def solve_constraints(model: CpModel, variables: Sequence[IntVar], options: SolveOptions) -> Answer:
    """Solve ``model`` and read ``variables``. Never raises for infeasible or unfinished models: that is the outcome.

    Raises
    ------
    ValueError
        for a model that is not well formed: a defect of whoever formulated it.
    """
    from ortools.sat.python import cp_model

    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = options.time_limit_s
    solver.parameters.random_seed = options.seed
    solver.parameters.relative_gap_limit = options.gap
    solver.parameters.num_workers = 1  # equal inputs give equal answers; turns of several workers abort in ortools 9.15
    status = solver.solve(model)
    if status == cp_model.MODEL_INVALID:
        raise ValueError(model.validate())
    if status == cp_model.INFEASIBLE:
        return Answer("infeasible", None, None, None)
    if status == cp_model.UNKNOWN:  # its bound may be what the solver began with, and mean nothing
        return Answer("no_solution", None, None, None)
    bound = float(solver.best_objective_bound)
    objective = float(solver.objective_value)
    gap = relative_gap(objective, bound)
    proven = gap is not None and gap <= options.gap + 1e-9
    values = np.array([solver.value(variable) for variable in variables], dtype=np.int64)
    return Answer("optimal" if proven else "feasible", objective, bound, values)
