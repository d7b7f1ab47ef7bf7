"""The program finds the true optimum, and its formulation is the one written down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pulp
import pytest
from hypothesis import given, settings

from planner.program import Program
from planner.serving.balance import balanced
from planner.serving.model import formulate
from planner.serving.optimise import optimise
from planner.serving.problem import Problem, ServiceNumbers, prices
from planner.solver import solve, write_lp
from planner.types import SolveOptions
from tests.oracle import carries, cheapest, instances_needed, within_limits
from tests.planner.serving.problems import offers, problem, service, shared_problems, single_gpu_problems

EXACT = SolveOptions(gap=0.0)
GOLDEN = Path(__file__).parent / "golden" / "serving.lp"


@settings(max_examples=60, deadline=None)
@given(single_gpu_problems())
def test_single_gpu_mix_is_optimal(asked: Problem) -> None:
    """The counts carry the traffic, cost what is claimed, and no cheaper counts carry it."""
    found = optimise(asked, EXACT)
    cost = found.solution.objective
    assert found.solution.outcome == "optimal"
    assert found.answer is not None
    assert cost is not None
    assert carries(asked.services[0], found.answer.replicas[0])
    assert cost == pytest.approx(float(found.answer.instances @ asked.per_instance), abs=1e-6)
    assert cheapest(asked, most=int(cost / asked.per_instance.min()), below=cost - 1e-6) is None


@settings(max_examples=60, deadline=None)
@given(shared_problems())
def test_shared_instances_and_limits_are_optimal(asked: Problem) -> None:
    """The answer is feasible by the oracle's own rules, and no dearer than any small combination of counts."""
    found = optimise(asked, EXACT)
    hosts = sum(int(s.hosts.sum()) for s in asked.services)
    expected = cheapest(asked, most={2: 4, 3: 4, 4: 3, 6: 2, 8: 1}.get(hosts, 1))
    if found.answer is None:
        assert found.solution.outcome == "infeasible"
        assert expected is None
        return
    replicas = list(found.answer.replicas)
    assert all(carries(s, n) for s, n in zip(asked.services, replicas, strict=True))
    needed = instances_needed(asked, replicas)
    assert needed is not None
    assert (needed <= found.answer.instances).all()
    assert within_limits(asked, replicas, found.answer.instances)
    assert found.solution.objective == pytest.approx(float(found.answer.instances @ asked.per_instance), abs=1e-6)
    if expected is not None:
        assert found.solution.objective <= expected + 1e-6


def test_replicas_share_whole_instances() -> None:
    """Three 2-GPU replicas of one service and a 2-GPU replica of another fill one 8-GPU instance, paid once."""
    table = offers([10.0], [8])
    a = service([3.0], [[1.0]], [[True]], [2])
    b = service([1.0], [[1.0]], [[True]], [2])
    found = optimise(problem([a, b], table), EXACT)
    assert found.solution.objective == 10.0
    assert found.answer is not None
    assert found.answer.instances.tolist() == [1]


def test_replicas_never_straddle_instances() -> None:
    """Two 4-GPU replicas do not fit on one 6-GPU instance, though 8 GPUs would fit on two by count alone."""
    found = optimise(problem([service([2.0], [[1.0]], [[True]], [4])], offers([1.0], [6])), EXACT)
    assert found.answer is not None
    assert found.answer.instances.tolist() == [2]


def test_replicas_larger_than_an_instance_take_whole_ones() -> None:
    found = optimise(problem([service([1.0], [[1.0]], [[True]], [16])], offers([5.0], [8])), EXACT)
    assert found.solution.objective == 10.0


def test_zero_traffic_rents_nothing() -> None:
    found = optimise(problem([service([], [[]], [[True]])], offers([1.0], [1])), EXACT)
    assert (found.solution.outcome, found.solution.objective) == ("optimal", 0.0)


def test_spares_keep_capacity_after_a_failure() -> None:
    found = optimise(problem([service([2.0], [[1.0]], [[True]], spare_replicas=1)], offers([1.0], [1])), EXACT)
    assert found.solution.objective == 3.0


def test_power_objective_counts_idle_and_active_power() -> None:
    table = offers([1.0, 1.0], [1, 4])
    asked = problem([service([1.0], [[1.0]], [[True, True]])], table)
    per_instance, per_active_w = prices("power", table)
    found = optimise(replace(asked, per_instance=per_instance, per_active_w=per_active_w), EXACT)
    assert found.solution.objective == 10.0 + 50.0


