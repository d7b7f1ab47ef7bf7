"""Placements with few hops: exact chains, capped sweeps, fan-out, and thin traces."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from planner.clock import Clock
from planner.experts.chain import best_chain, num_partitions, partitions
from planner.experts.measure import gpu_loads, hops, measure
from planner.experts.near import place_near
from planner.experts.placement import even_share, held_of
from planner.experts.problem import problem_of, transitions_of
from planner.experts.spec import ExpertsSpec


def routed(layers: int, experts: int, tokens: int, seed: int = 0, sticky: float = 0.7) -> np.ndarray:
    """[tokens, layers, 2] a trace in which tokens mostly follow a hidden permutation."""
    rng = np.random.default_rng(seed)
    hidden = [rng.permutation(experts) for _ in range(layers)]
    first = rng.integers(0, experts, tokens)
    trace = np.empty((tokens, layers, 2), dtype=int)
    for layer in range(layers):
        follows = rng.random(tokens) < sticky
        at = np.where(follows, hidden[layer][first], rng.integers(0, experts, tokens))
        trace[:, layer, 0] = at
        trace[:, layer, 1] = (at + 1 + rng.integers(0, experts - 1, tokens)) % experts
    return trace


def spec_of(trace: np.ndarray, gpus: int, slots: int, **fields) -> ExpertsSpec:
    topology = {"gpus": gpus, "slots_per_gpu": slots, "nodes": fields.pop("nodes", 1)}
    return ExpertsSpec.model_validate({"topology": topology, "trace": trace, **fields})


def test_partitions_are_all_and_different():
    rows = partitions(6, 3)
    assert len(rows) == num_partitions(6, 3) == 15
    assert len({tuple(row) for row in rows.tolist()}) == 15
    assert all((np.bincount(row) == 2).all() for row in rows)


def test_exact_chain_equals_brute_force():
    trace = routed(3, 4, 60, seed=1)
    routes = transitions_of(trace, 4).astype(float)
    labelled = {p for p in itertools.product(range(2), repeat=4) if sum(p) == 2}
    best = max(
        sum(routes[i][e, f] for i in range(2) for e in range(4) for f in range(4) if rows[i][e] == rows[i + 1][f])
        for rows in itertools.product(labelled, repeat=3)
    )
    bins = best_chain(routes, 2)
    kept = sum(routes[i][bins[i][:, None] == bins[i + 1]].sum() for i in range(2))
    assert kept == best


@pytest.mark.parametrize(("experts", "gpus"), [(6, 3), (8, 4), (8, 2)])
def test_plan_is_optimal_on_small_cases(plan_of, experts, gpus):
    trace = routed(4, experts, 2000, seed=experts)
    plan = plan_of(topology={"gpus": gpus, "slots_per_gpu": experts // gpus}, trace=trace.tolist(), num_experts=experts)
    assert plan.outcome == "optimal"
    assert plan.method == "exact chain of partitions"
    assert plan.objective == plan.cross_gpu_hops_per_token
    assert plan.objective < 0.8 * plan.baselines["default"].cross_gpu_hops_per_token


def test_sweeps_come_close_to_the_exact_chain(monkeypatch):
    problem = problem_of(spec_of(routed(4, 8, 500, seed=3), 4, 2))
    exact = hops(problem, even_share(place_near(problem, None, seed=0, clock=Clock(10)).held))
    monkeypatch.setattr("planner.experts.near.is_small", lambda *_: False)
    swept = place_near(problem, None, seed=0, clock=Clock(10))
    assert not swept.proven
    assert exact <= hops(problem, even_share(swept.held)) <= 1.15 * exact + 1e-9


@pytest.mark.parametrize("slots", [4, 5])
@pytest.mark.parametrize("nodes", [1, 2])
def test_load_cap_is_kept_and_hops_fall(slots, nodes):
    problem = problem_of(spec_of(routed(5, 32, 4000, seed=2), 8, slots, nodes=nodes))
    near = place_near(problem, 0.05, seed=0, clock=Clock(10))
    share = even_share(near.held)
    assert (gpu_loads(problem.load, share)[0].max(axis=1) <= near.cap * (1 + 1e-9)).all()
    assert (near.held.sum(axis=1) == slots).all()
    default = even_share(held_of(np.tile(np.arange(8 * slots) % 32, (5, 1)), 32, 8))
    ours, theirs = measure(problem, share), measure(problem, default)
    assert ours.cross_gpu_hops < theirs.cross_gpu_hops
    if nodes > 1:
        assert ours.cross_node_hops < 0.9 * theirs.cross_node_hops


def test_fan_out_falls(plan_of):
    rng = np.random.default_rng(0)
    cluster = rng.permutation(16) % 4
    members = [np.flatnonzero(cluster == c) for c in range(4)]
    trace = np.array([[rng.permutation(members[rng.integers(4)])[:3] for _ in range(3)] for _ in range(400)])
    plan = plan_of(topology={"gpus": 8, "nodes": 4, "slots_per_gpu": 2}, trace=trace.tolist(), num_experts=16,
                   objective="fan_out")  # fmt: skip
    assert plan.node_fan_out == pytest.approx(1.0)
    assert plan.baselines["default"].node_fan_out > 1.8


def test_thin_trace_keeps_the_default_placement(plan_of):
    noise = np.random.default_rng(0).integers(0, 8, (20, 6, 1))
    plan = plan_of(topology={"gpus": 4, "slots_per_gpu": 2}, trace=noise.tolist(), num_experts=8)
    assert plan.cross_gpu_hops_per_token == plan.baselines["default"].cross_gpu_hops_per_token
    assert "too thin" in plan.advice[0]
    assert plan.outcome == "feasible"


def test_time_is_no_worse_than_any_point_of_the_trade_off(plan_of):
    trace = routed(4, 8, 3000, seed=5)
    fields = {"trace": trace.tolist(), "num_experts": 8, "topology": {"gpus": 4, "nodes": 2, "slots_per_gpu": 2}}
    fastest = plan_of(**fields, objective="time")
    for other in ("balance", "hops"):
        assert fastest.seconds_per_step <= plan_of(**fields, objective=other).seconds_per_step + 1e-12
    assert fastest.bound <= fastest.objective


def test_measured_link_speeds_count(plan_of):
    trace = routed(3, 8, 3000, seed=6)
    speeds = [[0.0 if i == j else 10.0 for j in range(4)] for i in range(4)]
    slow = plan_of(topology={"gpus": 4, "slots_per_gpu": 2, "gb_per_s": speeds}, trace=trace.tolist(), num_experts=8,
                   objective="time")  # fmt: skip
    fast = plan_of(topology={"gpus": 4, "slots_per_gpu": 2}, trace=trace.tolist(), num_experts=8, objective="time")
    assert slow.seconds_per_step > fast.seconds_per_step
