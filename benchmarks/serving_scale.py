"""How the serving planner scales, on random instances (``instances.py``), every one printed.

One service: 500 request sizes × 50 deployment units at rates 1–512 requests/s, gap 1e-4, timed from numbers in memory
to answer (bars: < 1 s in the median, < 3 s at worst). Many services: 10 × 60 sizes × 64 units sharing caps, at 5 and at
50 requests/s each, in 1 and in 3 regions, to a proven gap of 0.5% (bar: < 30 s). Memory: the process's largest
resident set (bar: < 500 MB).

    python benchmarks/serving_scale.py [--quick] [--seeds 3]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
from instances import instance, many_services

from planner.serving.optimise import optimise
from planner.serving.problem import Problem
from planner.types import SolveOptions

RATES = (1, 4, 16, 64, 256, 512)


def solved(label: str, problem: Problem, options: SolveOptions) -> float:
    """Seconds; one line is printed."""
    cpu, started = time.process_time(), time.perf_counter()
    solution = optimise(problem, options).solution
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    gap = "no answer" if solution.gap is None else f"gap {solution.gap:.1e}"
    print(f"{label:34s} {seconds:6.2f} s (CPU {cpu:6.2f} s)  {solution.outcome}, {gap}", flush=True)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one seed, few rates")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    seeds = range(1 if arguments.quick else arguments.seeds)
    rates = RATES[::2] if arguments.quick else RATES
    seconds = [
        solved(f"500 × 50 at {rate}/s, seed {seed}", instance(500, 50, rate, seed).problem(), SolveOptions())
        for rate in rates
        for seed in seeds
    ]
    print(f"500 × 50: median {np.median(seconds):.2f} s, min {min(seconds):.2f} s, max {max(seconds):.2f} s\n")
    seconds = [
        solved(
            f"10 services at {rate}/s, {regions} region(s), seed {seed}", many_services(rate, seed, regions=regions),
            SolveOptions(gap=5e-3),
        )
        for regions in (1, 3)
        for rate in (5, 50)
        for seed in seeds
    ]  # fmt: skip
    print(f"10 services: median {np.median(seconds):.1f} s, min {min(seconds):.1f} s, max {max(seconds):.1f} s")
    print(f"largest resident set: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
