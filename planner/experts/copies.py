"""How many copies each expert gets: water-filling, which is exactly optimal for the hottest copy.

Shapes: L layers, E experts, S slots of a layer. Even dispatch: each of c copies carries 1/c of its expert's load.
"""

from __future__ import annotations

import numpy as np

from planner.program import Floats, Ints


def water_fill(load: Floats, num_slots: int) -> Ints:
    """[L, E] copies of each expert, one at least and ``num_slots`` in all, that minimise the largest load per copy.

    Each further copy goes to the expert whose copies are hottest: for a sum-constrained min-max of functions
    w/c that fall with c, this greedy is exact (Fox, 1966). ``load`` is [L, E].
    """
    num_layers, num_experts = load.shape
    copies = np.ones((num_layers, num_experts), dtype=np.int64)
    share = load.copy()
    rows = np.arange(num_layers)
    for _ in range(num_slots - num_experts):
        hottest = share.argmax(axis=1)
        copies[rows, hottest] += 1
        share[rows, hottest] = load[rows, hottest] / copies[rows, hottest]
    return copies


def listed(copies: Ints) -> Ints:
    """[L, S] the expert of every copy, in expert order; ``copies`` is [L, E] with equal row sums."""
    num_layers, num_experts = copies.shape
    experts = np.tile(np.arange(num_experts), num_layers)
    return np.repeat(experts, copies.ravel()).reshape(num_layers, -1)


def counted(experts: Ints, num_experts: int) -> Ints:
    """[L, E] how often each expert occurs in ``experts`` [L, S]."""
    num_layers = experts.shape[0]
    keys = experts + np.arange(num_layers)[:, None] * num_experts
    return np.bincount(keys.ravel(), minlength=num_layers * num_experts).reshape(num_layers, num_experts)
