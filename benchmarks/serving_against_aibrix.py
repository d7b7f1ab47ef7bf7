"""Whole replicas with routing fractions, against rounding up afterwards, on the same random instances.

The chain that AIBrix runs (its GPU optimizer feeds a Mélange solver, then an autoscaler): the solver counts GPUs in
hundredths, that is, it solves Mélange's program with prices and capacities of a hundredth of a GPU, and every
deployment is then rounded up to whole replicas on its own. Hundredths are so fine that the solve is the relaxation,
within a hundredth of a GPU per type: every bucket on the GPU type where it is cheapest. That is what this baseline
does, so it costs the chain's rounding, not CBC's gap. Ours is ``optimise`` at its default gap of 1e-4.

    python benchmarks/serving_against_aibrix.py [--quick] [--instances 200]
"""

from __future__ import annotations

import argparse

import numpy as np
from instances import Instance, instance, mixed_instances

from planner.serving.optimise import optimise
from planner.types import SolveOptions

HUNDREDTH = 0.01


def aibrix(given: Instance) -> float:
    """$/h of whole replicas after solving in hundredths: each bucket on its cheapest GPU type, then rounding up."""
    with np.errstate(divide="ignore"):
        load = np.where(given.throughput > 0, given.rate[:, None] / given.throughput, np.inf)
    cheapest = (load * given.price).argmin(axis=1)
    gpus = np.bincount(cheapest, load[np.arange(cheapest.size), cheapest], minlength=given.price.size)
    hundredths = np.ceil(gpus / HUNDREDTH - 1e-6)
    return float(given.price @ np.ceil(hundredths * HUNDREDTH - 1e-9))


def ours(given: Instance) -> float:
    objective = optimise(given.problem(), SolveOptions()).solution.objective
    assert objective is not None
    return objective


def report(title: str, ratios: list[float]) -> None:
    print(f"{title:28s} AIBrix's chain costs median {np.median(ratios):5.2f}× ours, "
          f"min {min(ratios):5.2f}×, max {max(ratios):5.2f}×")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 mixed instances, 3 per rate")
    parser.add_argument("--instances", type=int, default=200)
    arguments = parser.parse_args()
    count, each = (20, 3) if arguments.quick else (arguments.instances, 10)
    report("60–200 × 4–16, 1–512/s", [aibrix(i) / ours(i) for _, i in mixed_instances(count)])
    for rate in (1, 4, 16, 64, 256, 512):
        drawn = [instance(100, 8, rate, seed) for seed in range(each)]
        report(f"100 × 8 at {rate}/s", [aibrix(i) / ours(i) for i in drawn])


if __name__ == "__main__":
    main()
