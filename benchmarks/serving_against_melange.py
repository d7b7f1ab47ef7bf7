"""Our formulation against Mélange's, on the same random instances (``instances.py``), in one run.

Mélange (Griggs et al. 2024, "Mélange: Cost efficient large language model serving by exploiting GPU heterogeneity",
§5.3, eqs. 1–4) cuts every bucket's traffic into ``slice factor`` equal slices, assigns each slice whole to one GPU type
(binary x[slice, GPU]), and rents integer y[GPU] that cover the load of their slices; it solves with PuLP's CBC, to
its default gap of 0. Both sides are timed from numbers in memory to answer, building of the model included. A CBC
run that hits its limit counts with the limit as its time, so its ratio is a lower bound.

    python benchmarks/serving_against_melange.py [--quick] [--instances 30] [--limit 60]
"""

from __future__ import annotations

import argparse
import resource
import time
from dataclasses import dataclass

import numpy as np
import pulp
from instances import Instance, mixed_instances

from planner.serving.optimise import optimise
from planner.types import SolveOptions

SLICE_FACTORS = (4, 8)


@dataclass(frozen=True)
class Run:
    cost: float | None
    seconds: float
    cpu: float


def cpu_seconds() -> float:
    """Of this process and its finished children: CBC is one. Other work on the machine does not count."""
    spent = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in spent)


def melange(instance: Instance, slice_factor: int, limit_s: float) -> Run:
    """Cost is None where CBC ended without a usable answer."""
    cpu, started = cpu_seconds(), time.perf_counter()
    served = np.flatnonzero(instance.rate > 0)
    slices = [(b, instance.rate[b] / slice_factor) for b in served for _ in range(slice_factor)]
    gpus = range(instance.price.size)
    program = pulp.LpProblem("melange", pulp.LpMinimize)
    y = [pulp.LpVariable(f"y_{g}", 0, cat="Integer") for g in gpus]
    x = [[pulp.LpVariable(f"x_{i}_{g}", cat="Binary") for g in gpus] for i in range(len(slices))]
    program += pulp.lpSum(instance.price[g] * y[g] for g in gpus)
    for row in x:
        program += pulp.lpSum(row) == 1
    for i, (b, _) in enumerate(slices):
        for g in gpus:
            if instance.throughput[b, g] <= 0:  # misses the SLO
                x[i][g].upBound = 0
    for g in gpus:
        load = [
            (i, rate / instance.throughput[b, g]) for i, (b, rate) in enumerate(slices) if instance.throughput[b, g] > 0
        ]
        program += pulp.lpSum(x[i][g] * work for i, work in load) <= y[g]
    program.solve(pulp.PULP_CBC_CMD(msg=False, timeLimit=limit_s, threads=1))
    seconds, cpu = time.perf_counter() - started, cpu_seconds() - cpu
    counts = [variable.value() for variable in y]
    if program.sol_status not in (pulp.LpSolutionOptimal, pulp.LpSolutionIntegerFeasible) or None in counts:
        return Run(None, seconds, cpu)
    return Run(float(instance.price @ np.round(np.array(counts, dtype=float))), seconds, cpu)


def ours(instance: Instance, repeats: int = 3) -> tuple[Run, float]:
    """Cost with the median time of a few runs (milliseconds are at the machine's mercy), and the proven gap."""
    problem = instance.problem()
    runs, cpus, gap = [], [], np.inf
    for _ in range(repeats):
        cpu, started = time.process_time(), time.perf_counter()
        solution = optimise(problem, SolveOptions()).solution
        runs.append(time.perf_counter() - started)
        cpus.append(time.process_time() - cpu)
        gap = np.inf if solution.gap is None else solution.gap
    return Run(solution.objective, float(np.median(runs)), float(np.median(cpus))), gap


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="6 instances, CBC limited to 10 s")
    parser.add_argument("--instances", type=int, default=30)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for each CBC run")
    arguments = parser.parse_args()
    count, limit_s = (6, 10.0) if arguments.quick else (arguments.instances, arguments.limit)
    ours(mixed_instances(1)[0][1])  # the first solve pays for loading the solver
    ratios: dict[int, list[float]] = {factor: [] for factor in SLICE_FACTORS}
    cpu_ratios: dict[int, list[float]] = {factor: [] for factor in SLICE_FACTORS}
    dearer, limited, gaps, savings, seconds = 0, 0, [], [], []
    for label, instance in mixed_instances(count):
        run, gap = ours(instance)
        assert run.cost is not None
        gaps.append(gap)
        seconds.append(run.seconds)
        line = f"{label}  ours {run.cost:9.3f} $/h {run.seconds * 1000:6.1f} ms gap {gap:.0e}"
        for factor in SLICE_FACTORS:
            baseline = melange(instance, factor, limit_s)
            hit = baseline.seconds >= limit_s
            limited += hit
            ratios[factor].append(baseline.seconds / run.seconds)
            cpu_ratios[factor].append(baseline.cpu / run.cpu)
            line += f" | ×{factor}: {baseline.cost or np.nan:9.3f} $/h {ratios[factor][-1]:7.0f}{'+' if hit else ' '}×"
            if baseline.cost is not None:
                savings.append(baseline.cost / run.cost)
                dearer += run.cost > baseline.cost * (1 + 1e-4) + 1e-9
        print(line, flush=True)
    print(f"\nours: median {np.median(seconds) * 1000:.1f} ms, min {min(seconds) * 1000:.1f} ms, "
          f"max {max(seconds) * 1000:.0f} ms; largest gap {max(gaps):.1e}")  # fmt: skip
    print(f"dearer than Mélange (beyond the gap) in {dearer} of {len(savings)} comparisons; Mélange's cost over ours: "
          f"median {np.median(savings):.4f}, max {max(savings):.4f}")  # fmt: skip
    for factor, values in ratios.items():
        print(f"slice factor {factor}: faster by median {np.median(values):.0f}×, "
              f"min {min(values):.0f}×, max {max(values):.0f}×; "
              f"by CPU time median {np.median(cpu_ratios[factor]):.0f}×")  # fmt: skip
    print(f"{limited} of {count * len(SLICE_FACTORS)} CBC runs hit {limit_s:g} s: their ratios are lower bounds (+)")


if __name__ == "__main__":
    main()
