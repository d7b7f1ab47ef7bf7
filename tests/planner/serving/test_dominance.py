from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.serving.dominance import without_dominated
from planner.serving.model import formulate
from planner.serving.problem import Problem
from planner.solver import solve
from tests.planner.random_problems import EXACT, random_problem


def optimum(problem: Problem) -> float | None:
    return solve(formulate(problem).program, EXACT).objective


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.booleans(), st.sampled_from([0.5, 2.0, 5.0]))
def test_same_optimum_with_and_without(seed: int, caps: bool, packed: bool, rate: float) -> None:
    problem = random_problem(seed, num_services=2, num_types=4, caps=caps, packed=packed, rate=rate)
    best = optimum(problem)
    assert optimum(without_dominated(problem)) == (None if best is None else pytest.approx(best))


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from(["budget", "types", "spares", "minimum", "spot"]))
def test_same_optimum_under_limits(seed: int, limit: str) -> None:
    problem = random_problem(seed, num_services=2, num_types=4, caps=False, rate=2.0)
    services = list(problem.services)
    if limit == "budget":
        problem = replace(problem, budget_usd_per_hour=(optimum(problem) or 0) * 1.01)
    elif limit == "types":
        problem = replace(problem, max_gpu_types=1)
    elif limit == "spares":
        problem = replace(problem, services=tuple(replace(s, spare_replicas=1) for s in services))
    elif limit == "minimum":
        problem = replace(problem, services=tuple(replace(s, min_replicas=3) for s in services))
    else:
        spot = np.array([True, True, False, False])
        problem = replace(problem, services=tuple(replace(s, spot=spot, max_spot_fraction=0.3) for s in services))
    best = optimum(problem)
    assert optimum(without_dominated(problem)) == (None if best is None else pytest.approx(best))


def test_a_dearer_copy_is_dropped() -> None:
    problem = random_problem(1, num_types=2, caps=False)
    capacity = [np.tile(service.capacity[:1] + 0.1, (2, 1)) for service in problem.services]
    services = tuple(replace(s, capacity=c) for s, c in zip(problem.services, capacity, strict=True))
    prices = np.array([2.0, 1.0])
    offers = replace(problem.offers, usd_per_hour=prices)
    reduced = without_dominated(replace(problem, services=services, offers=offers, per_instance=prices))
    assert all(service.hosts.any(axis=1).tolist() == [False, True] for service in reduced.services)
