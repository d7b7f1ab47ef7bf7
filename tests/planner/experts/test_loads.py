"""Loads that are shown are those that the plan's own figures come from."""

from __future__ import annotations

import numpy as np
import pytest

from planner.experts import PLANNER
from planner.experts.loads import loads
from planner.experts.spec import ExpertsSpec
from planner.types import SolveOptions
from profiles.types import Facts

COUNTS = (((50, 10, 20, 20), (0, 0, 0, 0), (1, 1, 1, 97)), ((10, 10, 10, 70), (0, 0, 0, 0), (25, 25, 25, 25)))


def spec(**changes: object) -> ExpertsSpec:
    return ExpertsSpec.model_validate({
        "topology": {"gpus": 2, "nodes": 1, "slots_per_gpu": 3},
        "workloads": [{"name": f"w{i}", "weight": 1 + i, "counts": counts} for i, counts in enumerate(COUNTS)],
        **changes,
    })  # fmt: skip


def test_balance_by_layer_averages_to_the_plan_and_its_baselines() -> None:
    plan = PLANNER.solve(spec(), Facts(), SolveOptions())
    found = loads(plan)
    assert found.layers == (0, 2)
    by_name = {placement.name: placement for placement in found.placements}
    assert set(by_name) == {"plan", "default", "greedy"}
    assert np.mean(by_name["plan"].balancedness) == pytest.approx(plan.balancedness)
    for name, baseline in plan.baselines.items():
        assert np.mean(by_name[name].balancedness) == pytest.approx(baseline.balancedness)
    for placement in found.placements:
        assert np.mean(placement.gpu_loads, axis=1) == pytest.approx([1.0, 1.0])


def test_default_placement_by_hand() -> None:
    found = loads(PLANNER.solve(spec(), Facts(), SolveOptions()))
    default = next(placement for placement in found.placements if placement.name == "default")
    # Slots 0 1 2 | 3 0 1: experts 0 and 1 have a copy on each GPU. Workloads weigh 1 and 2.
    first = 2 * np.array([0.25 + 0.05 + 0.20, 0.20 + 0.25 + 0.05])
    second = 2 * np.array([0.05 + 0.05 + 0.10, 0.70 + 0.05 + 0.05])
    assert default.gpu_loads[0] == pytest.approx((first + 2 * second) / 3)


def test_placement_in_use_is_among_them() -> None:
    row = (3, 0, 1, 3, 2, 0)
    found = loads(PLANNER.solve(spec(current={"physical_to_logical_map": [row] * 3}), Facts(), SolveOptions()))
    current = next(placement for placement in found.placements if placement.name == "current")
    assert current.gpu_loads[1][0] == pytest.approx(2 * (0.97 / 2 + 0.005 + 0.01 + 2 * (0.125 + 0.125 + 0.25)) / 3)
