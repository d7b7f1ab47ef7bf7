"""Mapping of ranks on uneven links: gain over the fixed orders, distance to the proven bound, and time.

Synthetic clusters as in Pipette's setting: nodes of 8 GPUs, rates between nodes spread ±40% around 50 GB/s, a few links
at a fifth of that. "Random" is the mean over random orders of nodes. Seconds are of one step's communication.

Run: python benchmarks/training_mapping.py
"""

from __future__ import annotations

import itertools
import time

import numpy as np

from planner.program import Floats
from planner.training.communication import Degrees, Traffic, step_seconds
from planner.training.fabric import Fabric, fabric_of_nodes
from planner.training.mapping import Mapping, map_ranks

GPUS_PER_NODE = 8
NUM_SLOW = 3
SEEDS = range(5)
NUM_RANDOM = 100

SMALL = ((8, Degrees(tp=8, dp=2, pp=4)), (8, Degrees(tp=8, dp=4, pp=2)), (8, Degrees(tp=4, dp=4, pp=4)),
         (6, Degrees(tp=8, dp=1, pp=4)), (12, Degrees(tp=8, dp=3, pp=4)), (16, Degrees(tp=8, dp=4, pp=4)),
         (16, Degrees(tp=8, dp=2, pp=8)), (16, Degrees(tp=2, dp=16, pp=4)), (16, Degrees(tp=4, cp=2, dp=4, pp=4)),
         (16, Degrees(tp=4, dp=8, pp=4, ep=16)))  # fmt: skip
LARGE = (Degrees(tp=8, dp=8, pp=8), Degrees(tp=8, dp=32, pp=2), Degrees(tp=4, dp=16, pp=8), Degrees(tp=2, dp=32, pp=8),
         Degrees(dp=64, pp=8), Degrees(tp=4, cp=2, dp=8, pp=8), Degrees(tp=1, dp=64, pp=8, ep=64))  # fmt: skip


def main() -> None:
    map_ranks(Degrees(tp=8, dp=2), _cluster(2, 0), _traffic(Degrees(tp=8, dp=2)))  # compile
    _against_all_orders()
    print(f"\nSeconds per step, mean of {len(SEEDS)} clusters; gain: default / ours, mean (least to most)")
    print(f"{'nodes':>5}  {'degrees':28} {'default':>8} {'simple':>8} {'random':>8} {'ours':>8} {'bound':>8}  gain")
    for num_nodes, degrees in SMALL:
        _compare(num_nodes, degrees, SEEDS)
    print("\n512 GPUs, one cluster")
    for degrees in LARGE:
        _compare(64, degrees, range(1))


def _against_all_orders() -> None:
    """Eight nodes: every order of nodes for TP groups of a whole node, by the plain definition of the cost."""
    degrees, fabric = Degrees(tp=8, dp=2, pp=4), _cluster(8, 0)
    best = min(
        step_seconds(_on_nodes(np.array(order), degrees), degrees, fabric, _traffic(degrees)).total_s
        for order in itertools.permutations(range(8))
        if order[0] < order[1]  # the two replicas can be exchanged
    )
    found = map_ranks(degrees, fabric, _traffic(degrees))
    print(f"8 nodes, all orders: best {best:.4f} s, ours {found.seconds.total_s:.4f} s ({_of(best, found):.1%} of it)")


def _of(best: float, found: Mapping) -> float:
    return best / found.seconds.total_s


def _compare(num_nodes: int, degrees: Degrees, seeds: range) -> None:
    rows, gains, proven, took = [], [], 0, []
    for seed in seeds:
        fabric, traffic = _cluster(num_nodes, seed), _traffic(degrees)
        started = time.process_time()
        found = map_ranks(degrees, fabric, traffic, seed=seed, time_limit_s=60)
        took.append(time.process_time() - started)
        proven += found.proven
        rng = np.random.default_rng(seed)
        orders = (rng.permutation(num_nodes) for _ in range(NUM_RANDOM))
        by_chance = [step_seconds(_on_nodes(o, degrees), degrees, fabric, traffic).total_s for o in orders]
        parts = found.default_seconds, found.best_simple_seconds, found.seconds
        default, simple, ours = (part.total_s for part in parts)
        rows.append((default, simple, float(np.mean(by_chance)), ours, found.bound_seconds))
        gains.append(default / ours)
    means = " ".join(f"{value:8.4f}" for value in np.mean(rows, axis=0))
    name = " ".join(f"{key}{value}" for key, value in vars(degrees).items() if value > 1)
    print(
        f"{num_nodes:5}  {name:28} {means}  {np.mean(gains):.2f} ({min(gains):.2f} to {max(gains):.2f}), "
        f"proven {proven} of {len(seeds)}, {max(took):.1f} s CPU"
    )


def _on_nodes(order: Floats, degrees: Degrees) -> Floats:
    """(pp, dp, cp, tp) ranks in order on nodes in ``order``."""
    gpus = (order[:, None] * GPUS_PER_NODE + np.arange(GPUS_PER_NODE)).ravel()[: degrees.world]
    return gpus.reshape(degrees.pp, degrees.dp, degrees.cp, degrees.tp)


def _cluster(num_nodes: int, seed: int) -> Fabric:
    rng = np.random.default_rng(seed)
    rates = np.triu(50 * rng.uniform(0.6, 1.4, (num_nodes, num_nodes)), 1)
    for _ in range(NUM_SLOW):
        i, j = sorted(rng.choice(num_nodes, 2, replace=False))
        rates[i, j] /= 5
    return fabric_of_nodes(rates + rates.T, GPUS_PER_NODE, 200.0)


def _traffic(degrees: Degrees) -> Traffic:
    """About what a 20B model with micro-batches of one sequence of 2,048 sends on a few hundred GPUs."""
    return Traffic(
        tp_gb=0.025, tp_times=1600 / degrees.pp, cp_gb=0.01, cp_times=400 / degrees.pp, ep_gb=0.025, ep_times=100,
        p2p_gb=0.025 / degrees.tp, p2p_times=16, dp_gb=np.array([40 / degrees.pp / degrees.tp]),
    )  # fmt: skip


if __name__ == "__main__":
    main()
