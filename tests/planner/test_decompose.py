from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.decompose import is_worthwhile, solve_decomposed
from planner.serving.model import formulate
from planner.serving.problem import Cap
from planner.solver import solve
from planner.types import SolveOptions
from tests.planner.random_problems import EXACT, brute_force, random_problem

TIGHT = SolveOptions(gap=1e-6, time_limit_s=20)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000))
def test_optimal_against_brute_force(seed: int) -> None:
    program = formulate(random_problem(seed, num_types=2, num_buckets=2, rate=0.4)).program
    best = brute_force(program, most=4)  # at most 0.8 requests/s, and every replica in use does 0.2
    found = solve_decomposed(program, TIGHT)
    assert found.outcome == ("infeasible" if best is None else "optimal")
    assert found.objective == (None if best is None else pytest.approx(best))


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_same_as_tree_search_on_the_whole(seed: int, packed: bool) -> None:
    """``packed``: several services share 8-GPU nodes, so that instances are integer columns of no block."""
    program = formulate(random_problem(seed, num_services=4, num_types=3, packed=packed, rate=2.0)).program
    whole, parts = solve(program, EXACT), solve_decomposed(program, TIGHT)
    assert parts.outcome == whole.outcome
    if whole.objective is not None:
        assert parts.objective == pytest.approx(whole.objective, rel=1e-5)
        assert parts.bound is not None
        assert parts.bound <= whole.objective * (1 + 1e-6)


def test_answer_keeps_every_row() -> None:
    program = formulate(random_problem(3, num_services=6, num_types=4, packed=True, rate=3.0)).program
    found = solve_decomposed(program, SolveOptions(gap=5e-3, time_limit_s=20))
    assert found.values is not None
    use = np.bincount(program.row, program.value * found.values[program.column], program.row_lower.size)
    assert (use >= program.row_lower - 1e-6).all()
    assert (use <= program.row_upper + 1e-6).all()
    assert np.array_equal(found.values[program.integer], np.round(found.values[program.integer]))


@pytest.mark.parametrize("limit", [0.05, 2.0], ids=["relaxation infeasible", "only integers infeasible"])
def test_infeasible_is_proven(limit: float) -> None:
    problem = random_problem(5, num_services=3, caps=False, rate=0.3)
    total = Cap("all", np.ones(problem.offers.gpus.size), limit)  # each of the 3 services needs an instance
    found = solve_decomposed(formulate(replace(problem, caps=(total,))).program, TIGHT)
    assert (found.outcome, found.values) == ("infeasible", None)


def test_equal_seeds_give_equal_answers() -> None:
    program = formulate(random_problem(11, num_services=5, num_types=5, rate=3.0)).program
    one, other = (solve_decomposed(program, SolveOptions(gap=1e-3, seed=3)).values for _ in range(2))
    assert one is not None
    assert np.array_equal(one, other)


def test_time_limit_holds_and_the_outcome_is_honest() -> None:
    problem = random_problem(2, num_services=8, num_types=24, num_buckets=30, rate=20.0)
    program = formulate(problem).program
    assert is_worthwhile(program)
    started = time.perf_counter()
    found = solve_decomposed(program, SolveOptions(gap=0.0, time_limit_s=1.5))
    assert time.perf_counter() - started < 3.0  # 10% and the breath of a busy machine
    assert found.outcome in ("feasible", "no_solution", "optimal")
    if found.objective is not None and found.bound is not None:
        assert found.bound <= found.objective * (1 + 1e-9)


def test_small_programs_are_not_worth_it() -> None:
    assert not is_worthwhile(formulate(random_problem(0)).program)
