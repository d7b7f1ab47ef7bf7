"""Balance for one known load, against EPLB's greedy: quality, proven bound and time, whole model of 58 layers.

Run: python benchmarks/experts_balance.py
"""

from __future__ import annotations

import numpy as np
from experts_data import stopwatch, verdict, workloads

from planner.experts.balance import balance, scaled
from planner.experts.eplb import greedy_global, greedy_hierarchical
from planner.experts.measure import balancedness
from planner.experts.placement import even_share, held_of

SETTINGS = ((32, 288, 4, 0.9995, 0.1), (64, 320, 8, 0.999, 0.1), (72, 288, 9, 0.998, 0.1), (128, 384, 16, 0.998, 0.25),
            (144, 288, 18, 0.87, 0.25))  # fmt: skip
REPEATS = 3


def main() -> None:
    names, counts = workloads()
    balance(counts[0], 32, 288)  # warm up
    for gpus, slots, nodes, bar, limit_s in SETTINGS:
        ours, bounds, greedy, times, greedy_times = [], [], [], [], []
        for load in counts:
            own: list[float] = []
            theirs: list[float] = []
            for _ in range(REPEATS):
                with stopwatch(own):
                    placed = balance(load, gpus, slots)
                with stopwatch(theirs):
                    packed = greedy_global(load, gpus, slots)
            times.append(min(own))
            greedy_times.append(min(theirs))
            ours.append(_balancedness(load, placed.expert, gpus))
            greedy.append(_balancedness(load, packed, gpus))
            bounds.append(float((1 / placed.bound).mean()))
        print(f"\n{gpus} GPUs, {slots} slots: mean of {len(names)} workloads, worst in brackets")
        print(f"  gpuplan {np.mean(ours):.5f} ({min(ours):.5f})  proven at most {np.mean(bounds):.4f}")
        print(f"  EPLB    {np.mean(greedy):.5f} ({min(greedy):.5f})", end="")
        if 8 % nodes == 0:
            local = [_balancedness(x, greedy_hierarchical(x, gpus, slots, nodes, 8), gpus) for x in counts]
            print(f"  hierarchical {np.mean(local):.5f} ({min(local):.5f})", end="")
        print(
            f"\n  CPU, slowest workload: gpuplan {1000 * max(times):.0f} ms, "
            f"EPLB vectorised {1000 * max(greedy_times):.0f} ms"
        )
        verdict(f"balancedness {gpus}/{slots}, mean", float(np.mean(ours)), bar)
        verdict(f"seconds {gpus}/{slots}", max(times), limit_s, at_least=False)


def _balancedness(load: np.ndarray, slots: np.ndarray, gpus: int) -> float:
    share = even_share(held_of(slots, load.shape[1], gpus))
    return float(balancedness(scaled(load, gpus)[None], share)[0])


if __name__ == "__main__":
    main()
