"""A small power plan, solved for real: two classes of recorded servers on a row, the same on a site of two feeds."""

from __future__ import annotations

from functools import cache

import numpy as np

from planner.packed import PackedArray
from planner.power.plan import PowerPlan
from planner.power.solve import solve
from planner.power.spec import PowerSpec
from planner.power.trials import Effort
from planner.types import SolveOptions
from profiles import catalogue
from profiles.types import Facts

FACTS = Facts(gpus=catalogue.load().gpus, digest="test")

QUICK = Effort(choosing_weeks=3, judging_weeks=24, seconds_per_week=7200)
"""Weeks of two hours, of which every hour is alike."""


def recorded(name: str, priority: str, seed: int) -> dict[str, object]:
    """Half of the servers: GPUs between 1500 and 2700 W, in bursts of half a minute that hit all of them."""
    rng = np.random.Generator(np.random.PCG64(seed))
    watts = 1500 + 900 * np.repeat(rng.random(120), 30) + 300 * rng.random((8, 3600))
    demand = {"kind": "series", "gpu_w": PackedArray.pack(watts.round().astype(np.int64))}
    return {"name": name, "server": "dgx", "priority": priority, "share": 0.5, "demand": demand}


def spec(**changes: object) -> PowerSpec:
    """Power for ten servers by rating; a feed that fails, telemetry that is silent."""
    fields: dict[str, object] = {
        "name": "small",
        "servers": [{"name": "dgx", "gpu": "A100-80GB", "other_w": {"low": 1500, "high": 2400}, "rated_w": 6500}],
        "priorities": [{"name": "low"}, {"name": "high", "max_slowdown_p50": 0.02, "max_slowdown_p99": 0.1}],
        "workloads": [recorded("batch", "low", 1), recorded("chat", "high", 2)],
        "row": {"budget_servers": 10},
        "promise": {"weeks": 3, "confidence": 0.95},
        "policy": "polca",
        "num_servers": 13,
        "events": [
            {"kind": "feed_failure", "at_s": 3600, "duration_s": 600, "remaining": 0.7},
            {"kind": "telemetry_gap", "at_s": 600, "duration_s": 600},
        ],
    }
    return PowerSpec.model_validate(fields | changes)


SITE = {
    "redundancy": "2N",
    "feeds": [{"name": "a", "budget_w": 60_000}, {"name": "b", "budget_w": 60_000}],
    "pdus": [{"name": "a1", "feed": "a", "budget_w": 60_000}, {"name": "b1", "feed": "b", "budget_w": 60_000}],
    "rows": [{"name": f"row{i}", "pdus": ["a1", "b1"], "budget_w": 32_000, "slots": 8} for i in range(2)],
    "groups": [{"workload": "batch", "num_servers": 5}, {"workload": "chat", "num_servers": 6}],
    "max_imbalance": 1.0,
}


def solved(asked: PowerSpec) -> PowerPlan:
    """The plan, with little simulated."""
    return solve(asked, FACTS, SolveOptions(), QUICK)


@cache
def row_plan() -> PowerPlan:
    """Of the row."""
    return solved(spec())


@cache
def site_plan() -> PowerPlan:
    """Of the site alone."""
    return solved(spec(row=None, num_servers=None, policy="optimise", events=(), site=SITE))


@cache
def impossible() -> PowerPlan:
    """Too many servers."""
    return solved(spec(num_servers=18, events=()))
