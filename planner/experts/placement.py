"""Placements in their two forms: which expert is in each slot, and how many copies each GPU holds.

Shapes: L layers, S slots, E experts, G GPUs, r slots per GPU, N nodes.
"""

from __future__ import annotations

import numpy as np

from planner.program import Floats, Ints


def held_of(slots: Ints, num_experts: int, num_gpus: int) -> Ints:
    """[L, E, G] copies of each expert on each GPU; ``slots`` is [L, S] or [L, G, r]."""
    num_layers = slots.shape[0]
    expert = slots.reshape(num_layers, num_gpus, -1)
    keys = (np.arange(num_layers)[:, None, None] * num_experts + expert) * num_gpus + np.arange(num_gpus)[:, None]
    size = num_layers * num_experts * num_gpus
    return np.bincount(keys.ravel(), minlength=size).reshape(num_layers, num_experts, num_gpus)


def slots_of(held: Ints) -> Ints:
    """[L, S] experts in their slots, in order within each GPU; ``held`` is [L, E, G]."""
    num_layers, num_experts, _ = held.shape
    by_gpu = held.transpose(0, 2, 1)
    expert = np.broadcast_to(np.arange(num_experts), by_gpu.shape)
    return np.repeat(expert.ravel(), by_gpu.ravel()).reshape(num_layers, -1)


def even_share(held: Ints) -> Floats:
    """[L, E, G] share of each expert's tokens that each GPU serves when all copies get equally many."""
    share: Floats = held / held.sum(axis=2, keepdims=True)
    return share


def keep_in_place(slots: Ints, start: Ints, num_gpus: int) -> Ints:
    """[L, S] ``slots`` with the copies of each GPU reordered so that those in ``start`` [L, S] stay in their slots."""
    num_layers = slots.shape[0]
    per_gpu = slots.reshape(num_layers * num_gpus, -1).tolist()
    before = start.reshape(num_layers * num_gpus, -1).tolist()
    ordered = []
    for new, old in zip(per_gpu, before, strict=True):
        left = list(new)
        row: list[int | None] = []
        for expert in old:
            stays = expert in left
            if stays:
                left.remove(expert)
            row.append(expert if stays else None)
        ordered.append([left.pop(0) if expert is None else expert for expert in row])
    return np.array(ordered, dtype=np.int64).reshape(num_layers, -1)


def num_moves(held: Ints, start: Ints) -> Ints:
    """[L] copies that GPUs must load to get from ``start`` to ``held``, both [L, E, G]."""
    moves: Ints = np.maximum(held - start, 0).sum(axis=(1, 2))
    return moves
