"""The placements to compare with: experts in order, and EPLB's published greedy, written from its description.

EPLB (DeepSeek, https://github.com/deepseek-ai/EPLB): replicate the expert whose copies are hottest until all slots are
taken, then pack copies hottest first, each on the coolest GPU that has room. *Hierarchical*: first pack groups onto
nodes, then do both within each node; *global* ignores groups and nodes. Vectorised over layers.
Shapes: L layers, E experts, S slots, G GPUs, N nodes.
"""

from __future__ import annotations

import numpy as np

from planner.experts.copies import listed, water_fill
from planner.program import Floats, Ints


def default_placement(num_layers: int, num_experts: int, num_slots: int) -> Ints:
    """[L, S] experts in order; redundant slots start again from expert 0 (SGLang's trivial placement)."""
    return np.tile(np.arange(num_slots) % num_experts, (num_layers, 1))


def greedy_global(load: Floats, num_gpus: int, num_slots: int) -> Ints:
    """[L, S] EPLB's global placement of ``load`` [L, E]."""
    copies = water_fill(load, num_slots)
    expert = listed(copies)
    share = np.take_along_axis(load / copies, expert, axis=1)
    return np.take_along_axis(expert, packed_in_order(share, num_gpus), axis=1)


def greedy_hierarchical(load: Floats, num_gpus: int, num_slots: int, num_nodes: int, num_groups: int) -> Ints:
    """[L, S] EPLB's hierarchical placement of ``load`` [L, E]: whole groups on nodes, copies only within the node."""
    num_layers, num_experts = load.shape
    group_size = num_experts // num_groups
    by_group = load.reshape(num_layers, num_groups, group_size).sum(axis=2)
    groups = packed_in_order(by_group, num_nodes)  # [L, groups], node by node
    experts = (groups[:, :, None] * group_size + np.arange(group_size)).reshape(num_layers * num_nodes, -1)
    rows = np.repeat(np.arange(num_layers), num_nodes)[:, None]
    local = greedy_global(load[rows, experts], num_gpus // num_nodes, num_slots // num_nodes)
    return np.take_along_axis(experts, local, axis=1).reshape(num_layers, -1)


def packed_in_order(load: Floats, num_bins: int) -> Ints:
    """[L, S] the item in each slot, bin by bin: hottest first, each to the coolest bin with room (LPT, balanced).

    ``load`` is [L, S].
    """
    num_layers, num_items = load.shape
    room = num_items // num_bins
    order = np.argsort(-load, axis=1, kind="stable")
    rows = np.arange(num_layers)
    total = np.zeros((num_layers, num_bins))
    taken = np.zeros((num_layers, num_bins), dtype=np.int64)
    slots = np.empty((num_layers, num_bins, room), dtype=np.int64)
    for i in range(num_items):
        item = order[:, i]
        coolest = np.where(taken < room, total, np.inf).argmin(axis=1)
        slots[rows, coolest, taken[rows, coolest]] = item
        total[rows, coolest] += load[rows, item]
        taken[rows, coolest] += 1
    return slots.reshape(num_layers, -1)
