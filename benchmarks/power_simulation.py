"""Server-seconds simulated per CPU-second, against plain numpy; what further policies and counts cost; memory.

Rows of A100 servers in two classes under two thresholds, for whole weeks of made-up traffic. Where more servers of a
workload than its pool has columns play the same columns, equal servers are added up once, with their number as weight:
so the larger row is also played from a pool with a column for every server.

Run: python benchmarks/power_simulation.py [--weeks 6]
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # the made-up fleets live with the tests

from planner.power.policy import no_capping, one_threshold, polca, power_capped
from planner.power.rows.caps import levels, under
from planner.power.rows.deal import BLOCK_S, WEEK_S, draw
from planner.power.rows.fleet import Fleet
from planner.power.rows.kernel import deal
from planner.power.rows.row import Results, simulate
from tests.planner.power.fleets import PRIORITIES, fleet, group

POLCA = polca("low", "high")


def row(num_servers: int, columns: int) -> Fleet:
    """Thirty percent more servers than the budget rates, half of each class."""
    groups = [
        group(name, priority, 0.5, seed=seed, servers=columns, seconds=3600, levels=6, peak=0.75, num_states=200)
        for seed, (name, priority) in enumerate((("batch", "low"), ("chat", "high")))
    ]
    return fleet(groups, budget_w=num_servers / 1.3 * 6500)


def timed(fleet_: Fleet, policies: list, counts: list[int], weeks: int) -> tuple[Results, float]:
    started = time.process_time()
    found = simulate(fleet_, policies, counts, range(weeks), 1)
    return found, time.process_time() - started


def told(num_servers: int, columns: int, weeks: int) -> float:
    found, cpu_s = timed(row(num_servers, columns), [POLCA], [num_servers], weeks)
    speed = num_servers * WEEK_S * weeks / cpu_s / 1e6
    capped = found.capped_seconds.max() / found.seconds
    print(
        f"{num_servers:,} servers, {columns} recorded per workload, {weeks} weeks: {cpu_s:.2f} CPU-s, "
        f"{speed:,.0f} million per CPU-second (natural peak {found.natural_peak.max():.0%}, "
        f"capped {capped:.0%} of a week at most)"
    )
    return cpu_s


def plain(num_servers: int, seconds: int) -> float:
    """The same with numpy alone: look every server's watts up at each level, add them up, then a loop over readings.

    No slowdowns, no brake: less than what is compared with it does.
    """
    fleet_ = row(num_servers, num_servers // 2)
    lines = levels([POLCA], PRIORITIES, fleet_.controls)
    drawn = [draw(g.pool, g.calendar, 1, 0, i) for i, g in enumerate(fleet_.groups)]
    tables = [
        [under(g.pool.table, g.gpu, g.num_gpus, cap)[0] + g.other_w for cap in caps]
        for g, caps in zip(fleet_.groups, lines.caps, strict=True)
    ]
    started = time.process_time()
    step, on_the_way = 0, [0] * 20
    for block in range(seconds // BLOCK_S):
        watts = []
        for g, week, table in zip(fleet_.groups, drawn, tables, strict=True):
            mine = deal(week.key[block], num_servers // 2, g.pool.states.shape[1])
            second = (week.offset[block] + np.arange(BLOCK_S)) % g.pool.states.shape[2]
            level = week.lower[block] + (np.arange(len(mine)) * 0.618 % 1 < week.upper_share[block])
            states = g.pool.states[level[:, None], mine[:, None], second]
            watts.append([known[states].sum(axis=0) for known in table])
        for t in range(0, BLOCK_S, 2):
            now = lines.at[0, on_the_way.pop(0)]
            reading = sum(watts[k][now[k]][t : t + 2].mean() for k in range(2)) / fleet_.budget_w
            climbs = [i + 1 for i, rung in enumerate(POLCA.steps) if i >= step and reading > rung.at]
            if climbs:
                step = climbs[-1]
            elif step and reading < POLCA.steps[step - 1].release:
                step -= 1
            on_the_way.append(step)
    return num_servers * seconds / (time.process_time() - started) / 1e6


def one(num_servers: int, columns: int, weeks: int) -> None:
    """What a fresh process does: prints its speed, and the most memory it ever had."""
    fleet_ = row(num_servers, columns)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    timed(fleet_, [POLCA], [num_servers], weeks)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"  {num_servers:,} servers, {weeks} weeks: most memory {after:.0f} MiB ({before:.0f} MiB before)", flush=True
    )


def in_a_process(*arguments: int) -> None:
    subprocess.run([sys.executable, __file__, "--one", *map(str, arguments)], check=True)  # noqa: S603


def pairs() -> None:
    """What more policies and counts cost on top of one."""
    fleet_ = row(52, 32)
    many = [
        polca("low", "high", t1=t1, t2=t2) for t1 in (0.74, 0.76, 0.78, 0.8) for t2 in (0.88, 0.9, 0.92, 0.94, 0.96)
    ]
    kinds = [POLCA, no_capping(), one_threshold(PRIORITIES), power_capped(PRIORITIES, 300)]
    counts = list(range(44, 60, 2))
    _, single_s = timed(fleet_, [POLCA], [58], 1)
    print(f"a week of 58 servers, one policy: {single_s:.3f} CPU-s")
    for name, policies, asked in (("one policy", [POLCA], counts), ("20 thresholds", many, [58]),
                                  ("20 thresholds", many, counts), ("4 kinds of policy", kinds, counts)):  # fmt: skip
        found, cpu_s = timed(fleet_, policies, asked, 1)
        extra = len(policies) * len(asked) - 1
        print(
            f"  {name} × {len(asked)} counts: {cpu_s:.3f} CPU-s, each of {extra} pairs more "
            f"{(cpu_s - single_s) / extra / single_s:.1%} of that; capped {found.capped_seconds.mean() / WEEK_S:.0%}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weeks", type=int, default=6)
    parser.add_argument("--one", type=int, nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.one:
        one(*asked.one)
        return
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "NUMBA_CACHE_DIR": cache}
        started = time.perf_counter()
        subprocess.run([sys.executable, __file__, "--one", "52", "32", "1"], check=True, env=environment)  # noqa: S603
        print(f"  nothing compiled yet: {time.perf_counter() - started:.1f} s from the start of Python to the end")
    in_a_process(1000, 32, 1)
    in_a_process(1000, 32, asked.weeks)
    timed(row(52, 32), [POLCA], [52], 1)  # loads what is compiled
    for num_servers, columns, weeks in ((52, 32, asked.weeks), (1000, 32, 1), (1000, 500, 1)):
        told(num_servers, columns, weeks)
    speed = plain(52, 86_400)
    print(f"plain numpy, 52 servers, a day: {speed:.1f} million server-seconds per CPU-second")
    pairs()


if __name__ == "__main__":
    main()
