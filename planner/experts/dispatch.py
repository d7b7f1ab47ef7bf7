"""Which share of an expert's tokens each of its copies should get: a linear program per layer.

Sets:        i  places (expert e(i), GPU g(i)) of experts on more than one GPU;  w  workloads;  g  GPUs
Parameters:  load[w, e];  pinned[w, g] load of the experts that g alone holds;  away[i] off the home node;  cap
Variables:   x[i] ≥ 0  share of e(i)'s tokens that g(i) serves;  t[w] ≥ 1  the hottest GPU in workload w
Minimise     Σ_w weight[w] · t[w]  +  TIE · Σ_i load[e(i)] · away[i] · x[i]
subject to   Σ_{i: e(i) = e} x[i] = 1                                   every replicated expert e
             pinned[w, g] + Σ_{i: g(i) = g} load[w, e(i)] · x[i] ≤ t[w]  every w, g
             Σ_i load[e(i)] · away[i] · x[i] ≤ cap                       where experts have home nodes
For the worst workload, one t without weight takes the place of all t[w].

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


def best_dispatch(load: Floats, weight: Floats, held: Ints, *, worst: bool = False) -> Floats:
    """[L, E, G] shares that minimise the hottest GPU, averaged over workloads ``load`` [W, L, E] (scaled).

    ``held`` is [L, E, G]. ``worst``: the hottest GPU of the worst workload instead.
    """
    return np.stack(
        [_layer_dispatch(load[:, i], weight, held[i] > 0, None, 1.0, worst=worst) for i in range(len(held))]
    )


def best_dispatch_near_home(
    load: Floats, weight: Floats, held: Ints, away: Bools, max_off_home: float, *, worst: bool = False
) -> Floats:
    """The same with at most ``max_off_home`` of the tokens served on GPUs ``away`` [L, E, G], mean over layers."""
    mean = np.einsum("w,wle->le", weight, load)
    share = np.zeros(held.shape)
    off_home = np.ones(len(held))
    cap = 1.0
    for _ in range(3):  # the least off home at best balance, then with the layers above an even cap held down to it
        for i in np.flatnonzero(off_home >= cap):
            share[i] = _layer_dispatch(load[:, i], weight, held[i] > 0, away[i], cap, worst=worst)
            off_home[i] = (mean[i] * (share[i] * away[i]).sum(axis=1)).sum() / mean[i].sum()
        if off_home.mean() <= max_off_home + 1e-9:
            break
        cap = even_cap(off_home, max_off_home)
    return share


def even_cap(values: Floats, mean_cap: float) -> float:
    """The cap on each of ``values`` [L] that brings their mean down to ``mean_cap`` and touches only the highest."""
    low, high = 0.0, float(values.max())
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(values, middle).mean() <= mean_cap else (low, middle)
    return low


def _layer_dispatch(
    load: Floats, weight: Floats, holds: Bools, away: Bools | None, off_home_cap: float, *, worst: bool
) -> Floats:
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
    t = build.columns("hottest", 1.0 if worst else weight, count=1 if worst else num_workloads)
    names, row_of = np.unique(expert, return_inverse=True)
    served = build.rows("served", 1.0, 1.0, count=names.size)
    build.entries(served[row_of], x, 1.0)
    for w in range(num_workloads):
        cool = build.rows(f"cool_{w}", -np.inf, -pinned[w], count=num_gpus)
        build.entries(cool[gpu], x, load[w, expert])
        build.entries(cool, t[0 if worst else w], -1.0)
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
