"""Exact placement along the layers for small models: dynamic programming over balanced partitions.

A token that leaves expert e of layer l for expert f of layer l+1 stays put if both are in one bin (GPU or node). Only
neighbouring layers interact and bins are interchangeable, so the best chain of partitions is a longest path: states are
the P partitions of E experts into B bins of equal size, and two neighbouring partitions are matched bin to bin by the
best of the B! permutations.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from planner.program import Bools, Floats, Ints

MOST_WORK = 6_000_000
"""P² · B! above which the dynamic program is not tried."""


def num_partitions(num_experts: int, num_bins: int) -> int:
    """Ways to split experts into unlabelled bins of equal size: E! / ((E/B)!^B · B!)."""
    size = num_experts // num_bins
    alike: int = math.factorial(size) ** num_bins * math.factorial(num_bins)
    return math.factorial(num_experts) // alike


def is_small(num_experts: int, num_bins: int) -> bool:
    """Whether ``best_chain`` is quick for this size."""
    if num_experts % num_bins or num_experts > 16 or num_bins > 6:
        return False
    return num_partitions(num_experts, num_bins) ** 2 * math.factorial(num_bins) <= MOST_WORK


def best_chain(routes: Floats, num_bins: int, allowed: Bools | None = None) -> Ints:
    """[L, E] bin of every expert that keeps most tokens in place; ``routes`` is [L−1, E, E].

    ``allowed`` [L, P] marks the partitions (in the order of ``partitions``) that meet the load limit of each layer.
    """
    num_layers, num_experts = len(routes) + 1, routes.shape[1] if len(routes) else 0
    states = partitions(num_experts, num_bins)
    inside = (states[:, None, :] == np.arange(num_bins)[:, None]).astype(float)  # [P, B, E]
    matchings = np.array(list(itertools.permutations(range(num_bins))))
    forbidden = np.zeros((num_layers, len(states))) if allowed is None else np.where(allowed, 0.0, -np.inf)
    value = forbidden[0]
    steps: list[tuple[Ints, Ints]] = []
    for layer in range(num_layers - 1):
        # stay[p, q, a, b]: tokens that stay if bin a of partition p is the same place as bin b of the next one, q.
        stay = np.einsum("pae,ef,qbf->pqab", inside, routes[layer], inside, optimize=True)
        matched = np.stack([stay[:, :, np.arange(num_bins), matching].sum(axis=2) for matching in matchings], axis=2)
        reached = matched.max(axis=2) + value[:, None]
        steps.append((reached.argmax(axis=0), matched.argmax(axis=2)))
        value = reached.max(axis=0) + forbidden[layer + 1]
    chosen = [int(value.argmax())]
    for came_from, _ in reversed(steps):
        chosen.append(int(came_from[chosen[-1]]))
    chosen.reverse()
    bins = np.empty((num_layers, num_experts), dtype=np.int64)
    place = np.arange(num_bins)  # place[a]: the bin that part a of the layer's partition is in
    bins[0] = states[chosen[0]]
    for layer, (_, matching) in enumerate(steps, start=1):
        onward = np.empty_like(place)
        onward[matchings[matching[chosen[layer - 1], chosen[layer]]]] = place
        place = onward
        bins[layer] = place[states[chosen[layer]]]
    return bins


def partitions(num_experts: int, num_bins: int) -> Ints:
    """[P, E] part of every expert in every partition; parts are numbered by their smallest expert."""
    size = num_experts // num_bins
    rows: list[list[int]] = []

    def extend(part: int, of: list[int]) -> None:
        free = [e for e in range(num_experts) if of[e] < 0]
        if not free:
            rows.append(of)
            return
        for others in itertools.combinations(free[1:], size - 1):
            chosen = list(of)
            for expert in (free[0], *others):
                chosen[expert] = part
            extend(part + 1, chosen)

    extend(0, [-1] * num_experts)
    return np.array(rows, dtype=np.int64)
