"""The plan as people and programs see it: contract keys, view, curves, advice, JSON."""

from __future__ import annotations

import json

import numpy as np

from planner.experts import PLANNER, ExpertsPlan, ExpertsSpec
from planner.types import SolveOptions
from profiles.types import Facts


def test_contract_keys_are_there(plan_of, skewed):
    plan = plan_of(topology={"gpus": 4, "slots_per_gpu": 5}, workloads=[{"counts": skewed.tolist()}])
    document = json.loads(plan.model_dump_json())
    for key in (
        "kind", "outcome", "objective", "bound", "gap", "solver", "solve_seconds", "spec", "profile_digest", "check",
        "physical_to_logical_map", "logical_replica_count", "balancedness", "cross_gpu_hops_per_token",
        "cross_node_hops_per_token", "baselines", "dispatch",
    ):  # fmt: skip
        assert key in document
    for name in ("default", "greedy"):
        assert {"balancedness", "cross_gpu_hops_per_token", "cross_node_hops_per_token"} <= document["baselines"][
            name
        ].keys()
    assert ExpertsPlan.model_validate(document) == plan
    assert plan.balancedness >= plan.baselines["greedy"].balancedness - 1e-9


def test_equal_seeds_give_equal_plans(plan_of, skewed):
    fields = {"topology": {"gpus": 4, "slots_per_gpu": 5}, "workloads": [{"counts": skewed.tolist()}]}
    assert plan_of(**fields).physical_to_logical_map == plan_of(**fields).physical_to_logical_map


def test_view_shows_what_matters(plan_of, skewed):
    noisy = np.random.default_rng(0).poisson(skewed)
    plan = plan_of(
        topology={"gpus": 4, "nodes": 2, "slots_per_gpu": 5}, curves=True,
        workloads=[{"name": "chat", "counts": skewed.tolist()}, {"name": "code", "counts": noisy.tolist()}],
    )  # fmt: skip
    seen = PLANNER.view(plan)
    assert "16 experts and 4 redundant copies per layer on 4 GPUs on 2 nodes" in seen.headline
    assert [table.title for table in seen.tables] == [
        "Against other placements (even dispatch)", "Balancedness by workload", "What other choices would give",
    ]  # fmt: skip
    for table in seen.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
        assert set(table.numeric) <= set(table.columns)


def test_redundancy_curve_rises_and_stays_below_its_bound(plan_of, skewed):
    plan = plan_of(topology={"gpus": 4, "slots_per_gpu": 5}, workloads=[{"counts": skewed.tolist()}], curves=True)
    balanced = [point.balancedness for point in plan.curve]
    assert balanced[0] < balanced[-1]
    assert all(point.balancedness <= point.balancedness_bound + 1e-9 for point in plan.curve)


def test_says_when_only_more_slots_help(plan_of):
    hot = [[1000, 1, 1, 1, 1, 1, 1, 1]]
    limited = plan_of(topology={"gpus": 4, "slots_per_gpu": 2}, workloads=[{"counts": hot}])
    assert "Only more slots help" in limited.advice[0]
    assert limited.outcome == "optimal"
    single = plan_of(topology={"gpus": 8, "slots_per_gpu": 1}, workloads=[{"counts": hot}])
    assert "only more slots help" in single.advice[0]


def test_time_limit_is_honoured():
    rng = np.random.default_rng(0)
    counts = [{"name": str(i), "counts": rng.gamma(0.7, 1000, (40, 128)).astype(int).tolist()} for i in range(4)]
    spec = ExpertsSpec.model_validate({"topology": {"gpus": 32, "slots_per_gpu": 5}, "workloads": counts})
    plan = PLANNER.solve(spec, Facts(), SolveOptions(time_limit_s=0.3))
    assert plan.solve_seconds < 2.0
    assert any("time limit" in note for note in plan.advice)
    assert PLANNER.check(plan, Facts()).passed
