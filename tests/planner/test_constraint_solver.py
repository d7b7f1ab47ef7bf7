"""CP-SAT's status, read with its bound."""

from __future__ import annotations

from planner.constraint_solver import new_model, solve_constraints, weighted
from planner.types import SolveOptions


def test_an_optimum_is_proven_and_read() -> None:
    model = new_model()
    x, y = model.new_int_var(0, 10, "x"), model.new_int_var(0, 10, "y")
    model.add(weighted([x, y], [3, 5]) <= 29)
    model.maximize(weighted([x, y], [2, 3]))
    answer = solve_constraints(model, [x, y], SolveOptions())
    best = max(2 * a + 3 * b for a in range(11) for b in range(11) if 3 * a + 5 * b <= 29)
    assert (answer.outcome, answer.objective, answer.bound) == ("optimal", best, best)
    assert answer.values is not None
    assert answer.values @ [2, 3] == best


def test_what_cannot_be_is_infeasible() -> None:
    model = new_model()
    x = model.new_int_var(0, 10, "x")
    model.add(2 * x == 7)
    assert solve_constraints(model, [x], SolveOptions()).outcome == "infeasible"


def test_a_gap_that_is_allowed_counts_as_proven() -> None:
    model = new_model()
    x = model.new_int_var(90, 100, "x")
    model.minimize(x)
    answer = solve_constraints(model, [x], SolveOptions(gap=0.5))
    assert answer.outcome == "optimal"
    assert answer.bound is not None
    assert answer.bound >= 90
