"""Which recorded seconds each server plays: servers are dealt to workloads, and a week is drawn in blocks.

A week of a workload has a load for every hour (its calendar's shape, times log-normal factors of the day and of the
hour, with median 1) and for every block of ten minutes one moment of the pool, the same for all its servers. Draws
depend on the seed, the number of the week and the place of the workload alone: any week can be made by itself, weeks
are independent of each other, and more servers leave those before them as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.power.demand import Calendar, Pool
from profiles.performance.answers import Floats

Ints = NDArray[np.int64]
Keys = NDArray[np.uint64]

BLOCK_S = 600
"""Seconds that are played as they were recorded: long enough for bursts and their end, short beside the hour whose load
they have."""

HOUR_S, DAY_HOURS, WEEK_HOURS = 3600, 24, 168
WEEK_S = WEEK_HOURS * HOUR_S
COMMON = 0
"""Stream of what all workloads of a week have in common; workload ``g`` has stream ``1 + g``."""


@dataclass(frozen=True, eq=False)
class Week:
    """What one workload plays in one week; arrays (blocks,).

    Attributes
    ----------
    lower, upper_share:
        level of the pool, and the share of servers that play the level above it instead
    offset:
        second of the pool at which the block begins
    tilt:
        0 to 1: which servers play the level above
    key:
        from which the columns of the pool are dealt to servers
    """

    lower: Ints
    upper_share: Floats
    offset: Ints
    tilt: Floats
    key: Keys


def order(shares: Sequence[float], count: int) -> Ints:
    """Workload of every server (count,): each goes to the one furthest below its share; ties to the first.

    Every prefix keeps the shares to less than a server, or nearly so with more than three workloads.
    """
    share = np.asarray(shares, dtype=np.float64)
    given = np.zeros(len(share))
    workload = np.empty(count, dtype=np.int64)
    for i in range(count):
        workload[i] = np.argmax(np.round((i + 1) * share - given, 9))
        given[workload[i]] += 1
    return workload


def servers(shares: Sequence[float], counts: Sequence[int]) -> Ints:
    """Servers of each workload (workloads, counts) among the first ``counts`` servers."""
    dealt = order(shares, max(counts, default=0))
    return np.array([[int((dealt[:count] == g).sum()) for count in counts] for g in range(len(shares))])


def loads(calendar: Calendar, seed: int, week: int, index: int) -> Floats:
    """(168,) load of every hour of a week, as a share of the workload's peak hour."""
    common, own = (_stream(seed, week, stream).standard_normal(7 + WEEK_HOURS) for stream in (COMMON, 1 + index))
    factor = np.sqrt(calendar.correlation) * common + np.sqrt(1 - calendar.correlation) * own
    days, hours = np.repeat(factor[:7], DAY_HOURS), factor[7:]
    return np.asarray(calendar.shape * np.exp(calendar.daily_spread * days + calendar.hourly_spread * hours))


def draw(pool: Pool, calendar: Calendar, seed: int, week: int, index: int) -> Week:
    """What the workload in place ``index`` of its fleet plays in week number ``week``; loads are cut to the pool's."""
    num_blocks = WEEK_S // BLOCK_S
    hour = np.arange(num_blocks) * BLOCK_S // HOUR_S
    place = np.interp(loads(calendar, seed, week, index)[hour], pool.load, np.arange(len(pool.load)))
    lower = np.minimum(place.astype(np.int64), max(len(pool.load) - 2, 0))
    rng = _stream(seed, week, 1 + index, 1)
    return Week(
        lower=lower,
        upper_share=place - lower,
        offset=rng.integers(pool.states.shape[2], size=num_blocks),
        tilt=rng.random(num_blocks),
        key=rng.integers(2**63, size=num_blocks, dtype=np.uint64),
    )


def _stream(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
