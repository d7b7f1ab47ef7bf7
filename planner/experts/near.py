"""Placements that keep tokens near: fewest hops along the layers, or fewest nodes per token, under a cap on load.

Shapes: L layers, S slots, E experts, G GPUs, N nodes, P partitions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.clock import Clock
from planner.experts.affinity import Items, swap_under_cap, sweep_assignments
from planner.experts.balance import Balanced, balance
from planner.experts.chain import best_chain, is_small, partitions
from planner.experts.copies import listed, water_fill
from planner.experts.packing import pack
from planner.experts.placement import held_of
from planner.experts.problem import Problem
from planner.program import Floats, Ints

SAFETY = 0.005
"""Room that the node's load leaves below its cap, so that its GPUs can be packed under theirs."""


@dataclass(frozen=True)
class Near:
    """A placement ``held`` [L, E, G] whose GPUs stay under ``cap`` [L].

    ``proven``: no placement under the cap has fewer hops (between nodes, if there are several).
    """

    held: Ints
    cap: Floats
    proven: bool


def place_near(
    problem: Problem,
    max_load_excess: float | None,
    *,
    fan_out: bool = False,
    max_sweeps: int = 6,
    seed: int,
    clock: Clock,
) -> Near:
    """The placement with the fewest hops, or nodes per token, whose hottest GPU is at most so much above the best.

    ``max_load_excess`` None: load does not matter. Hops between nodes come first, where there are several; hops
    between the GPUs of a node second.
    """
    topology = problem.topology
    load = problem.mean_load
    best = balance(load, topology.gpus, topology.num_slots, seed=seed)
    cap = np.full(len(load), np.inf) if max_load_excess is None else best.hottest * (1 + max_load_excess)
    num_bins = topology.nodes if topology.nodes > 1 else topology.gpus
    if not fan_out and topology.num_slots == problem.num_experts and is_small(problem.num_experts, num_bins):
        exact = _exact(problem, load, cap, num_bins)
        if exact is not None:
            return exact
    copies = water_fill(load, topology.num_slots)
    expert = listed(copies)
    items = _items(problem, load, expert, copies, fan_out=fan_out)
    start = _start(best, expert, topology.gpus // num_bins if topology.nodes > 1 else 1)
    gpus = _placed(problem, items, start, num_bins, cap, fan_out=fan_out, max_sweeps=max_sweeps, clock=clock)
    return Near(_held(expert, gpus, problem.num_experts, topology.gpus), cap, proven=False)


def _placed(
    problem: Problem, items: Items, start: Ints, num_bins: int, cap: Floats, *, fan_out: bool, max_sweeps: int,
    clock: Clock,
) -> Ints:  # fmt: skip
    """[L, S] GPU of every item: bins first, then, where bins are nodes, GPUs within them."""
    topology = problem.topology
    bins = start if fan_out else sweep_assignments(items, start, num_bins, max_sweeps=max_sweeps, clock=clock)
    per_bin = topology.gpus // num_bins
    bin_cap = cap * per_bin * (1 - SAFETY) if per_bin > 1 else cap
    for _ in range(3):
        swap_under_cap(items, bins, num_bins, bin_cap, max_sweeps=2, clock=clock)
        if per_bin == 1:
            return bins
        gpus, hottest = _packed_in_nodes(items.load, bins, num_bins, per_bin, cap)
        over = hottest > cap * (1 + 1e-9)
        if not over.any():
            break
        bin_cap = np.where(over, bin_cap * np.maximum(cap / hottest, 0.98), bin_cap)
    swap_under_cap(items, gpus, topology.gpus, cap, area=problem.node_of, max_sweeps=2, clock=clock)
    return gpus


def _exact(problem: Problem, load: Floats, cap: Floats, num_bins: int) -> Near | None:
    """The proven best chain; None where no partition of some layer meets its cap."""
    routes = problem.known_routes()
    topology = problem.topology
    per_bin = topology.gpus // num_bins
    states = partitions(problem.num_experts, num_bins)
    inside = (states[:, None, :] == np.arange(num_bins)[:, None]).astype(float)
    hottest = np.einsum("pbe,le->lpb", inside, load).max(axis=2)
    allowed = hottest <= (cap * per_bin)[:, None] * (1 + 1e-9)
    if not allowed.any(axis=1).all():
        return None
    bins = best_chain(routes, num_bins, allowed)
    if per_bin == 1:
        return Near(_held(_in_order(load), bins, problem.num_experts, topology.gpus), cap, proven=True)
    gpus, packed = _packed_in_nodes(load, bins, num_bins, per_bin, cap)
    if (packed > cap * (1 + 1e-9)).any():
        return None
    items = _items(problem, load, _in_order(load), np.ones_like(bins), fan_out=False)
    clock = Clock(10.0)
    swap_under_cap(items, gpus, topology.gpus, cap, area=problem.node_of, max_sweeps=4, clock=clock)
    return Near(_held(_in_order(load), gpus, problem.num_experts, topology.gpus), cap, proven=True)


def _in_order(load: Floats) -> Ints:
    return np.tile(np.arange(load.shape[1]), (len(load), 1))


def _items(problem: Problem, load: Floats, expert: Ints, copies: Ints, *, fan_out: bool) -> Items:
    share = np.take_along_axis(1.0 / copies, expert, axis=1)  # [L, S]
    item_load = np.take_along_axis(load, expert, axis=1) * share
    if fan_out:
        return Items(item_load, together=tuple(_together(problem.known_trace(), expert, share, problem.num_experts)))
    between = problem.known_routes()
    routes = tuple(
        between[i][expert[i][:, None], expert[i + 1]] * share[i][:, None] * share[i + 1] for i in range(len(load) - 1)
    )
    return Items(item_load, routes=routes)


def _together(trace: Ints, expert: Ints, share: Floats, num_experts: int) -> list[Floats]:
    """[S, S] per layer: tokens that use both items, per token; two copies of one expert are never used together."""
    result = []
    for layer in range(expert.shape[0]):
        used = np.zeros((len(trace), num_experts))
        np.put_along_axis(used, trace[:, layer], 1.0, axis=1)
        both = used.T @ used / len(trace)
        np.fill_diagonal(both, 0.0)
        result.append(both[expert[layer][:, None], expert[layer]] * share[layer][:, None] * share[layer])
    return result


def _start(best: Balanced, expert: Ints, gpus_per_bin: int) -> Ints:
    """[L, S] bin of every item in the most balanced placement: copies are matched in order."""
    num_layers, _, per_gpu = best.expert.shape
    flat = best.expert.reshape(num_layers, -1)
    order = np.argsort(flat, axis=1, kind="stable")  # items are listed by expert, as ``expert`` is
    if not np.array_equal(np.take_along_axis(flat, order, axis=1), expert):
        order = np.tile(np.arange(flat.shape[1]), (num_layers, 1))
    result: Ints = order // (per_gpu * gpus_per_bin)
    return result


def _packed_in_nodes(load: Floats, node: Ints, num_nodes: int, gpus_per_node: int, cap: Floats) -> tuple[Ints, Floats]:
    """[L, S] GPU of every item, given its node, packed for balance; and the hottest GPU [L]."""
    num_layers, num_items = load.shape
    order = np.argsort(node, axis=1, kind="stable").reshape(num_layers * num_nodes, -1)
    rows = np.repeat(np.arange(num_layers), num_nodes)[:, None]
    item_load = load[rows, order]
    mean = item_load.sum(axis=1) / gpus_per_node
    target = np.maximum(mean * 1.001, np.minimum(np.repeat(cap, num_nodes), mean * 2) * 0.999)
    packing = pack(order, item_load, gpus_per_node, target, num_rounds=20, seed=0)
    gpu = (
        np.arange(gpus_per_node)[None, :, None]
        + (np.arange(num_layers * num_nodes) % num_nodes * gpus_per_node)[:, None, None]
    )
    gpus = np.empty((num_layers, num_items), dtype=np.int64)
    gpus[np.broadcast_to(rows[:, :, None], packing.expert.shape), packing.expert] = np.broadcast_to(
        gpu, packing.expert.shape
    )
    return gpus, packing.hottest().reshape(num_layers, num_nodes).max(axis=1)


def _held(expert: Ints, gpus: Ints, num_experts: int, num_gpus: int) -> Ints:
    """[L, E, G] from the expert and the GPU of every item, both [L, S]."""
    order = np.argsort(gpus, axis=1, kind="stable")
    return held_of(np.take_along_axis(expert, order, axis=1), num_experts, num_gpus)
