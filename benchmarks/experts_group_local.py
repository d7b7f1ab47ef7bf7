"""Group-local placement, 8 groups: balance, tokens off home, with even dispatch and with weights; against EPLB.

Run: python benchmarks/experts_group_local.py
"""

from __future__ import annotations

import numpy as np
from experts_data import stopwatch, verdict, workloads

from planner.clock import Clock
from planner.experts.balance import scaled
from planner.experts.dispatch import best_dispatch_near_home
from planner.experts.eplb import greedy_hierarchical
from planner.experts.grouplocal import away_from, place_group_local
from planner.experts.measure import balancedness
from planner.experts.placement import even_share, held_of

GROUPS = 8
SETTINGS = ((32, 288, 4, 0.14, 0.96, 0.98), (64, 320, 8, 0.24, 0.88, 0.92))


def main() -> None:
    names, counts = workloads()
    for gpus, slots, nodes, cap, even_bar, weighted_bar in SETTINGS:
        load = scaled(counts, gpus)
        rows = []
        times: list[float] = []
        for i, name in enumerate(names):
            own = load[i : i + 1]
            with stopwatch(times):
                placed = place_group_local(own, np.ones(1), nodes, slots, GROUPS, cap, Clock(60))
            away = away_from(placed.home, gpus, nodes)
            weighted = best_dispatch_near_home(own, np.ones(1), placed.held, away, cap)
            greedy = held_of(greedy_hierarchical(own[0], gpus, slots, nodes, GROUPS), own.shape[2], gpus)
            rows.append((
                balancedness(own, even_share(placed.held))[0], placed.off_home.mean(), balancedness(own, weighted)[0],
                np.einsum("le,leg->", own[0], weighted * away) / own[0].sum(), balancedness(own, even_share(greedy))[0],
            ))  # fmt: skip
            even, off, best, off_best, eplb = rows[-1]
            print(
                f"  {name:24} even {even:.4f} ({off:.1%} off home)  weighted {best:.4f} ({off_best:.1%})  "
                f"EPLB {eplb:.4f}"
            )
        mean, worst = np.mean(rows, axis=0), np.min(rows, axis=0)
        print(
            f"{gpus} GPUs, {slots} slots: {np.mean(times):.1f} CPU s each; "
            f"worst even {worst[0]:.4f}, weighted {worst[2]:.4f}"
        )
        verdict(f"group-local {gpus}/{slots}, mean", mean[0], even_bar)
        verdict(f"with weights {gpus}/{slots}, mean", mean[2], weighted_bar)
        verdict(f"off home {gpus}/{slots}, largest", float(np.max(rows, axis=0)[1]), cap, at_least=False)
        verdict(f"off home with weights {gpus}/{slots}, largest", float(np.max(rows, axis=0)[3]), cap, at_least=False)


if __name__ == "__main__":
    main()
