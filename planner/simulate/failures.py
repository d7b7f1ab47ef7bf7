"""Failures over time: those of a schedule, and those drawn from a mean time between failures."""

from __future__ import annotations

import numpy as np

from planner.errors import InvalidInput, UnknownName
from planner.simulate.cluster import Options, Pool
from planner.simulate.state import Floats, Ints


class FailureSchedule:
    """Failures in order of time, asked for up to one time after another. Replicas are numbered over all pools."""

    def __init__(self, pools: tuple[Pool, ...], options: Options) -> None:
        counts = [pool.replicas for pool in pools]
        self._start_up_s, self._repair_s = options.start_up_s, options.repair_s
        self._mean_s = None if options.mtbf_hours is None else options.mtbf_hours * 3600
        self._random = np.random.default_rng([options.seed, 1])
        self._next = np.zeros(0)
        if self._mean_s is not None:
            self._next = options.start_up_s + self._random.exponential(self._mean_s, sum(counts))
        first = dict(zip((pool.unit for pool in pools), np.cumsum([0, *counts[:-1]]).tolist(), strict=True))
        self._planned = []
        for i, failure in enumerate(options.failures):
            where = f"failures[{i}]"
            if failure.unit not in first:
                raise UnknownName("unit", failure.unit, first, field=f"{where}.unit")
            replicas = next(pool.replicas for pool in pools if pool.unit == failure.unit)
            if failure.replica >= replicas:
                raise InvalidInput(
                    f"{failure.replica} is not a replica of {failure.unit}, which has {replicas}",
                    field=f"{where}.replica", fix=f"count from 0 to {replicas - 1}",
                )  # fmt: skip
            until = failure.at_s + failure.for_s + self._start_up_s
            self._planned.append((failure.at_s, first[failure.unit] + failure.replica, until))
        self._planned.sort(reverse=True)
        self.num_started = sum(counts)

    def up_to(self, until: float) -> tuple[Ints, Floats, Floats]:
        """(replica, at_s, ready again at_s) of the failures not yet told, up to ``until``."""
        found = []
        while self._planned and self._planned[-1][0] <= until:
            found.append(self._planned.pop())
        if self._mean_s is not None:
            while self._next.min() <= until:
                replica = int(self._next.argmin())
                at = float(self._next[replica])
                back = at + self._repair_s + self._start_up_s
                found.append((at, replica, back))
                self._next[replica] = back + self._random.exponential(self._mean_s)
        found.sort()
        self.num_started += sum(np.isfinite(back) for _, _, back in found)
        at_s, replica_of, back_s = zip(*found, strict=True) if found else ((), (), ())
        return np.array(replica_of, dtype=np.int64), np.array(at_s, dtype=float), np.array(back_s, dtype=float)