def test_goodput_fills_the_budget() -> None:
    """$7 buy three replicas at $2 of capacity 1.5 each; their utilisation limit of 0.8 leaves 3.6 requests/s."""
    asked = problem(
        [service([2.0], [[1.5]], [[True]], max_utilisation=0.8)], offers([2.0], [1]), budget_usd_per_hour=7.0
    )
    nothing = np.zeros(1)
    found = optimise(replace(asked, per_instance=nothing, per_active_w=nothing, goodput=True), EXACT)
    assert found.answer is not None
    assert found.answer.scale * 2.0 == pytest.approx(3.6)
    assert found.answer.replicas[0].sum() == 3


def test_tiny_shares_of_traffic_need_no_second_replica() -> None:
    """200 sizes, most of them rare: one replica of the cheapest unit carries all, and none is served by nothing."""
    rate = np.geomspace(1e-9, 0.1, 200)
    capacity = np.outer([1.0, 3.0], np.linspace(1.0, 4.0, 200))
    asked = problem(
        [service(rate.tolist(), capacity.tolist(), [[True, False], [False, True]])], offers([1.0, 2.0], [1, 1])
    )
    assert rate.sum() / capacity.min() > 1  # so that shares matter
    assert optimise(asked, EXACT).solution.objective == cheapest(asked, most=2)
    rare = problem([service([1e-9], [[1.0]], [[True]])], offers([1.0], [1]))
    assert optimise(rare, EXACT).solution.objective == 1.0


def test_integer_rates_are_numbers_like_any_other() -> None:
    """A tool that keeps integer matrices integer answers 0 GPUs for $0 here."""
    asked = problem([service([30.0], [[20], [40]], [[True, False], [False, True]])], offers([1.01, 3.67], [1, 1]))
    assert optimise(asked, EXACT).solution.objective == pytest.approx(2.02)


@settings(max_examples=40, deadline=None)
@given(shared_problems())
def test_balancing_keeps_the_counts_and_leaves_no_less_headroom(asked: Problem) -> None:
    found = optimise(asked, EXACT).answer
    if found is None:
        return
    better = balanced(asked, found, EXACT)
    for s, made in enumerate(asked.services):
        assert np.array_equal(better.replicas[s], found.replicas[s])
        usable = found.replicas[s].sum(axis=1) - made.spare_replicas

        def busiest(share: np.ndarray, made: ServiceNumbers = made, usable: np.ndarray = usable) -> float:
            work = np.where(share > 1e-7, share * made.load, 0.0).sum(axis=1)
            return float(np.max(work / np.maximum(usable, 1e-9), initial=0.0, where=work > 1e-5))

        assert busiest(better.share[s]) <= busiest(found.share[s]) + 1e-4
        assert better.share[s].sum(axis=0) == pytest.approx(np.ones(made.rate.size))
        spot = float((better.share[s][made.spot] @ made.rate).sum())
        assert spot <= made.max_spot_fraction * made.rate.sum() + 1e-6


def _golden_problem() -> Problem:
    return problem(
        [
            service([2.0, 1.0], [[1.0, 0.5], [3.0, 0.0]], [[True, True], [False, True]], [1, 2], spare_replicas=1),
            service([1.0], [[2.0], [2.0]], [[True, False], [False, True]], [1, 1], spot=[False, True],
                    max_spot_fraction=0.5, min_replicas=2),
        ],
        offers([1.5, 4.0], [1, 2]),
        budget_usd_per_hour=20.0, power_w=900.0, max_gpu_types=1,
    )  # fmt: skip


def test_formulation_is_the_golden_one(tmp_path: Path) -> None:
    """A changed formulation shows up here as a readable difference; the failure names the file to compare with."""
    written = tmp_path / "serving.lp"
    write_lp(formulate(_golden_problem(), names=True).program, written)
    assert written.read_text() == GOLDEN.read_text(), f"to accept the change, copy {written} to {GOLDEN}"


def test_another_solver_agrees() -> None:
    """PuLP with CBC finds the same optimum of the same program."""
    program: Program = formulate(_golden_problem()).program
    kinds = ["Integer" if flag else "Continuous" for flag in program.integer]
    bounds = [None if np.isinf(upper) else upper for upper in program.upper]
    columns = [
        pulp.LpVariable(f"v{j}", 0, bound, kind) for j, (bound, kind) in enumerate(zip(bounds, kinds, strict=True))
    ]
    other = pulp.LpProblem("serving", pulp.LpMinimize)
    other += pulp.lpDot(program.cost.tolist(), columns)
    for i, (lower, upper) in enumerate(zip(program.row_lower, program.row_upper, strict=True)):
        entries = np.flatnonzero(program.row == i)
        total = pulp.lpSum(program.value[k] * columns[program.column[k]] for k in entries)
        if np.isfinite(lower):
            other += total >= lower
        if np.isfinite(upper):
            other += total <= upper
    other.solve(pulp.PULP_CBC_CMD(msg=False))
    assert pulp.LpStatus[other.status] == "Optimal"
    assert solve(program, EXACT).objective == pytest.approx(pulp.value(other.objective))
