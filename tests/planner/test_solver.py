from __future__ import annotations

import ctypes
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from planner.program import Program, ProgramBuilder
from planner.quiet import quiet_stdout
from planner.solver import relative_gap, solve, write_lp
from planner.types import SolveOptions


def knapsacks(count: int, rows: int, seed: int = 0) -> Program:
    """A covering program that takes long: many integers, many rows."""
    rng = np.random.default_rng(seed)
    builder = ProgramBuilder()
    x = builder.columns("x", rng.uniform(10, 20, count), count=count, upper=1.0, integer=True)
    for _ in range(rows):
        weight = rng.integers(10, 99, count).astype(float)
        builder.entries(builder.rows("cover", weight.sum() / 3, np.inf), x, weight)
    return builder.program()


def one_integer(lower: float, upper: float) -> Program:
    builder = ProgramBuilder()
    x = builder.columns("x", 3.0, count=1, upper=10.0, integer=True)
    builder.entries(builder.rows("need", lower, upper), x, 2.0)
    return builder.program(names=True)


def test_optimal_with_its_bound() -> None:
    solution = solve(one_integer(5.0, np.inf), SolveOptions())
    assert (solution.outcome, solution.objective, solution.gap) == ("optimal", 9.0, 0.0)


def test_infeasible_is_an_outcome() -> None:
    solution = solve(one_integer(21.0, np.inf), SolveOptions())
    assert (solution.outcome, solution.objective, solution.values) == ("infeasible", None, None)
    assert solve(one_integer(5.0, 5.0), SolveOptions()).outcome == "infeasible"  # feasible but for integrality


def test_empty_program() -> None:
    assert solve(ProgramBuilder().program(), SolveOptions()).outcome == "optimal"
    builder = ProgramBuilder()
    builder.rows("impossible", 1.0, 1.0)
    assert solve(builder.program(), SolveOptions()).outcome == "infeasible"


@pytest.mark.parametrize("limit", [{"time_limit_s": 0.3}, {"time_limit_s": 1e-6}])
def test_a_solve_stopped_by_time_tells_what_it_proved(limit: dict[str, float]) -> None:
    solution = solve(knapsacks(120, 40), SolveOptions(gap=0.0, **limit))
    assert solution.outcome in ("feasible", "no_solution")
    if solution.outcome == "feasible":
        assert solution.objective is not None
        assert solution.bound is None or solution.bound <= solution.objective
        assert solution.gap is None or solution.gap > 0
    else:
        assert solution.values is None
        assert solution.objective is None


def test_a_solve_stopped_by_nodes_is_feasible_with_bound_and_gap() -> None:
    solution = solve(knapsacks(120, 40), SolveOptions(gap=0.0), max_nodes=1)
    assert solution.outcome == "feasible"
    assert solution.bound is not None
    assert solution.objective is not None
    assert 0 < solution.bound < solution.objective
    assert solution.gap is not None
    assert solution.gap > 1e-4


def test_target_and_start() -> None:
    program = knapsacks(40, 5)
    best = solve(program, SolveOptions(gap=0.0))
    assert best.values is not None
    assert best.objective is not None
    enough = solve(program, SolveOptions(gap=0.0), target=1.1 * best.objective)
    assert enough.objective is not None
    assert enough.objective <= 1.1 * best.objective
    again = solve(program, SolveOptions(gap=0.0), start=best.values, max_nodes=0)
    assert again.objective == pytest.approx(best.objective)


def test_duals_of_a_linear_program() -> None:
    builder = ProgramBuilder()
    x = builder.columns("x", 3.0, count=1)
    builder.entries(builder.rows("need", 5.0, np.inf), x, 2.0)
    solution = solve(builder.program(), SolveOptions())
    assert solution.row_duals == pytest.approx([1.5])


def test_equal_seeds_give_equal_answers() -> None:
    one, other = (solve(knapsacks(30, 4), SolveOptions(seed=7)).values for _ in range(2))
    assert one is not None
    assert np.array_equal(one, other)


def test_relative_gap() -> None:
    assert relative_gap(None, 1.0) is None
    assert relative_gap(0.0, 0.0) == 0.0
    assert relative_gap(10.0, 9.0) == pytest.approx(0.1)


def test_what_the_solver_prints_stays_out_of_stdout(capfd: pytest.CaptureFixture[str]) -> None:
    libc = ctypes.CDLL(None)
    with quiet_stdout():
        libc.puts(b"chatter of a C library")
        with quiet_stdout():  # another thread
            libc.puts(b"more of it")
    print("ours")
    assert capfd.readouterr().out == "ours\n"


def test_write_lp(tmp_path) -> None:
    write_lp(one_integer(5.0, np.inf), tmp_path / "one.lp")
    assert "need" in (tmp_path / "one.lp").read_text()


HIGHS = """
import pulp
program = pulp.LpProblem("p", pulp.LpMinimize)
x = pulp.LpVariable("x", 0, 9, cat="Integer")
program += 3 * x
program += 2 * x >= 5
program.solve(pulp.HiGHS(msg=False))
assert x.value() == 3
"""
ORTOOLS = """
from ortools.math_opt.python import mathopt
model = mathopt.Model()
v = model.add_integer_variable(lb=0, ub=9)
model.add_linear_constraint(2 * v >= 5)
model.minimize(3 * v)
for kind in (mathopt.SolverType.HIGHS, mathopt.SolverType.CP_SAT):
    assert round(mathopt.solve(model, kind).objective_value()) == 9
"""


@pytest.mark.parametrize("script", [HIGHS + ORTOOLS, ORTOOLS + HIGHS], ids=["highspy first", "ortools first"])
def test_highspy_and_ortools_live_in_one_process(script: str) -> None:
    """Newer highspy breaks the HiGHS inside OR-Tools, and only in one order (DECISIONS.md, "solver versions")."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
