"""The most balanced placement for one known load: copies by water-filling, packing, then exchanges of copies.

Shapes: L layers, E experts, G GPUs, S slots of a layer, K neighbouring choices of copies.
Loads are scaled so that the mean GPU carries 1; then 1 / (hottest GPU) is the layer's balancedness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.experts.copies import listed, water_fill
from planner.experts.packing import Packing, pack, repack
from planner.program import Floats, Ints

CLOSE_ENOUGH = 3e-4
"""Layers within this of their bound are finished: no engine can measure less."""


@dataclass(frozen=True)
class Balanced:
    """A placement [L, G, r] of experts, the hottest GPU of each layer [L], and the proven least of that [L]."""

    expert: Ints
    hottest: Floats
    bound: Floats


def balance(load: Floats, num_gpus: int, num_slots: int, *, seed: int = 0, num_tries: int = 4) -> Balanced:
    """Place experts of ``load`` [L, E] (any unit, no layer all zero) on ``num_gpus`` GPUs with ``num_slots`` in all."""
    load = scaled(load, num_gpus)
    copies = water_fill(load, num_slots)
    bound = np.maximum(1.0, (load / copies).max(axis=1))
    target = bound * (1 + CLOSE_ENOUGH)
    packing = _packed(load, copies, num_gpus, target, seed)
    repack(packing, target, num_tries=num_tries, num_rounds=6, seed=seed)
    if num_slots > load.shape[1]:
        _exchange_copies(packing, load, copies, target, seed)
    return Balanced(packing.expert, packing.hottest(), bound)


def scaled(load: Floats, num_gpus: int) -> Floats:
    """``load`` [..., E] in units of the mean GPU's load."""
    return load * (num_gpus / load.sum(axis=-1, keepdims=True))


def _packed(load: Floats, copies: Ints, num_gpus: int, target: Floats, seed: int, num_rounds: int = 20) -> Packing:
    expert = listed(copies)
    share = np.take_along_axis(load / copies, expert, axis=1)
    return pack(expert, share, num_gpus, target, num_rounds=num_rounds, seed=seed)


def _exchange_copies(packing: Packing, load: Floats, copies: Ints, target: Floats, seed: int) -> None:
    """Where packing alone stays above ``target``, take a copy from one expert and give it to another.

    Water-filling makes the hottest copy as cool as possible, but a hot copy also needs light ones beside it: one
    more copy of a light expert makes two lighter ones. Neighbours are tried all at once as if they were layers.
    """
    num_gpus, per_gpu = packing.load.shape[1:]
    num_exchanges, width = (12, 10) if per_gpu <= 2 else (2, 2)
    hottest = packing.hottest()
    active = np.flatnonzero(hottest > target * (1 if per_gpu <= 2 else 1.002))
    for _ in range(num_exchanges):
        if not active.size:
            return
        neighbours = _neighbours(load[active], copies[active], width)  # [A, K, E]
        num_neighbours = neighbours.shape[1]
        flat = neighbours.reshape(-1, load.shape[1])
        trial = _packed(
            np.repeat(load[active], num_neighbours, axis=0), flat, num_gpus,
            np.repeat(target[active], num_neighbours), seed, num_rounds=8,
        )  # fmt: skip
        peaks = trial.hottest().reshape(active.size, num_neighbours)
        best = peaks.argmin(axis=1)
        peak = peaks[np.arange(active.size), best]
        better = np.flatnonzero(peak < hottest[active] - 1e-6)
        chosen = better * num_neighbours + best[better]
        active = active[better]
        packing.put(active, trial.take(chosen))
        copies[active] = flat[chosen]
        hottest[active] = peak[better]
        active = active[hottest[active] > target[active]]


def _neighbours(load: Floats, copies: Ints, width: int) -> Ints:
    """[A, K, E] choices of copies one exchange away.

    Receivers: the experts with the lightest copies and the two with the hottest; donors: the replicated experts
    that heat up least.
    """
    num_layers = load.shape[0]
    rows = np.arange(num_layers)[:, None, None]
    by_share = np.argsort(load / copies, axis=1)
    receivers = np.concatenate([by_share[:, :width], by_share[:, -2:]], axis=1)
    after_loss = np.where(copies > 1, load / np.maximum(copies - 1, 1), np.inf)
    donors = np.argsort(after_loss, axis=1)[:, :3]
    has_donor = np.take_along_axis(copies, donors, 1) > 1
    change = np.zeros((num_layers, receivers.shape[1], donors.shape[1], load.shape[1]), dtype=np.int64)
    np.add.at(change, (rows, np.arange(receivers.shape[1])[:, None], np.arange(donors.shape[1]), receivers[:, :, None]), 1)
    np.subtract.at(
        change,
        (rows, np.arange(receivers.shape[1])[:, None], np.arange(donors.shape[1]), donors[:, None, :]),
        1,
    )
    change *= has_donor[:, None, :, None]
    return (copies[:, None, None, :] + change).reshape(num_layers, -1, load.shape[1])
