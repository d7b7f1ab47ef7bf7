"""Controllers as the compiled part wants them: policies as arrays, where each stands, what is reported of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from planner.power.policy import Policy
from planner.power.rows import kernel
from planner.power.rows.caps import Levels
from planner.power.rows.deal import WEEK_S
from planner.power.rows.slowdown import SLOWDOWN_BINS
from planner.power.spec import Controls


def ladder(policies: Sequence[Policy], levels: Levels, controls: Controls) -> kernel.Ladder:
    """``policies`` as arrays; ``levels`` are theirs. The telemetry interval is rounded to whole seconds."""
    most = levels.at.shape[1] - 2
    at, release = np.full((len(policies), most), np.inf), np.zeros((len(policies), most))
    waits = np.zeros((len(policies), most), dtype=np.bool_)
    for p, policy in enumerate(policies):
        for i, step in enumerate(policy.steps):
            at[p, i], release[p, i], waits[p, i] = step.at, step.release, step.waits
    base_level, base = np.unique(levels.at[:, 0], axis=0, return_inverse=True)
    return kernel.Ladder(
        num_steps=np.array([len(policy.steps) for policy in policies]),
        at=at,
        release=release,
        waits=waits,
        brake_at=np.array([policy.brake_at for policy in policies]),
        brake_release=np.array([policy.brake_release for policy in policies]),
        level=levels.at,
        base=base.ravel(),
        base_level=base_level,
        interval_s=max(1, round(controls.telemetry_interval_s)),
        timeout_s=controls.telemetry_timeout_s,
    )


def at_rest(num_policies: int, num_counts: int, num_classes: int, controls: Controls) -> kernel.State:
    """Nothing told, nothing under way. Latencies are rounded up to whole seconds."""
    pairs = (num_policies, num_counts)
    delay_s, brake_delay_s = (
        min(math.ceil(latency_s), WEEK_S) for latency_s in (controls.latency_s, controls.brake_latency_s)
    )
    return kernel.State(
        told=np.zeros(pairs, dtype=np.int8),
        braking=np.zeros(pairs, dtype=np.int8),
        steps=np.zeros((*pairs, delay_s + 1), dtype=np.int8),
        brakes=np.zeros((*pairs, brake_delay_s + 1), dtype=np.int8),
        calm_s=np.full(pairs, 2 * WEEK_S),
        silent_s=np.zeros(pairs, dtype=np.int64),
        interval_ws=np.zeros(pairs),
        undone_s=np.zeros((*pairs, num_classes)),
    )


def nothing_yet(
    num_policies: int, num_counts: int, num_classes: int, num_levels: int, num_responses: int
) -> kernel.Totals:
    """Totals of no second."""
    pairs = (num_policies, num_counts)
    return kernel.Totals(
        num_brakes=np.zeros(pairs, dtype=np.int64),
        peak=np.zeros(pairs),
        energy_ws=np.zeros(pairs),
        seconds_over=np.zeros(pairs, dtype=np.int64),
        capped_seconds=np.zeros((*pairs, num_classes), dtype=np.int64),
        weight=np.zeros((*pairs, num_classes, num_levels, num_responses)),
        waited=np.zeros((*pairs, num_classes, len(SLOWDOWN_BINS))),
        natural_peak=np.zeros(pairs[1]),
    )
