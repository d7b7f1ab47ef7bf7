"""What must hold between answers: more demand never costs less, more choice never costs more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.serving.dominance import without_dominated
from planner.serving.model import formulate
from planner.serving.optimise import optimise
from planner.serving.problem import Problem, ServiceNumbers
from planner.solver import solve
from planner.types import SolveOptions
from tests.planner.serving.problems import shared_problems, single_gpu_problems

EXACT = SolveOptions(gap=0.0)
few = settings(max_examples=40, deadline=None)


def cost(asked: Problem) -> float:
    """Least cost; infinite where nothing is feasible."""
    objective = optimise(asked, EXACT).solution.objective
    return float("inf") if objective is None else objective


def with_service(asked: Problem, change: ServiceNumbers) -> Problem:
    return replace(asked, services=(change, *asked.services[1:]))


@few
@given(shared_problems(), st.sampled_from([1.1, 2.0, 5.0]))
def test_more_demand_never_costs_less(asked: Problem, factor: float) -> None:
    first = asked.services[0]
    assert cost(with_service(asked, replace(first, rate=first.rate * factor))) >= cost(asked) - 1e-6


@few
@given(single_gpu_problems(max_offers=4))
def test_a_new_gpu_type_never_costs_more(asked: Problem) -> None:
    """The same question without the last offer, as if its GPU type did not exist."""
    hosts = asked.services[0].hosts.copy()
    hosts[:, -1] = False
    assert cost(asked) <= cost(asked.with_hosts((hosts,))) + 1e-6


@few
@given(single_gpu_problems(), st.sampled_from([1.2, 3.0]))
def test_a_looser_slo_never_costs_more(asked: Problem, factor: float) -> None:
    """A looser SLO can only raise what a replica sustains."""
    first = asked.services[0]
    looser = replace(first, capacity=first.capacity * factor)
    assert cost(with_service(asked, looser)) <= cost(asked) + 1e-6


@few
@given(single_gpu_problems(), st.floats(0.05, 0.95))
def test_splitting_a_service_never_costs_less(asked: Problem, fraction: float) -> None:
    whole = asked.services[0]
    parts = (replace(whole, rate=whole.rate * fraction), replace(whole, rate=whole.rate * (1 - fraction)))
    assert cost(replace(asked, services=parts)) >= cost(asked) - 1e-6


@few
@given(shared_problems())
def test_a_relaxed_limit_never_costs_more(asked: Problem) -> None:
    base = cost(asked)
    assert cost(replace(asked, caps=())) <= base + 1e-6
    assert cost(replace(asked, budget_usd_per_hour=None)) <= base + 1e-6
    assert cost(replace(asked, power_w=None)) <= base + 1e-6
    assert cost(replace(asked, max_gpu_types=None)) <= base + 1e-6


@few
@given(shared_problems())
def test_dropping_dominated_choices_changes_nothing(asked: Problem) -> None:
    full = solve(formulate(asked).program, EXACT)
    fewer = solve(formulate(without_dominated(asked)).program, EXACT)
    assert (full.outcome, full.objective is None) == (fewer.outcome, fewer.objective is None)
    if full.objective is not None and fewer.objective is not None:
        assert np.isclose(full.objective, fewer.objective, atol=1e-6)


@few
@given(shared_problems())
def test_equal_questions_give_equal_answers(asked: Problem) -> None:
    first, second = optimise(asked, EXACT), optimise(asked, EXACT)
    if first.answer is None or second.answer is None:
        assert first.answer is second.answer
        return
    for a, b in zip(first.answer.replicas, second.answer.replicas, strict=True):
        assert np.array_equal(a, b)
