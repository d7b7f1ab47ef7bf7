"""The most balanced placement of one layer as a mixed-integer program: the exact reference on small cases.

Sets:        e  experts;  g  GPUs;  c  numbers of copies, 1 … C;  w  workloads
Parameters:  load[w, e] in units of the mean GPU;  r  slots per GPU;  weight[w]
Variables:   y[e, c] ∈ {0, 1}  expert e has c copies
             n[e, g, c] ∈ {0, …, r}  copies of e on g, if it has c
             t[w] ≥ 0  load of the hottest GPU in workload w
Minimise     Σ_w weight[w] · t[w]
subject to   Σ_c y[e, c] = 1                                   every e
             Σ_g n[e, g, c] = c · y[e, c]                      every e, c
             Σ_{e, c} n[e, g, c] = r                           every g
             Σ_{e, c} load[w, e] / c · n[e, g, c] ≤ t[w]       every w, g

GPUs are interchangeable: with one workload they are ordered by load, hottest first. The load of a copy is load/c, which
is not linear in the number of copies; that is what the choice y[e, c] is for.

Shapes: W workloads, E experts, G GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.program import Floats, Ints, Program, ProgramBuilder
from planner.solver import Solution, solve
from planner.types import SolveOptions

MOST_COLUMNS = 600
"""Columns of n above which the program is too large to be worth its time."""


@dataclass(frozen=True)
class Exact:
    """A placement ``held`` [E, G], the mean of its hottest GPUs and its proven bound."""

    held: Ints
    hottest: float
    bound: float
    proven: bool


def is_small(num_experts: int, num_gpus: int, num_slots: int) -> bool:
    """Whether the program of this size is worth building."""
    return num_experts * num_gpus * (num_slots - num_experts + 1) <= MOST_COLUMNS


def solve_layer(load: Floats, weight: Floats, num_gpus: int, num_slots: int, options: SolveOptions) -> Exact | None:
    """The best placement of ``load`` [W, E] (scaled); None where the time limit came before any."""
    program, n = formulate(load, weight, num_gpus, num_slots)
    solution = solve(program, options)
    if solution.values is None:
        return None
    held = solution.values[n].round().astype(np.int64).sum(axis=2)
    return _read(held, load, weight, solution)


def formulate(
    load: Floats, weight: Floats, num_gpus: int, num_slots: int, *, names: bool = False
) -> tuple[Program, Ints]:
    """The program, and the columns of n as [E, G, C]."""
    num_workloads, num_experts = load.shape
    most = num_slots - num_experts + 1
    per_gpu = num_slots // num_gpus
    count = np.arange(1, most + 1)
    build = ProgramBuilder()
    y = build.columns("copies", 0.0, count=num_experts * most, upper=1.0, integer=True).reshape(num_experts, most)
    n = build.columns("held", 0.0, count=num_experts * num_gpus * most, upper=float(per_gpu), integer=True)
    n = n.reshape(num_experts, num_gpus, most)
    t = build.columns("hottest", weight, count=num_workloads)
    one_count = build.rows("one_count", 1.0, 1.0, count=num_experts)
    build.entries(one_count[:, None], y, 1.0)
    all_placed = build.rows("all_placed", 0.0, 0.0, count=num_experts * most).reshape(num_experts, most)
    build.entries(all_placed[:, None, :], n, 1.0)
    build.entries(all_placed, y, -count.astype(float))
    full = build.rows("full", float(per_gpu), float(per_gpu), count=num_gpus)
    build.entries(full[None, :, None], n, 1.0)
    for w in range(num_workloads):
        cool = build.rows(f"cool_{w}", -np.inf, 0.0, count=num_gpus)
        build.entries(cool[None, :, None], n, (load[w][:, None] / count)[:, None, :])
        build.entries(cool, t[w], -1.0)
    if num_workloads == 1 and num_gpus > 1:
        ordered = build.rows("ordered", 0.0, np.inf, count=num_gpus - 1)
        per_copy = (load[0][:, None] / count)[:, None, :]
        build.entries(ordered[None, :, None], n[:, :-1], per_copy)
        build.entries(ordered[None, :, None], n[:, 1:], -per_copy)
    return build.program(names=names), n


def _read(held: Ints, load: Floats, weight: Floats, solution: Solution) -> Exact:
    hottest = float(weight @ ((load / held.sum(axis=1)) @ held).max(axis=1))
    bound = 0.0 if solution.bound is None else solution.bound
    return Exact(held, hottest, min(bound, hottest), solution.outcome == "optimal")
