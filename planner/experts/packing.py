"""Packing copies onto GPUs so that the hottest GPU is as cool as it can be, all layers at once.

Shapes: L layers, G GPUs, r slots of a GPU, S = G·r slots of a layer, A layers still worked on. All work is on whole
arrays: one pass over 58 layers costs little more than one over a single layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.program import Floats, Ints

SMALLEST_GAIN = 1e-9
"""Improvements below this, in units of the mean GPU load, are rounding."""


@dataclass
class Packing:
    """Copies in their slots, refined in place: the expert and the load of each, both [L, G, r]."""

    expert: Ints
    load: Floats

    def hottest(self) -> Floats:
        """[L] load of the hottest GPU."""
        peak: Floats = self.load.sum(axis=2).max(axis=1)
        return peak

    def take(self, layers: Ints) -> Packing:
        """A copy of some layers."""
        return Packing(self.expert[layers], self.load[layers])

    def put(self, layers: Ints, better: Packing) -> None:
        """Overwrite some layers."""
        self.expert[layers] = better.expert
        self.load[layers] = better.load

    def swap(self, layer: Ints, one: tuple[Ints, Ints], other: tuple[Ints, Ints]) -> None:
        """Exchange the copies in slots ``one`` and ``other``, each (GPU, slot); no slot may occur twice."""
        for array in (self.expert, self.load):
            moved = array[layer, one[0], one[1]]
            array[layer, one[0], one[1]] = array[layer, other[0], other[1]]
            array[layer, other[0], other[1]] = moved


def fold(expert: Ints, load: Floats, num_gpus: int) -> Packing:
    """Deal copies out hottest first, G at a time: the hottest of each round to the GPU that is coolest so far.

    LPT (Graham, 1969) in r sorts in place of S steps; for r ≤ 2 it is optimal. ``expert`` and ``load`` are [L, S].
    """
    num_layers, num_slots = load.shape
    num_rounds = num_slots // num_gpus
    order = np.argsort(-load, axis=1, kind="stable").reshape(num_layers, num_rounds, num_gpus)
    rows = np.arange(num_layers)[:, None]
    packing = Packing(
        np.empty((num_layers, num_gpus, num_rounds), dtype=np.int64), np.empty((num_layers, num_gpus, num_rounds))
    )
    total = np.zeros((num_layers, num_gpus))
    for i in range(num_rounds):
        coolest = np.argsort(total, axis=1, kind="stable")
        copy = order[:, i]
        packing.expert[rows, coolest, i] = expert[rows, copy]
        packing.load[rows, coolest, i] = load[rows, copy]
        total[rows, coolest] += load[rows, copy]
    return packing


def level_pairs(packing: Packing, target: Floats, num_rounds: int, rng: np.random.Generator) -> None:
    """Make the GPUs of every pair as equal as one swap can, in rounds of G/2 pairs, until ``target`` [L] is met.

    A round pairs the hottest with the coolest, the second hottest with the second coolest and so on; the next one
    shifts that by a few places; the third pairs at random.
    """
    num_layers, num_gpus, num_slots = packing.load.shape
    half = num_gpus // 2
    active = np.arange(num_layers)
    for i in range(num_rounds):
        total = packing.load[active].sum(axis=2)
        unfinished = total.max(axis=1) > target[active]
        active, total = active[unfinished], total[unfinished]
        if not active.size or not half:
            return
        order = np.argsort(-total, axis=1)
        hot, cool = order[:, :half], order[:, ::-1][:, :half]
        if i % 3 == 1:
            cool = np.roll(cool, 1 + i // 3, axis=1)
        elif i % 3 == 2:
            cool = rng.permuted(cool, axis=1)
        rows = active[:, None]
        excess = np.take_along_axis(total, hot, 1) - np.take_along_axis(total, cool, 1)  # [A, G/2]
        change = packing.load[rows, hot][:, :, :, None] - packing.load[rows, cool][:, :, None, :]  # [A, G/2, r, r]
        miss = np.abs(change - excess[:, :, None, None] / 2).reshape(active.size, half, -1)
        best = miss.argmin(axis=2)
        gain = np.abs(excess) / 2 - np.take_along_axis(miss, best[:, :, None], 2)[:, :, 0]
        layer, pair = np.nonzero(gain > SMALLEST_GAIN)
        mine, theirs = np.divmod(best[layer, pair], num_slots)
        packing.swap(active[layer], (hot[layer, pair], mine), (cool[layer, pair], theirs))


def pack(expert: Ints, load: Floats, num_gpus: int, target: Floats, *, num_rounds: int, seed: int) -> Packing:
    """Pack copies ``expert`` of loads ``load``, both [L, S], near-exactly: fold, level pairs, cool the hottest."""
    packing = fold(expert, load, num_gpus)
    if packing.load.shape[2] > 2:
        level_pairs(packing, target, num_rounds, np.random.default_rng(seed))
        cool_hottest(packing, target)
    return packing


def cool_hottest(packing: Packing, target: Floats) -> None:
    """Give the hottest GPU of each layer its best swap with any other GPU, until none helps or ``target`` [L]."""
    num_layers, num_gpus, num_slots = packing.load.shape
    active = np.arange(num_layers)
    while True:
        total = packing.load[active].sum(axis=2)
        unfinished = total.max(axis=1) > target[active]
        active, total = active[unfinished], total[unfinished]
        if not active.size:
            return
        rows = np.arange(active.size)
        hot = total.argmax(axis=1)
        peak = total[rows, hot]
        change = packing.load[active, hot][:, :, None, None] - packing.load[active][:, None]  # [A, r, G, r]
        after = np.maximum(peak[:, None, None, None] - change, total[:, None, :, None] + change)
        after = after.reshape(active.size, -1)
        best = after.argmin(axis=1)
        better = after[rows, best] < peak - SMALLEST_GAIN
        mine, place = np.divmod(best[better], num_gpus * num_slots)
        active = active[better]
        packing.swap(active, (hot[better], mine), tuple(np.divmod(place, num_slots)))
