from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner import sift
from planner.serving.model import formulate
from planner.solver import solve
from tests.planner.random_problems import EXACT, random_problem


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([1.0, 5.0, 50.0]), st.booleans(), st.sampled_from([0.01, 0.5, 1.5]))
def test_same_optimum_with_few_routing_columns(seed: int, rate: float, caps: bool, spread: float) -> None:
    problem = random_problem(seed, num_services=2, num_types=6, num_buckets=8, caps=caps, rate=rate)
    program = formulate(problem).program
    whole = solve(program, EXACT)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sift, "_WORTHWHILE", 0)
        patch.setattr(sift, "_SPREAD", spread)
        sifted = sift.solve_sifted(program, EXACT)
        narrow = sift.narrowed(program)
    assert sifted.outcome == whole.outcome
    if whole.objective is not None:
        assert sifted.objective == pytest.approx(whole.objective)
        if narrow is not None:
            relaxed = solve(narrow, EXACT)
            assert relaxed.bound is not None
            assert relaxed.bound <= whole.objective + 1e-6
            assert narrow.cost.size < 0.9 * program.cost.size + narrow.row_lower.size


def test_narrowed_declines_where_little_would_go() -> None:
    problem = random_problem(0, num_services=1, num_types=2, caps=False, rate=0.1)
    assert sift.narrowed(formulate(problem).program) is None
