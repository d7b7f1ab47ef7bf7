r"""The cheapest mix as a mixed-integer program.

Sets:
    s services; b ∈ B_s request-size buckets; p ∈ P_s pools (layout × market class); o offers; t GPU types;
    (p, o) hosts: pools that may run on an offer.
Data:
    λ_b requests/s; c_pb requests/s one replica of p sustains of b alone within the SLO; u_s highest utilisation;
    g_p GPUs per replica; G_o GPUs per instance; price_o (or W, or g CO2/h) per instance, a_po per running replica.
Variables:
    x_pb ∈ [0, 1]  share of bucket b served by pool p
    n_po ∈ ℤ≥0     replicas of p on offer o;  N_p = Σ_o n_po
    y_o ∈ ℤ≥0      instances rented; left out where every replica fills whole instances (then y_o = Σ_p n_po g_p/G_o)
    z              used (GPU type t, or pool p), only where a limit counts types or spares
Objective:
    min Σ_o price_o y_o + Σ_po a_po n_po
Constraints:
    demand      Σ_p x_pb = 1                                            for every b, over pools that are not decode
    hand-over   Σ_{p prefill in g} x_pb = Σ_{p decode in g} x_pb         for every b and group g of split pools
    capacity    Σ_b λ_b/(c_pb u_s) x_pb ≤ N_p − k_s z_p                 for every p (k_s spares); where the loads
                sum to less than 1 they are scaled to 1, which leaves the same whole counts and a tighter relaxation
    packing     Σ_{p: g_p ≥ d} n_po g_p/d ≤ ⌊G_o/d⌋ y_o                 for every o and replica size d on it
    spot        Σ_{p spot} Σ_b λ_b x_pb ≤ f_s Σ_b λ_b
    caps        Σ_o w_o y_o ≤ limit;  budget, power alike;  Σ_t z_t ≤ types
Goodput      max θ with Σ_p x_pb = θ within the limits.

Packing is exact because sizes on one offer divide each other (1, 2, 4, 8 …): filling the largest first never
wastes a slot that another order would use.

This is Mélange (Griggs et al. 2024, §5.3, eqs. 1–4) with three changes. Its binary x[slice, GPU] becomes a share, that
is an infinite slice factor, so an optimum is never dearer and the k! orders of equal slices, and of equal replicas, are
gone before the solver sees them: only counts are integer. Several replicas share an instance that is paid whole. And
several services share offers and limits. Pools that do one phase only are Splitwise's (Patel et al., ISCA 2024, §4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.program import Floats, Ints, Program, ProgramBuilder
from planner.serving.problem import Answer, Problem, ServiceNumbers

_MANY = 1e6  # replicas or instances: a bound where nothing tighter is known
_LEAST_LOAD = 3e-6  # replicas

Names = tuple[Ints, ...]
"""Per service, the column of every [pool, …] cell; −1 where there is none."""


@dataclass(frozen=True)
class Formulation:
    """A program with the meaning of its columns."""

    program: Program
    share: Names  # [P, B]
    replicas: Names  # [P, O]
    instances: Ints  # [O]; −1 where y_o is implied
    filled: tuple[Floats, ...]  # [P, O] instances that one replica fills where y_o is implied, else 0
    scale: int  # column of θ; −1 without

    def answer(self, values: Floats) -> Answer:
        """Read counts and shares out of a solution vector."""
        padded = np.append(values, 0.0)
        replicas = tuple(np.rint(padded[columns]).astype(np.int64) for columns in self.replicas)
        implied = sum((counts * filled).sum(axis=0) for counts, filled in zip(replicas, self.filled, strict=True))
        instances = np.rint(padded[self.instances] + implied).astype(np.int64)
        share = tuple(np.clip(padded[columns], 0.0, None) for columns in self.share)
        return Answer(replicas, instances, share, float(values[self.scale]) if self.scale >= 0 else 1.0)


def formulate(problem: Problem, *, names: bool = False) -> Formulation:
    """Write the program. ``names`` labels rows and columns, for ``.lp`` files."""
    builder = ProgramBuilder()
    scale = int(builder.columns("scale", -1.0, count=1)[0]) if problem.goodput else -1
    filled = _filled_instances(problem)
    shares, replicas = [], []
    for s, (service, fills) in enumerate(zip(problem.services, filled, strict=True)):
        cost = problem.per_replica(service) + problem.per_instance * fills
        share, counts = _service(builder, service, s, cost, scale)
        shares.append(share)
        replicas.append(counts)
    instances = _instances(builder, problem, replicas, filled)
    _limits(builder, problem, replicas, instances, filled)
    return Formulation(builder.program(names=names), tuple(shares), tuple(replicas), instances, filled, scale)


def _filled_instances(problem: Problem) -> tuple[Floats, ...]:
    """Per service [P, O], the instances one replica fills, on offers where every replica fills whole ones; else 0."""
    size = problem.offers.gpus
    whole = np.ones(size.size, bool)
    for service in problem.services:
        whole &= (~service.hosts | (service.gpus[:, None] % size == 0)).all(axis=0)
    return tuple(service.gpus[:, None] / size * (service.hosts & whole) for service in problem.services)


def _service(builder: ProgramBuilder, service: ServiceNumbers, s: int, cost: Floats, scale: int) -> tuple[Ints, Ints]:
    """Columns and rows that concern one service alone: shares, replicas, demand, capacity, spot, spares."""
    unbounded = scale >= 0
    load = np.where(service.hosted[:, None], service.load, np.inf)
    num_pools, num_buckets = load.shape
    pools, buckets = np.nonzero(np.isfinite(load))
    share = np.full((num_pools, num_buckets), -1)
    x = builder.columns(f"x_{s}", 0.0, count=pools.size, upper=np.inf if unbounded else 1.0, block=s)
    share[pools, buckets] = x
    most = np.full(num_pools, _MANY) if unbounded else _most_replicas(service, load)
    host_pool, host_offer = np.nonzero(service.hosts)
    counts = np.full(service.hosts.shape, -1)
    n = builder.columns(
        f"n_{s}", cost[host_pool, host_offer], count=host_pool.size, upper=most[host_pool], integer=True, block=s
    )
    counts[host_pool, host_offer] = n

    total = 0.0 if unbounded else 1.0
    demand = builder.rows(f"demand_{s}", total, total, count=num_buckets)
    admitted = service.admits[pools]
    builder.entries(demand[buckets[admitted]], x[admitted], 1.0)
    hand_over(builder, service, pools, buckets, x, name=f"hand_over_{s}")
    capacity = builder.rows(f"capacity_{s}", -np.inf, 0.0, count=num_pools)
    busy = load if unbounded else _tightened(load)
    builder.entries(capacity[pools], x, busy[pools, buckets])
    builder.entries(capacity[host_pool], n, -1.0)
    if unbounded:
        builder.entries(demand, scale, -1.0)
    if service.min_replicas:
        builder.entries(builder.rows(f"min_replicas_{s}", service.min_replicas, np.inf), n, 1.0)
    if service.spare_replicas:
        used = builder.columns(f"used_{s}", 0.0, count=num_pools, upper=1.0, integer=True, block=s)
        builder.entries(capacity, used, service.spare_replicas)
        rows = builder.rows(f"spares_{s}", -np.inf, 0.0, count=num_pools)
        builder.entries(rows[host_pool], n, 1.0)
        builder.entries(rows, used, -most)
    if service.max_spot_fraction < 1 and service.spot.any():
        allowed = service.max_spot_fraction * float(service.rate.sum())
        row = builder.rows(f"spot_{s}", -np.inf, 0.0 if unbounded else allowed)
        on_spot = service.spot[pools] & admitted
        builder.entries(row, x[on_spot], service.rate[buckets[on_spot]])
        if unbounded:
            builder.entries(row, scale, -allowed)
    return share, counts


def hand_over(
    builder: ProgramBuilder, service: ServiceNumbers, pools: Ints, buckets: Ints, x: Ints, name: str = "hand_over"
) -> None:
    """Rows: of every bucket as much is decoded in a group as is read there. ``x[i]`` is the column of
    (``pools[i]``, ``buckets[i]``).
    """
    split = np.flatnonzero(service.groups[pools] >= 0)
    if not split.size:
        return
    keys, row = np.unique(np.stack([service.groups[pools[split]], buckets[split]]), axis=1, return_inverse=True)
    rows = builder.rows(name, 0.0, 0.0, count=keys.shape[1])
    builder.entries(rows[row.ravel()], x[split], np.where(service.admits[pools[split]], 1.0, -1.0))


def _tightened(load: Floats) -> Floats:
    """[P, B] loads that allow the same whole counts, and fewer fractional ones.

    A pool that less than one replica could serve whole needs one as soon as it serves anything: its loads may sum
    to 1. And no load may drown in the solver's tolerance of 1e-6, or it would be served by nothing; what the small
    ones gain the others lose, so that the sum stays true.
    """
    total = np.where(np.isfinite(load), load, 0.0).sum(axis=1)
    goal = np.where((total > 0) & (total < 1), 1.0, total)
    scaled = load * np.divide(goal, total, out=np.ones_like(total), where=total > 0)[:, None]
    lifted = np.where(scaled > 0, np.maximum(scaled, _LEAST_LOAD), 0.0)
    reached = np.where(np.isfinite(lifted), lifted, 0.0).sum(axis=1)
    return np.asarray(lifted * np.divide(goal, reached, out=np.ones_like(goal), where=reached > 0)[:, None])


def _most_replicas(service: ServiceNumbers, load: Floats) -> Floats:
    """[P] more replicas of a pool than these can never help: enough for all traffic it can serve, spares included."""
    total = np.where(np.isfinite(load), load, 0.0).sum(axis=1)
    needed = np.maximum(np.ceil(total - 1e-9), total > 0) + service.spare_replicas
    return np.asarray(np.clip(needed, service.min_replicas, _MANY))


def _instances(builder: ProgramBuilder, problem: Problem, replicas: list[Ints], filled: tuple[Floats, ...]) -> Ints:
    """Columns y_o with their packing rows, where replicas may share an instance."""
    instances = np.full(problem.offers.gpus.size, -1)
    for o, size in enumerate(problem.offers.gpus):
        if any(fills[:, o].any() for fills in filled):
            continue
        hosted = [
            (service.gpus[counts[:, o] >= 0], counts[counts[:, o] >= 0, o])
            for service, counts in zip(problem.services, replicas, strict=True)
        ]
        replica_sizes = np.unique(np.concatenate([np.minimum(gpus, size) for gpus, _ in hosted]))
        if not replica_sizes.size:
            continue
        instances[o] = builder.columns(f"y_{o}", problem.per_instance[o], count=1, integer=True)[0]
        rows = builder.rows(f"packing_{o}", -np.inf, 0.0, count=replica_sizes.size)
        builder.entries(rows, instances[o], -(size // replica_sizes))
        for gpus, columns in hosted:
            for row, slot in zip(rows, replica_sizes, strict=True):
                large = gpus >= slot
                builder.entries(row, columns[large], gpus[large] / slot)
    return instances


def _limits(
    builder: ProgramBuilder, problem: Problem, replicas: list[Ints], instances: Ints, filled: tuple[Floats, ...]
) -> None:
    """Rows that all services share: caps, budget, power, number of GPU types."""
    offers = problem.offers

    def limit(name: str, per_instance: Floats, upper: float, per_replica: list[Floats] | None = None) -> None:
        """Σ per_instance·y (+ Σ per_replica·n) <= upper, with implied y written as replicas."""
        row = builder.rows(name, -np.inf, upper)
        rented = (instances >= 0) & (per_instance != 0)
        builder.entries(row, instances[rented], per_instance[rented])
        for s, (counts, fills) in enumerate(zip(replicas, filled, strict=True)):
            weight = per_instance * fills + (per_replica[s] if per_replica else 0.0)
            cells = (counts >= 0) & (weight != 0)
            builder.entries(row, counts[cells], weight[cells])

    for k, cap in enumerate(problem.caps):
        limit(f"cap_{k}", cap.weight, cap.limit)
    if problem.budget_usd_per_hour is not None:
        limit("budget", offers.usd_per_hour, problem.budget_usd_per_hour)
    if problem.power_w is not None:
        active = [np.broadcast_to(s.active_w[:, None], s.hosts.shape) for s in problem.services]
        limit("power", offers.idle_w, problem.power_w, active)
    if problem.max_gpu_types is not None:
        types = np.unique(offers.gpu_type)
        used = builder.columns("type_used", 0.0, count=types.size, upper=1.0, integer=True)
        builder.entries(builder.rows("gpu_types", -np.inf, problem.max_gpu_types), used, 1.0)
        for gpu_type, column in zip(types, used, strict=True):
            for s, (service, counts) in enumerate(zip(problem.services, replicas, strict=True)):
                columns = counts[:, offers.gpu_type == gpu_type]
                columns = columns[columns >= 0]
                most = _MANY if problem.goodput else float(_most_replicas(service, service.load).sum())
                row = builder.rows(f"type_{gpu_type}_{s}", -np.inf, 0.0)
                builder.entries(row, columns, 1.0)
                builder.entries(row, column, -max(most, 1.0))
