"""Plan on all workloads but one, judge on that one with its best dispatch; against EPLB's greedy on the mean load.

Run: python benchmarks/experts_robust.py
"""

from __future__ import annotations

import numpy as np
from experts_data import stopwatch, verdict, workloads

from planner.clock import Clock
from planner.experts.balance import scaled
from planner.experts.dispatch import best_dispatch
from planner.experts.eplb import greedy_global
from planner.experts.measure import balancedness
from planner.experts.placement import held_of
from planner.experts.robust import place_robustly

BARS = {(32, 288): (0.93, 0.85), (64, 320): (0.885, 0.78)}


def main() -> None:
    names, counts = workloads()
    for (gpus, slots), (mean_bar, worst_bar) in BARS.items():
        load = scaled(counts, gpus)
        ours, greedy = [], []
        times: list[float] = []
        for i in range(len(names)):
            seen = np.delete(load, i, axis=0)
            weight = np.full(len(seen), 1 / len(seen))
            with stopwatch(times):
                placed = place_robustly(seen, weight, gpus, slots, seed=0, clock=Clock(60))
            ours.append(_judged(load[i : i + 1], placed, gpus))
            greedy.append(_judged(load[i : i + 1], greedy_global(seen.mean(axis=0), gpus, slots), gpus))
        print(f"\n{gpus} GPUs, {slots} slots, held out one by one ({np.mean(times):.1f} CPU s each)")
        for name, a, b in zip(names, ours, greedy, strict=True):
            print(f"  {name:24} gpuplan {a:.4f}  greedy on the mean {b:.4f}")
        print(f"  greedy: mean {np.mean(greedy):.4f}, worst {min(greedy):.4f}")
        verdict(f"held-out balancedness {gpus}/{slots}, mean", float(np.mean(ours)), mean_bar)
        verdict(f"held-out balancedness {gpus}/{slots}, worst", min(ours), worst_bar)


def _judged(load: np.ndarray, slots: np.ndarray, gpus: int) -> float:
    share = best_dispatch(load, np.ones(1), held_of(slots, load.shape[2], gpus))
    return float(balancedness(load, share)[0])


if __name__ == "__main__":
    main()
