"""The busiest hour of the week: what servers draw in it, for placing them on feeds and for plans of other kinds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from planner.power.assume import Demands
from planner.power.demand import Pool
from planner.power.feeds.multiplexing import GroupProfile
from planner.power.spec import PowerSpec
from profiles.performance.answers import Floats

NUM_MOMENTS = 500
"""Seconds of busiest hours that are drawn: enough to see what happens in one of a hundred; normal tails do the rest."""


def busiest_hour(demands: Demands, num_servers: Sequence[float]) -> int:
    """Hour of the week in which the GPUs of so many servers of each workload draw the most on average."""
    watts = [n * mean_gpu_w(pool, calendar.shape) for (pool, calendar), n in zip(demands, num_servers, strict=True)]
    return int(np.sum(watts, axis=0).argmax())


def mean_gpu_w(pool: Pool, load: Floats) -> Floats:
    """Watts of a server's GPUs, uncapped, on average at each ``load`` (any shape)."""
    per_level = [float(pool.table.gpu_w[states].mean()) for states in pool.states]
    return np.asarray(np.interp(load, pool.load, per_level))


def safe_limit_w(demands: Demands, num_servers: Sequence[float]) -> float:
    """GPU watts of the whole row in the busiest hour, uncapped and on average: the load that the simulated weeks carry.

    Servers whose GPUs draw no more than that in their busiest hour, with swings like these, ask for no more than was
    simulated.
    """
    hour = busiest_hour(demands, num_servers)
    watts = (
        n * float(mean_gpu_w(pool, calendar.shape[hour]))
        for (pool, calendar), n in zip(demands, num_servers, strict=True)
    )
    return sum(watts)


def profiles_of(spec: PowerSpec, demands: Demands, other_w: Mapping[str, float], num_servers: Sequence[float], seed: int
                ) -> tuple[GroupProfile, ...]:  # fmt: skip
    """What servers of each workload draw at moments of the busiest hour: the same moments for all.

    Day and hour factors are common to workloads by their calendars' correlation; the second within the recording is
    each workload's own, since bursts of one are not those of another. ``other_w``: watts beside the GPUs, per kind of
    server.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    hour = busiest_hour(demands, num_servers)
    common = rng.standard_normal((NUM_MOMENTS, 2))
    found = []
    for workload, (pool, calendar) in zip(spec.workloads, demands, strict=True):
        own = rng.standard_normal((NUM_MOMENTS, 2))
        shared = calendar.correlation
        moved = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
        spreads = np.array([calendar.daily_spread, calendar.hourly_spread])
        load = calendar.shape[hour] * np.exp(moved @ spreads)
        mean_w, variance_w2 = _moments(pool, load, rng.integers(pool.states.shape[2], size=NUM_MOMENTS))
        beside_w = other_w[workload.server]
        found.append(
            GroupProfile(
                name=workload.name,
                mean_w=mean_w + beside_w,
                spread_w=0.0 if pool.in_step else float(np.sqrt(variance_w2.mean())),
                peak_w=float(pool.table.gpu_w.max()) + beside_w,
            )
        )
    return tuple(found)


def _moments(pool: Pool, load: Floats, second: np.ndarray) -> tuple[Floats, Floats]:
    """Mean over servers, and variance between them, of GPU watts at each moment: servers mix the two nearest levels."""
    level = np.clip(np.searchsorted(pool.load, load, side="right") - 1, 0, max(len(pool.load) - 2, 0))
    upper = np.minimum(level + 1, len(pool.load) - 1)
    width = np.maximum(pool.load[upper] - pool.load[level], 1e-12)
    share = np.clip((load - pool.load[level]) / width, 0.0, 1.0)[:, None]
    columns = 1 if pool.in_step else pool.states.shape[1]
    low, high = (pool.table.gpu_w[pool.states[at, :columns, second]] for at in (level, upper))
    mean = ((1 - share) * low + share * high).mean(axis=1)
    square = ((1 - share) * low**2 + share * high**2).mean(axis=1)
    return mean, np.maximum(square - mean**2, 0.0)
