"""2,000 servers on 50 rows with redundancy: seconds, gap, and what multiplexing gains over sums of peaks.

Run: python benchmarks/power_placement.py
"""

from __future__ import annotations

import time

import numpy as np

from planner.power.feeds.multiplexing import GroupProfile
from planner.power.feeds.placement import place
from planner.power.plan import Placement
from planner.power.site import Site
from planner.types import SolveOptions

NUM_ROWS = 50
ROWS_PER_PDU = 5
NUM_MOMENTS = 500
LIMIT_S = 30
GAP = 0.01


def main() -> None:
    groups = profiles()
    place(site("2N", 2, {"chat": 10}), groups, SolveOptions(time_limit_s=LIMIT_S))  # compiles
    asked = {"chat": 800, "code": 700, "training": 500}
    sites = {
        "2N, feeds and PDUs bind": site("2N", 2, asked),
        "N+1 of 3 feeds, phases bind": site("N+1", 3, asked, shared=1.2),
    }
    for name, to_fill in sites.items():
        _, seconds, gap = timed(name, to_fill, groups)
        print(f"  within {GAP:.0%} of the bound: {gap <= GAP}; within {LIMIT_S} s: {seconds <= LIMIT_S}")
    too_many = {name: round(number * 1.25) for name, number in asked.items()}
    for redundancy, feeds in (("2N", 2), ("N+1", 3)):
        full, _, _ = timed(f"{redundancy}, more than fit", site(redundancy, feeds, too_many), groups)
        peaks, _, _ = timed("  the same by sums of peaks", site(redundancy, feeds, too_many), at_peak(groups))
        print(f"  multiplexing places {full.num_placed / peaks.num_placed - 1:+.1%} servers")


def timed(name: str, to_fill: Site, groups: tuple[GroupProfile, ...]) -> tuple[Placement, float, float]:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    placement = place(to_fill, groups, SolveOptions(time_limit_s=LIMIT_S, gap=GAP))
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    print(
        f"{name}: {placement.num_placed:,} of {placement.num_asked:,} in {wall_s:.1f} s "
        f"({cpu_s:.1f} s of CPU); objective {placement.objective:,.4g}, bound {placement.bound:,.4g}, "
        f"gap {placement.gap:.2%}, imbalance {placement.worst_imbalance:.1%}"
    )
    return placement, wall_s, placement.gap


def site(redundancy: str, feeds: int, asked: dict[str, int], *, shared: float = 0.97) -> Site:
    """Every feed has a PDU per five rows; what is left when one fails has ``shared`` of the rows' budgets."""
    names = [f"feed {f + 1}" for f in range(feeds)]
    row_w = 262e3
    alive = feeds - 1
    return Site.model_validate(
        {
            "redundancy": redundancy,
            "feeds": [{"name": name, "budget_w": shared * NUM_ROWS * row_w / alive} for name in names],
            "pdus": [
                {
                    "name": f"{name} PDU {i + 1}",
                    "feed": name,
                    "budget_w": (shared + 0.02) * ROWS_PER_PDU * row_w / alive,
                }
                for i in range(NUM_ROWS // ROWS_PER_PDU)
                for name in names
            ],
            "rows": [
                {
                    "name": f"row {r + 1}",
                    "pdus": [f"{name} PDU {r // ROWS_PER_PDU + 1}" for name in names],
                    "budget_w": row_w,
                    "slots": 54,
                }
                for r in range(NUM_ROWS)
            ],
            "groups": [{"workload": name, "num_servers": number} for name, number in asked.items()],
        }
    )


def profiles() -> tuple[GroupProfile, ...]:
    """DGX-sized servers whose loads rise and fall together in part; training moves in step."""
    rng = np.random.Generator(np.random.PCG64(0))
    common = rng.normal(0.0, 0.04, NUM_MOMENTS)
    shapes = {"chat": (5200.0, 600.0, 6900.0), "code": (4300.0, 800.0, 6500.0), "training": (5900.0, 150.0, 6900.0)}
    return tuple(
        GroupProfile(name, np.minimum(watts * (1 + common + rng.normal(0.0, 0.02, NUM_MOMENTS)), peak), spread, peak)
        for name, (watts, spread, peak) in shapes.items()
    )


def at_peak(groups: tuple[GroupProfile, ...]) -> tuple[GroupProfile, ...]:
    return tuple(GroupProfile(g.name, np.array([g.peak_w]), 0.0, g.peak_w) for g in groups)


if __name__ == "__main__":
    main()
