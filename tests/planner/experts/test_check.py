"""The check finds what is wrong: plans are falsified one statement at a time."""

from __future__ import annotations

import numpy as np
import pytest

from planner.experts import PLANNER
from planner.experts.plan import ExpertsPlan
from profiles.types import Facts

COUNTS = np.random.default_rng(0).gamma(0.7, 1000, (3, 16)).astype(int) + 1


@pytest.fixture
def plan(plan_of) -> ExpertsPlan:
    return plan_of(
        topology={"gpus": 4, "nodes": 2, "slots_per_gpu": 5}, workloads=[{"counts": COUNTS.tolist()}], groups=4,
        max_off_home=0.3, dispatch="weighted",
    )  # fmt: skip


def broken(plan: ExpertsPlan, **changes) -> set[str]:
    found = PLANNER.check(plan.model_copy(update=changes), Facts())
    assert not found.passed
    return {violation.constraint for violation in found.violations}


def swapped(plan: ExpertsPlan, layer: int, slot: int, expert: int) -> tuple[tuple[int, ...], ...]:
    rows = [list(row) for row in plan.physical_to_logical_map]
    rows[layer][slot] = expert
    return tuple(map(tuple, rows))


def test_missing_expert_is_found(plan):
    single = plan.logical_replica_count[1].index(1)
    slot = plan.physical_to_logical_map[1].index(single)
    assert "every expert present" in broken(plan, physical_to_logical_map=swapped(plan, 1, slot, (single + 1) % 16))


def test_unknown_expert_missing_layer_and_missing_slots_are_found(plan):
    assert "experts" in broken(plan, physical_to_logical_map=swapped(plan, 0, 0, 16))
    assert "layers" in broken(plan, physical_to_logical_map=plan.physical_to_logical_map[:2])
    short = (plan.physical_to_logical_map[0][:-1], *plan.physical_to_logical_map[1:])
    assert "slots" in broken(plan, physical_to_logical_map=short)


def test_wrong_counts_are_found(plan):
    wrong = tuple(tuple(n + 1 for n in row) for row in plan.logical_replica_count)
    assert broken(plan, logical_replica_count=wrong) == {"replica count"}


@pytest.mark.parametrize(
    "field",
    [
        "balancedness",
        "cross_gpu_hops_per_token",
        "cross_node_hops_per_token",
        "off_home_share",
        "off_home_share_dispatched",
    ],
)
def test_wrong_figures_are_found(plan, field):
    assert field in broken(plan, **{field: getattr(plan, field) + 0.01})


def test_wrong_dispatch_is_found(plan):
    assert "dispatch" in broken(plan, balancedness_dispatched=0.5)
    first = plan.dispatch[0]
    doubled = first.model_copy(update={"share": tuple(2 * s for s in first.share)})
    assert "dispatch" in broken(plan, dispatch=(doubled, *plan.dispatch[1:]))


def test_wrong_homes_are_found(plan):
    assert "groups" in broken(plan, home_nodes=tuple(tuple(1 - n for n in row) for row in plan.home_nodes))
    assert "groups" in broken(plan, home_nodes=((0, 0, 0, 1), *plan.home_nodes[1:]))


def test_too_many_tokens_off_home_are_found(plan):
    assert plan.off_home_share > 0
    tight = plan.spec.model_copy(update={"max_off_home": 0.0})
    assert "max_off_home" in broken(plan, spec=tight)


def test_objective_and_bound_are_checked(plan):
    assert "objective" in broken(plan, objective=0.123)
    assert "bound" in broken(plan, bound=plan.balancedness - 0.01)


def test_memory_is_checked(plan):
    costs = plan.spec.costs.model_copy(update={"memory_gib_per_gpu": 0.1})
    assert "memory" in broken(plan, spec=plan.spec.model_copy(update={"costs": costs}))


def test_moves_are_checked(plan_of):
    topology = {"gpus": 4, "slots_per_gpu": 5}
    first = plan_of(topology=topology, workloads=[{"counts": COUNTS.tolist()}])
    current = {"physical_to_logical_map": first.physical_to_logical_map}
    plan = plan_of(topology=topology, workloads=[{"counts": COUNTS[:, ::-1].tolist()}], current=current, max_moves=4)
    assert "max_moves" in broken(plan, spec=plan.spec.model_copy(update={"max_moves": 1}))
    assert "moves_per_layer" in broken(plan, moves_per_layer=(0, 0, 0))


def test_load_cap_is_checked(plan_of):
    trace = np.random.default_rng(0).integers(0, 8, (500, 3, 1))
    plan = plan_of(topology={"gpus": 4, "slots_per_gpu": 2}, trace=trace.tolist(), num_experts=8, objective="fan_out",
                   max_load_excess=0.1)  # fmt: skip
    assert "load cap" in broken(plan, hottest_gpu_cap=tuple(0.9 for _ in plan.hottest_gpu_cap))


def test_a_plan_without_a_map_passes_only_empty(plan):
    assert broken(plan, outcome="no_solution") == {"outcome"}
    empty = plan.model_copy(update={"outcome": "no_solution", "physical_to_logical_map": ()})
    assert PLANNER.check(empty, Facts()).passed


def test_parts_of_the_wrong_shape_are_violations_not_crashes(plan):
    first, *rest = plan.dispatch
    for wrong in (
        {"layer": 99}, {"layer": -1}, {"slot": (99, *first.slot[1:])}, {"slot": (first.slot[1], *first.slot[1:])},
        {"share": first.share[1:]}, {"layer": rest[0].layer},
    ):  # fmt: skip
        assert broken(plan, dispatch=(first.model_copy(update=wrong), *rest)) == {"dispatch"}
    assert broken(plan, dispatch=()) == {"dispatch"}
    assert broken(plan, workloads=()) == {"workloads"}
    assert broken(plan, dense_layers=(0,)) == {"dense_layers"}
    assert broken(plan, baselines={}) == {"baselines"}
    assert broken(plan, hottest_gpu_cap=(1.0,)) == {"load cap"}
    assert broken(plan, home_nodes=()) == {"groups"}
    assert broken(plan, home_nodes=((9, 0, 1, 1), *plan.home_nodes[1:])) == {"groups"}


def test_wrong_time_gap_and_migration_are_found(plan, plan_of):
    assert broken(plan, seconds_per_step=2 * plan.seconds_per_step) == {"seconds_per_step"}
    assert broken(plan, gap=plan.gap + 0.1) == {"gap"}
    assert broken(plan, bound=None) == {"gap"}
    wrong = plan.workloads[0].model_copy(update={"balancedness_dispatched": 0.5})
    assert broken(plan, workloads=(wrong,)) == {"dispatch"}
    current = {"physical_to_logical_map": plan.physical_to_logical_map}
    moved = plan_of(topology={"gpus": 4, "slots_per_gpu": 5}, workloads=[{"counts": COUNTS.tolist()}], current=current)
    assert broken(moved, moved_gib=moved.moved_gib + 1) == {"moved_gib"}


@pytest.mark.parametrize("matrix", [None, [[0, 400, 40, 40], [400, 0, 40, 40], [40, 40, 0, 300], [40, 40, 300, 0]]])
def test_time_is_recomputed_from_routing_and_links(plan_of, matrix):
    trace = np.random.default_rng(0).integers(0, 8, (500, 3, 2))
    topology = {"gpus": 4, "nodes": 2, "slots_per_gpu": 3, "gb_per_s": matrix}
    plan = plan_of(topology=topology, trace=trace.tolist(), num_experts=8, objective="time")
    assert "seconds_per_step" in broken(plan, seconds_per_step=1.001 * plan.seconds_per_step)
