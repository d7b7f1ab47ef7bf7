"""The one place that runs a mixed-integer solver and reads its status.

Planners describe a ``Program`` as plain arrays; building it must stay cheap, because on small instances a
modelling layer costs more than the solve (DECISIONS.md, "no modelling layer between arrays and HiGHS").
A status is trusted only together with its bound: a solver that stopped at its limit may still say "optimal".
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from planner.program import Floats, Program
from planner.quiet import quiet_stdout
from planner.types import Outcome, SolveOptions

SOLVER = "HiGHS"

# HiGHS restarts and sub-MIP heuristics (RINS, RENS, reduced-cost fixing, feasibility jump) cost more than they find on
# our programs, where few integers carry all the cost: without them the median solve takes half the time
# (benchmarks/serving_against_melange.py). Trial branchings do not pay either. From a few thousand columns on, one
# per integer does, and rounding within a sub-MIP (RENS): they halve the tree (benchmarks/serving_scale.py).
_FAST = {
    "mip_heuristic_run_rins": False,
    "mip_heuristic_run_rens": False,
    "mip_heuristic_run_root_reduced_cost": False,
    "mip_heuristic_run_feasibility_jump": False,
    "mip_heuristic_effort": 0.01,
    "mip_allow_restart": False,
    "mip_detect_symmetry": False,
    "mip_pscost_minreliable": 0,
}
_LARGE = {"mip_heuristic_run_rens": True, "mip_heuristic_effort": 0.05, "mip_pscost_minreliable": 1}
_LARGE_COLUMNS = 2_000


@dataclass(frozen=True)
class Solution:
    """What a solver proved. ``values`` is None unless a feasible point was found; ``bound`` is always proven.

    ``row_duals`` are there for programs without integers: the change of the optimum per unit of a row's limit.
    """

    outcome: Outcome
    objective: float | None
    bound: float | None
    values: Floats | None
    row_duals: Floats | None
    seconds: float

    @property
    def gap(self) -> float | None:
        """Proven relative gap; None without an objective or a bound."""
        return relative_gap(self.objective, self.bound)


def relative_gap(objective: float | None, bound: float | None) -> float | None:
    """|objective − bound| / |objective|; 0 where both are 0, None where either is unknown."""
    if objective is None or bound is None:
        return None
    difference = abs(objective - bound)
    if difference <= 1e-9:
        return 0.0
    return difference / max(abs(objective), 1e-9)


def solve(
    program: Program,
    options: SolveOptions,
    *,
    start: Floats | None = None,
    target: float | None = None,
    max_nodes: int | None = None,
) -> Solution:
    """Solve with HiGHS, on one thread so that equal inputs give equal answers.

    Never raises for infeasible or unfinished programs: that is the outcome.

    Parameters
    ----------
    start : [columns] a feasible point to begin from.
    target : stop at the first answer that costs no more.
    max_nodes : stop after so many nodes of the tree: unlike a time limit, the same on every machine.
    """
    started = time.perf_counter()
    if not program.cost.size:
        holds = bool(np.all(program.row_lower <= 0) and np.all(program.row_upper >= 0))
        outcome: Outcome = "optimal" if holds else "infeasible"
        return Solution(outcome, 0.0 if holds else None, 0.0 if holds else None, np.zeros(0), None, 0.0)
    highs = _load(program)
    for name, value in {
        **_FAST,
        **(_LARGE if program.cost.size >= _LARGE_COLUMNS else {}),
        "mip_rel_gap": options.gap,
        "mip_abs_gap": 1e-9,
        "random_seed": options.seed,
        "time_limit": options.time_limit_s,
        **({} if target is None else {"objective_target": target}),
        **({} if max_nodes is None else {"mip_max_nodes": max_nodes}),
    }.items():
        highs.setOptionValue(name, value)
    if start is not None:
        _begin_at(highs, start)
    with quiet_stdout():
        highs.run()
    return _read(highs, program, options, time.perf_counter() - started)


def write_lp(program: Program, path: Path) -> None:
    """Write the program as an ``.lp`` file, for people who want to read a formulation."""
    _load(program).writeModel(str(path))


def _load(program: Program):  # type: ignore[no-untyped-def]  # highspy ships no types
    import highspy  # here, not above: a CLI call that solves nothing must not pay for the solver

    order = np.lexsort((program.row, program.column))
    num_columns = program.cost.size
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = num_columns, program.row_lower.size
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = program.cost, program.lower, program.upper
    lp.row_lower_, lp.row_upper_ = program.row_lower, program.row_upper
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.searchsorted(program.column[order], np.arange(num_columns + 1))
    lp.a_matrix_.index_ = program.row[order]
    lp.a_matrix_.value_ = program.value[order]
    if program.integer.any():
        kinds = (highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger)
        lp.integrality_ = [kinds[flag] for flag in program.integer.tolist()]
    if program.row_names:
        lp.row_names_ = list(program.row_names)
    if program.column_names:
        lp.col_names_ = list(program.column_names)
    highs = highspy.Highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.passModel(lp)
    return highs


def _begin_at(highs, start: Floats) -> None:  # type: ignore[no-untyped-def]
    import highspy

    point = highspy.HighsSolution()
    point.col_value = start.tolist()
    highs.setSolution(point)


def _read(highs, program: Program, options: SolveOptions, seconds: float) -> Solution:  # type: ignore[no-untyped-def]
    import highspy

    status = highs.getModelStatus()
    info = highs.getInfo()
    proven_infeasible = (highspy.HighsModelStatus.kInfeasible, highspy.HighsModelStatus.kUnboundedOrInfeasible)
    if status in proven_infeasible:
        return Solution("infeasible", None, None, None, None, seconds)
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    is_mip = bool(program.integer.any())
    if is_mip:
        bound = info.mip_dual_bound if math.isfinite(info.mip_dual_bound) else None
    else:
        bound = info.objective_function_value if status == highspy.HighsModelStatus.kOptimal else None
    if not found:
        return Solution("no_solution", None, bound, None, None, seconds)
    solution = highs.getSolution()
    values = np.array(solution.col_value)
    values[program.integer] = np.round(values[program.integer])
    duals = None if is_mip else np.array(solution.row_dual)
    objective = float(program.cost @ values)
    gap = relative_gap(objective, bound)
    proven = gap is not None and gap <= options.gap + 1e-9
    return Solution("optimal" if proven else "feasible", objective, bound, values, duals, seconds)
