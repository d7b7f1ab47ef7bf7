"""Made-up pools, calendars and fleets. Power grows with the level; servers differ; bursts hit all at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from planner.power.demand import Calendar, Pool, StateTable
from planner.power.rows.fleet import Fleet, Group
from planner.power.spec import Controls
from profiles import catalogue
from profiles.types import GpuType

A100: GpuType = next(gpu for gpu in catalogue.load().gpus if gpu.name == "A100-80GB")
PRIORITIES = ("low", "high")


def table(num_states: int, *, gpu: GpuType = A100, num_gpus: int = 8, busiest: float = 0.7) -> StateTable:
    """States from idle, over decoding, to prompts alone."""
    share = np.linspace(0, 1, num_states)
    return StateTable(
        gpu_w=num_gpus * (gpu.idle_w + share * (gpu.tdp_w - gpu.idle_w)),
        time_on_clock=0.15 + 0.85 * share**2,
        power_on_clock=0.5 + 0.5 * share,
        running=np.ceil(32 * share),
        busy=busiest * share,
    )


def pool(
    *, name: str = "chat", seed: int = 0, levels: int = 3, servers: int = 6, seconds: int = 900, num_states: int = 40,
    in_step: bool = False, busiest: float = 0.7, peak: float = 0.9,
) -> Pool:  # fmt: skip
    """Each second's state: the level's load, a burst of all servers, and noise of each."""
    rng = np.random.default_rng(seed)
    load = np.linspace(0.2, 1.0, levels)
    burst = np.convolve(rng.gamma(1.5, 0.12, seconds + 9), np.full(10, 0.1), mode="valid")
    noise = rng.normal(0, 0.12, (levels, servers, seconds))
    share = np.clip(load[:, None, None] * peak * (0.85 + burst) + noise, 0, 1)
    return Pool(
        workload=name,
        table=table(num_states, busiest=busiest),
        states=(share * (num_states - 1)).round().astype(np.uint8),
        load=load,
        in_step=in_step,
        origin="made up",
    )


def calendar(**changes: Any) -> Calendar:
    hours = np.arange(168)
    known = {
        "shape": 0.7 + 0.3 * np.cos((hours % 24 - 14) * np.pi / 12),
        "daily_spread": 0.05,
        "hourly_spread": 0.03,
        "correlation": 0.5,
        "origin": "made up",
    }
    return Calendar(**{**known, **changes})


def group(name: str, priority: str, share: float, *, seed: int = 0, **changes: Any) -> Group:
    """``changes``: of the group, or of its pool."""
    of_group = {key: changes.pop(key) for key in ("gpu", "num_gpus", "other_w", "calendar") if key in changes}
    known = {"gpu": A100, "num_gpus": 8, "other_w": 1900.0, "calendar": calendar()}
    return Group(
        name=name, priority=priority, share=share, pool=pool(name=name, seed=seed, **changes), **{**known, **of_group}
    )


def fleet(
    groups: Sequence[Group] | None = None, *, budget_w: float = 8 * 6500.0, priorities: Sequence[str] = PRIORITIES,
    **controls: Any,
) -> Fleet:  # fmt: skip
    """Half low, half high priority on a row for eight servers unless told otherwise."""
    if groups is None:
        groups = (group("batch", "low", 0.5, seed=1), group("chat", "high", 0.5, seed=2))
    return Fleet(budget_w=budget_w, groups=tuple(groups), priorities=tuple(priorities), controls=Controls(**controls))
