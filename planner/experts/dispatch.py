"""Which share of an expert's tokens each of its copies should get: a linear program per layer.

Sets:        i  places (expert e(i), GPU g(i)) of experts on more than one GPU;  w  workloads;  g  GPUs
Parameters:  load[w, e];  pinned[w, g] load of the experts that g alone holds;  away[i] off the home node;  cap
Variables:   x[i] ≥ 0  share of e(i)'s tokens that g(i) serves;  t[w] ≥ 1  the hottest GPU in workload w
Minimise     Σ_w weight[w] · t[w]  +  TIE · Σ_i load[e(i)] · away[i] · x[i]
subject to   Σ_{i: e(i) = e} x[i] = 1                                   every replicated expert e
             pinned[w, g] + Σ_{i: g(i) = g} load[w, e(i)] · x[i] ≤ t[w]  every w, g
             Σ_i load[e(i)] · away[i] · x[i] ≤ cap                       where experts have home nodes

Shapes: W workloads, L layers, E experts, G GPUs, I places of replicated experts in a layer.
"""

from __future__ import annotations

import numpy as np

from planner.errors import GpuplanError
from planner.program import Bools, Floats, Ints, ProgramBuilder
from planner.solver import solve
from planner.types import SolveOptions

TIE = 1e-6
"""Among equally balanced dispatches, the one that keeps more tokens at home."""


def best_dispatch(
    load: Floats, weight: Floats, held: Ints, *, away: Bools | None = None, off_home_cap: float = 1.0
) -> Floats:
    """[L, E, G] shares that minimise the hottest GPU, averaged over workloads ``load`` [W, L, E] (scaled).

    ``held`` is [L, E, G]; ``away`` [L, E, G] marks GPUs off the expert's home node, which may serve at most
    ``off_home_cap`` of the tokens.
    """
    share = np.zeros(held.shape)
    for layer in range(len(held)):
        share[layer] = _layer_dispatch(
            load[:, layer], weight, held[layer] > 0, None if away is None else away[layer], off_home_cap
        )
    return share


def _layer_dispatch(load: Floats, weight: Floats, holds: Bools, away: Bools | None, off_home_cap: float) -> Floats:
    num_gpus = holds.shape[1]
    replicated = holds.sum(axis=1) > 1
    share = holds.astype(float)
    if not replicated.any():
        return share
    expert, gpu = np.nonzero(holds & replicated[:, None])
    pinned = np.matmul(load * ~replicated, share)  # [W, G]
    num_workloads = len(weight)
    build = ProgramBuilder()
    off = np.zeros(expert.size) if away is None else (weight @ load)[expert] * away[expert, gpu]
    x = build.columns("share", TIE * off, count=expert.size, upper=1.0)
    t = build.columns("hottest", weight, count=num_workloads)
    names, row_of = np.unique(expert, return_inverse=True)
    served = build.rows("served", 1.0, 1.0, count=names.size)
    build.entries(served[row_of], x, 1.0)
    for w in range(num_workloads):
        cool = build.rows(f"cool_{w}", -np.inf, -pinned[w], count=num_gpus)
        build.entries(cool[gpu], x, load[w, expert])
        build.entries(cool, t[w], -1.0)
    if away is not None:
        home = build.rows("off_home", -np.inf, max(off_home_cap * num_gpus, _least_off_home(expert, off)))
        build.entries(home, x, off)
    solution = solve(build.program(), SolveOptions(time_limit_s=60.0))
    if solution.values is None:  # every expert has a GPU and t is free: cannot happen but by a failing solver
        raise GpuplanError("the dispatch program came back without an answer")
    share[expert, gpu] = np.clip(solution.values[x], 0.0, 1.0)
    result: Floats = share / share.sum(axis=1, keepdims=True)
    return result


def _least_off_home(expert: Ints, off: Floats) -> float:
    """The least that must be served off home: the cap never asks for less."""
    return float(sum(off[expert == e].min() for e in np.unique(expert)))
