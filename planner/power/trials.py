"""Which simulated weeks serve what, and running them on all cores.

Policies are chosen on some weeks and judged on others: of many policies tried on the same weeks, the best looks better
than it is. Weeks are told by their number; a seed and a number always make the same week.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from planner.power.policy import Policy
from planner.power.rows.fleet import Fleet
from planner.power.rows.row import Results, simulate

OBSERVED_WEEKS = 6
"""In which an observed peak was the highest; POLCA's measurements took as long."""

CALIBRATING = range(4 * OBSERVED_WEEKS)
CHOOSING_FROM = 1_000
JUDGING_FROM = 100_000
STRESSING = range(10_000, 10_001)
"""First weeks of each purpose: far enough apart that they never meet."""


@dataclass(frozen=True)
class Effort:
    """How much is simulated."""

    choosing_weeks: int = 4
    judging_weeks: int = 48
    seconds_per_week: int = 604_800
    num_threads: int = 2

    @property
    def choosing(self) -> range:
        """Weeks on which policies are chosen."""
        return range(CHOOSING_FROM, CHOOSING_FROM + self.choosing_weeks)

    def judging(self, horizon: int) -> range:
        """Weeks on which plans are judged: whole horizons, at least two."""
        num = max(2, round(self.judging_weeks / horizon)) * horizon
        return range(JUDGING_FROM, JUDGING_FROM + num)


def trials(fleet: Fleet, policies: Sequence[Policy], counts: Sequence[int], weeks: range, effort: Effort,
           seed: int) -> Results:  # fmt: skip
    """``row.simulate`` with its weeks spread over threads; the same numbers as in one."""
    size = -(-len(weeks) // effort.num_threads)
    parts = [weeks[i : i + size] for i in range(0, len(weeks), size)]

    def run(part: range) -> Results:
        return simulate(fleet, policies, counts, part, seed, seconds_per_week=effort.seconds_per_week)

    if len(parts) == 1:
        return run(parts[0])
    with ThreadPoolExecutor(len(parts)) as pool:
        return joined(list(pool.map(run, parts)))


def joined(parts: Sequence[Results]) -> Results:
    """Results of several spans of weeks as one; weeks are the first axis of every array."""
    whole: dict[str, Any] = {}
    for field in fields(Results):
        values = [getattr(part, field.name) for part in parts]
        whole[field.name] = np.concatenate(values) if isinstance(values[0], np.ndarray) else values[0]
    return Results(**whole)
