"""Changing a placement in use: the best new one within a budget of moves, and relabelling that saves moves.

Shapes: L layers, W workloads, E experts, G GPUs, N nodes, A places, F experts. A *move* is a slot whose GPU must load
another expert's weights; slots within a GPU are interchangeable.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.clock import Clock
from planner.experts.search import Layer, improve
from planner.program import Floats, Ints

POWERS = ((4, 24), (8, 24), (12, 48))
"""Searches tried per layer, by how much more hot GPUs count than warm ones; which is best differs by layer."""


@dataclass(frozen=True)
class MoveBudget:
    """Rules of a search that may change at most ``budget`` slots of ``start`` [E, G]."""

    start: Ints
    budget: float

    def spent(self, held: Ints) -> float:
        """Slots that differ from the start."""
        return float(np.maximum(held - self.start, 0).sum())

    def replace_price(self, held: Ints, old: Ints, gpu: Ints, new: Ints) -> Floats:
        """[A, F]: 1 for a move, 0 for a slot that had moved already, −1 for one that moves back."""
        return self._gone(held, old, gpu)[:, None] + self._come(held, new, gpu[:, None])

    def swap_price(self, held: Ints, one: tuple[Ints, int], other: tuple[Ints, Ints]) -> Floats:
        """[r, A]: the same for both ends of a swap."""
        mine, hot = one
        theirs, gpu = other
        return (
            self._gone(held, mine, hot)[:, None] + self._come(held, theirs, hot)
            + self._gone(held, theirs, gpu) + self._come(held, mine[:, None], gpu)
        )  # fmt: skip

    def _gone(self, held: Ints, expert: Ints, gpu: Ints | int) -> Floats:
        return np.where(held[expert, gpu] > self.start[expert, gpu], -1.0, 0.0)

    def _come(self, held: Ints, expert: Ints, gpu: Ints | int) -> Floats:
        return np.where(held[expert, gpu] < self.start[expert, gpu], 0.0, 1.0)


def replan(load: Floats, start: Ints, max_moves: int, clock: Clock) -> Ints:
    """[L, E, G] the best-balanced placement at most ``max_moves`` per layer away from ``start`` [L, E, G].

    ``load`` is [W, L, E], scaled. When the clock runs out, the layers that are left keep their start.
    """
    held = start.copy()
    for i in range(len(start)):
        if clock.is_over():
            break
        tries = [Layer(load[:, i], start[i].copy()) for _ in POWERS]
        for layer, powers in zip(tries, POWERS, strict=True):
            improve(layer, MoveBudget(start[i], max_moves), powers=powers)
        held[i] = min(tries, key=lambda layer: layer.hottest).held
    return held


def relabelled(held: Ints, start: Ints, num_nodes: int) -> Ints:
    """[L, E, G] ``held`` with its GPUs renamed so that as few copies as possible move from ``start``.

    Equal GPUs are interchangeable: which of them gets which set of experts is an assignment problem, solved exactly.
    With several nodes, nodes are assigned first and the GPUs within each then, so that nodes stay together.
    """
    from scipy.optimize import linear_sum_assignment  # here: most plans do not need it, and start-up time counts

    num_layers, _, num_gpus = held.shape
    per_node = num_gpus // num_nodes
    renamed = np.empty_like(held)
    for layer in range(num_layers):
        # kept[g, h]: copies that stay when new GPU g is called h.
        kept = np.minimum(held[layer][:, :, None], start[layer][:, None, :]).sum(axis=0)
        blocks = kept.reshape(num_nodes, per_node, num_nodes, per_node)
        value = np.empty((num_nodes, num_nodes))
        names = np.empty((num_nodes, num_nodes, per_node), dtype=np.int64)
        for a in range(num_nodes):
            for b in range(num_nodes):
                rows, columns = linear_sum_assignment(-blocks[a, :, b])
                names[a, b] = columns
                value[a, b] = blocks[a, rows, b, columns].sum()
        for a, b in np.transpose(linear_sum_assignment(-value)).tolist():
            renamed[layer][:, b * per_node + names[a, b]] = held[layer][:, a * per_node : (a + 1) * per_node]
    return renamed
