"""Small, fast rows for tests of what is decided on simulations: hours of seconds, a day for a week."""

from __future__ import annotations

import numpy as np

from planner.power.demand import Calendar, Pool, StateTable
from planner.power.spec import Controls, PowerSpec
from planner.power.trials import Effort
from profiles import catalogue
from profiles.types import Facts

FACTS = Facts(gpus=catalogue.load().gpus, digest="test")

QUICK = Effort(choosing_weeks=6, judging_weeks=48, seconds_per_week=7_200)
"""Weeks of two hours."""


HELD_S = 6
"""Seconds that a state lasts: as long as the prompts of a burst."""


def pool(workload: str, seed: int = 0) -> Pool:
    """Servers that decode most of the time, with prompts more often the higher the load; bursts come to all at once."""
    rng = np.random.Generator(np.random.PCG64(seed))
    load = np.array([0.4, 0.8, 1.2])
    burst = np.repeat(rng.random(120), 30)  # half a minute each
    chance = np.clip(0.08 + 0.5 * load[:, None, None] * burst**3, 0, 0.9)
    drawn = np.repeat(rng.random((3, 12, burst.size // HELD_S)), HELD_S, axis=2)
    states = (drawn < chance).astype(np.uint8)
    table = StateTable(
        gpu_w=np.array([1700.0, 3100.0]),
        time_on_clock=np.array([0.15, 1.0]),
        power_on_clock=np.array([0.5, 1.0]),
        running=np.array([8.0, 8.0]),
        busy=np.array([0.4, 0.6]),
    )
    return Pool(workload, table, states, load, in_step=False, origin="made up")


def calendar(**kw: float) -> Calendar:
    """The same load day and night, but for its spread."""
    spreads = {"daily_spread": 0.1, "hourly_spread": 0.1, "correlation": 0.5} | kw
    return Calendar(shape=np.full(168, 0.8), origin="made up", **spreads)


def demands() -> tuple[tuple[Pool, Calendar], ...]:
    """Of the spec's two workloads."""
    return (pool("batch", 1), calendar()), (pool("chat", 2), calendar())


def spec(**changes: object) -> PowerSpec:
    """A row with power for ten servers, two classes."""
    demand = {"kind": "training"}  # never looked at: the pools are given
    document: dict[str, object] = {
        "servers": [{"gpu": "A100-80GB", "other_w": {"low": 1500, "high": 2400}, "rated_w": 6500}],
        "priorities": [
            {"name": "low", "max_slowdown_p50": 0.05, "max_slowdown_p99": 0.5},
            {"name": "high", "max_slowdown_p50": 0.02, "max_slowdown_p99": 0.1},
        ],
        "workloads": [
            {"name": "batch", "server": "server", "priority": "low", "share": 0.5, "demand": demand},
            {"name": "chat", "server": "server", "priority": "high", "share": 0.5, "demand": demand},
        ],
        "row": {"budget_servers": 10},
        "promise": {"weeks": 3, "confidence": 0.95},
        "controls": Controls().model_dump(),
    }
    return PowerSpec.model_validate(document | changes)
