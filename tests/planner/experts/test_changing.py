"""Placements under change: re-planning within a budget, group-local placement, several workloads, dispatch."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.clock import Clock
from planner.experts.balance import balance, scaled
from planner.experts.dispatch import best_dispatch
from planner.experts.eplb import greedy_global
from planner.experts.grouplocal import away_from, place_group_local
from planner.experts.measure import balancedness, gpu_loads
from planner.experts.placement import even_share, held_of, keep_in_place, num_moves, slots_of
from planner.experts.replan import relabelled, replan
from planner.experts.robust import place_robustly, scenarios


def loads(workloads: int, layers: int = 4, experts: int = 32, gpus: int = 8, seed: int = 0) -> np.ndarray:
    """[W, L, E] scaled loads that share a common part."""
    rng = np.random.default_rng(seed)
    common = rng.gamma(0.7, 1.0, (1, layers, experts))
    return scaled(common * rng.lognormal(0, 0.4, (workloads, layers, experts)), gpus)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 12), st.integers(0, 1000))
def test_replan_keeps_its_budget_and_never_gets_worse(budget, seed):
    load = loads(2, layers=2, seed=seed)
    start = held_of(balance(load[0], 8, 40).expert, 32, 8)
    held = replan(load[1:], start, budget, Clock(10))
    assert num_moves(held, start).max() <= budget
    assert (held.sum(axis=1) == 5).all()
    assert (held.sum(axis=2) >= 1).all()
    before, after = (gpu_loads(load[1:], even_share(x)).max(axis=2) for x in (start, held))
    assert (after <= before + 1e-9).all()


def test_more_moves_buy_more_balance():
    load = loads(2)
    start = held_of(balance(load[0], 8, 40).expert, 32, 8)
    reached = [balancedness(load[1:], even_share(replan(load[1:], start, n, Clock(10))))[0] for n in (0, 2, 6, 20)]
    assert reached == sorted(reached)
    assert reached[-1] > 0.97


def test_relabelling_undoes_a_renaming_of_gpus():
    start = held_of(balance(loads(1)[0], 8, 40).expert, 32, 8)
    order = np.array([5, 4, 7, 6, 1, 0, 3, 2])  # whole nodes of two GPUs are exchanged
    assert num_moves(relabelled(start[:, :, order], start, 4), start).sum() == 0


def test_copies_that_stay_keep_their_slots():
    start = np.array([[0, 1, 2, 3]])
    held = held_of(np.array([[1, 0, 4, 2]]), 5, 2)
    assert keep_in_place(slots_of(held), start, 2).tolist() == [[0, 1, 2, 4]]


def test_plan_within_moves(plan_of, skewed):
    topology = {"gpus": 4, "slots_per_gpu": 5}
    first = plan_of(topology=topology, workloads=[{"counts": skewed.tolist()}])
    current = {"physical_to_logical_map": first.physical_to_logical_map}
    other = [{"counts": skewed[:, ::-1].tolist()}]
    moved = plan_of(topology=topology, workloads=other, current=current, max_moves=3)
    assert max(moved.moves_per_layer) <= 3
    assert moved.moved_gib == pytest.approx(sum(moved.moves_per_layer) * 0.041)
    still = plan_of(topology=topology, workloads=other, current=current, max_moves=0)
    assert still.physical_to_logical_map == first.physical_to_logical_map
    assert still.balancedness < moved.balancedness
    fresh = plan_of(topology=topology, workloads=[{"counts": skewed.tolist()}], current=current)
    assert sum(fresh.moves_per_layer) == 0


@settings(max_examples=12, deadline=None)
@given(st.sampled_from([0.0, 0.05, 0.15, 1.0]), st.integers(0, 1000))
def test_group_local_keeps_experts_at_home_and_the_cap(cap, seed):
    load = loads(1, layers=3, seed=seed)
    placed = place_group_local(load, np.ones(1), 4, 40, 8, cap, Clock(20))
    away = away_from(placed.home, 8, 4)
    assert ((placed.held * ~away).sum(axis=2) >= 1).all()
    assert (placed.held.sum(axis=1) == 5).all()
    assert placed.off_home.mean() <= cap + 1e-9
    for layer in placed.home.reshape(3, 8, 4):
        assert (layer == layer[:, :1]).all()
        assert (np.bincount(layer[:, 0]) == 2).all()


def test_group_local_beats_the_hierarchical_greedy(plan_of):
    counts = np.random.default_rng(0).gamma(0.6, 1000, (3, 32)).astype(int) + 1
    fields = {"topology": {"gpus": 8, "nodes": 4, "slots_per_gpu": 5}, "workloads": [{"counts": counts.tolist()}],
              "groups": 8}  # fmt: skip
    even, weighted = plan_of(**fields, dispatch="even"), plan_of(**fields)
    assert even.balancedness > even.baselines["greedy"].balancedness + 0.05
    assert weighted.balancedness_dispatched >= even.balancedness - 1e-9
    assert even.off_home_share <= 1.2 * 8 / 40
    tight = plan_of(**fields, max_off_home=0.02)
    assert tight.off_home_share <= 0.02
    assert tight.balancedness < even.balancedness


def test_best_dispatch_equals_the_cut_bound():
    """Max-flow min-cut: no dispatch is cooler than any set of experts spread over all GPUs that hold one of them."""
    rng = np.random.default_rng(1)
    for _ in range(10):
        load = scaled(rng.gamma(0.5, 1.0, (1, 1, 5)), 3)
        held = held_of(greedy_global(load[0], 3, 9), 5, 3)
        hottest = gpu_loads(load, best_dispatch(load, np.ones(1), held)).max()
        cuts = [
            load[0, 0, list(chosen)].sum() / (held[0, list(chosen)].sum(axis=0) > 0).sum()
            for size in range(1, 6)
            for chosen in itertools.combinations(range(5), size)
        ]
        assert hottest == pytest.approx(max(cuts), abs=1e-7)


def test_scenarios_reach_beyond_the_workloads():
    load = loads(3)
    both = scenarios(load, np.full(3, 1 / 3))
    assert both.shape == (4, 6, 32)
    np.testing.assert_allclose(both.sum(axis=2), 8.0)
    assert both.max() > load.max()


def test_robust_placement_holds_up_better_than_the_mean():
    load = loads(7, layers=6, seed=3)
    gains = []
    for i in range(7):
        seen = np.delete(load, i, axis=0)
        robust = held_of(place_robustly(seen, np.full(6, 1 / 6), 8, 40, seed=0, clock=Clock(30)), 32, 8)
        mean = held_of(greedy_global(seen.mean(axis=0), 8, 40), 32, 8)
        ours, theirs = (
            balancedness(load[i : i + 1], best_dispatch(load[i : i + 1], np.ones(1), held))[0]
            for held in (robust, mean)
        )
        gains.append(ours - theirs)
    assert np.mean(gains) > 0.01


def test_several_workloads_get_weights(plan_of, skewed):
    noisy = np.random.default_rng(0).poisson(skewed)
    plan = plan_of(
        topology={"gpus": 4, "slots_per_gpu": 5},
        workloads=[{"name": "a", "counts": skewed.tolist()}, {"name": "b", "counts": noisy.tolist(), "weight": 3}],
    )
    assert [w.name for w in plan.workloads] == ["a", "b"]
    assert plan.balancedness_dispatched > 0.9
    assert len(plan.dispatch) == 3
    assert all(w.balancedness_best_dispatch >= w.balancedness_dispatched - 1e-6 for w in plan.workloads)


def test_worst_workload_counts_where_it_is_asked_for(plan_of, skewed):
    other = skewed[:, ::-1]
    workloads = [{"name": "a", "counts": skewed.tolist(), "weight": 9}, {"name": "b", "counts": other.tolist()}]
    fields = {"topology": {"gpus": 4, "slots_per_gpu": 5}, "workloads": workloads}
    mean, worst = plan_of(**fields), plan_of(**fields, over_workloads="worst")
    assert worst.objective == min(w.balancedness for w in worst.workloads)
    served = [min(w.balancedness_dispatched for w in plan.workloads) for plan in (mean, worst)]
    assert served[1] >= served[0] - 1e-6


def test_even_dispatch_over_workloads_is_planned_for(plan_of, skewed):
    noisy = np.random.default_rng(0).poisson(skewed // 2 + 20)
    workloads = [{"name": "a", "counts": skewed.tolist()}, {"name": "b", "counts": noisy.tolist()}]
    fields = {"topology": {"gpus": 4, "slots_per_gpu": 5}, "workloads": workloads}
    even = plan_of(**fields, dispatch="even")
    assert even.dispatch == ()
    assert even.balancedness >= plan_of(**fields).balancedness
