"""Small random serving problems, and their optimum by trying every count."""

from __future__ import annotations

from itertools import product

import numpy as np

from planner.program import Floats, Program
from planner.serving.problem import Cap, OfferNumbers, Problem, ServiceNumbers
from planner.solver import solve
from planner.types import SolveOptions

EXACT = SolveOptions(gap=0.0)


def random_problem(
    seed: int, *, num_services: int = 3, num_types: int = 3, num_buckets: int = 3, caps: bool = True,
    packed: bool = False, rate: float = 1.0,
) -> Problem:  # fmt: skip
    """GPU types as one-GPU instances, or ``packed``: pools of 1, 2 and 4 GPUs on shared 8-GPU nodes of each type."""
    rng = np.random.default_rng(seed)
    gpus = np.tile([1, 2, 4], num_types) if packed else np.ones(num_types, np.int64)
    gpu_type = np.repeat(np.arange(num_types), 3) if packed else np.arange(num_types)
    node = 8 if packed else 1
    price = rng.uniform(1, 5, num_types) * node
    zeros = np.zeros(num_types)
    offers = OfferNumbers(price, np.full(num_types, node), zeros, zeros, np.arange(num_types))
    services = []
    for s in range(num_services):
        capacity = rng.uniform(0.3, 1.2, (gpus.size, num_buckets)) * gpus[:, None] ** 0.9
        capacity[rng.random(capacity.shape) < 0.1] = 0.0
        capacity[-1] = np.maximum(capacity[-1], 0.2)  # one pool serves all
        hosts = gpu_type[:, None] == np.arange(num_types)
        traffic = rng.dirichlet(np.ones(num_buckets)) * rate * rng.uniform(0.5, 2)
        services.append(
            ServiceNumbers(f"s{s}", traffic, capacity, gpus, np.zeros(gpus.size), np.zeros(gpus.size, bool), hosts)
        )
    limits = tuple(
        Cap(f"cap-{t}", np.eye(num_types)[t], float(rng.integers(1, 4))) for t in range(num_types - 1) if caps
    )
    return Problem(tuple(services), offers, price, zeros, caps=limits)


def brute_force(program: Program, most: int) -> float | None:
    """The optimum of a small program whose integers are at most ``most``; None where there is no answer."""
    whole = np.flatnonzero(program.integer)
    choices = np.array(list(product(range(most + 1), repeat=whole.size)), dtype=float)
    cost = choices @ program.cost[whole]
    for k in np.argsort(cost, kind="stable"):  # all other columns are free of charge: the first that can be routed wins
        if (choices[k] <= program.upper[whole]).all() and routable(program, choices[k]):
            return float(cost[k])
    return None


def routable(program: Program, counts: Floats) -> bool:
    lower, upper = program.lower.copy(), program.upper.copy()
    lower[program.integer] = upper[program.integer] = counts
    fixed = Program(
        program.cost, program.row, program.column, program.value, program.row_lower, program.row_upper, lower, upper,
        np.zeros_like(program.integer), program.block,
    )  # fmt: skip
    return solve(fixed, EXACT).values is not None
