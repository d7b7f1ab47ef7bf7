"""From one workload's plan to every other's within a budget of moves, against a fresh EPLB plan.

Run: python benchmarks/experts_replan.py
"""

from __future__ import annotations

import numpy as np
from experts_data import stopwatch, verdict, workloads

from planner.clock import Clock
from planner.experts.balance import balance, scaled
from planner.experts.eplb import greedy_global
from planner.experts.measure import balancedness
from planner.experts.placement import even_share, held_of, num_moves
from planner.experts.replan import relabelled, replan

GPUS, SLOTS, NODES = 32, 288, 4
BARS = {16: 0.95, 32: 0.98}


def main() -> None:
    names, counts = workloads()
    load = scaled(counts, GPUS)
    plans = [held_of(balance(x, GPUS, SLOTS).expert, x.shape[1], GPUS) for x in load]
    greedy = [held_of(greedy_global(x, GPUS, SLOTS), x.shape[1], GPUS) for x in load]
    pairs = [(i, j) for i in range(len(names)) for j in range(len(names)) if i != j]
    fresh = [num_moves(greedy[j], greedy[i]).mean() for i, j in pairs]
    renamed = [num_moves(relabelled(greedy[j], greedy[i], NODES), greedy[i]).mean() for i, j in pairs[::6]]
    stay = [balancedness(load[j : j + 1], even_share(plans[i]))[0] for i, j in pairs]
    print(
        f"a fresh EPLB plan moves {np.mean(fresh):.0f} of {SLOTS} slots per layer, "
        f"{np.mean(renamed):.0f} with GPUs renamed"
    )
    print(f"moving nothing: balancedness {np.mean(stay):.4f} (worst {min(stay):.4f})")
    for budget, bar in BARS.items():
        reached, times, used = [], [], []
        for i, j in pairs:
            with stopwatch(times):
                held = replan(load[j : j + 1], plans[i], budget, Clock(60))
            reached.append(balancedness(load[j : j + 1], even_share(held))[0])
            used.append(num_moves(held, plans[i]).max())
        print(f"at most {max(used)} moves: worst pair {min(reached):.4f}; {np.mean(times):.2f} CPU s each")
        verdict(
            f"balancedness after ≤ {budget} moves per layer, mean of {len(pairs)} pairs", float(np.mean(reached)), bar
        )


if __name__ == "__main__":
    main()
