"""Packing copies onto GPUs so that the hottest GPU is as cool as it can be, all layers at once.

Shapes: L layers, G GPUs, r slots of a GPU, S = G·r slots of a layer. A *packing* is two arrays [L, G, r]: the copy's
expert and the copy's load. Loads are scaled so that the mean GPU carries 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.program import Floats, Ints


@dataclass
class Packing:
    """Copies in their slots; ``expert`` and ``load`` are [L, G, r]. Refined in place."""

    expert: Ints
    load: Floats

    @property
    def hottest(self) -> Floats:
        """[L] load of the hottest GPU."""
        return self.load.sum(axis=2).max(axis=1)


def fold(expert: Ints, load: Floats, num_gpus: int) -> Packing:
    """Deal the copies out, hottest first, a round of G at a time: the hottest of a round to the coolest GPU.

    LPT (Graham, 1969) one round at a time: r sorts in place of S. Optimal for r ≤ 2. Inputs are [L, S].
    """
    num_layers, num_slots = load.shape
    rounds = num_slots // num_gpus
    order = np.argsort(-load, axis=1, kind="stable").reshape(num_layers, rounds, num_gpus)
    rows = np.arange(num_layers)[:, None]
    dealt_expert = np.empty((num_layers, num_gpus, rounds), dtype=np.int64)
    dealt_load = np.empty((num_layers, num_gpus, rounds))
    total = np.zeros((num_layers, num_gpus))
    for i in range(rounds):
        coolest = np.argsort(total, axis=1, kind="stable")
        copy = order[:, i]
        dealt_expert[rows, coolest, i] = expert[rows, copy]
        dealt_load[rows, coolest, i] = load[rows, copy]
        total[rows, coolest] += load[rows, copy]
    return Packing(dealt_expert, dealt_load)


def pair_swaps(packing: Packing, target: float, max_rounds: int, seed: int = 0) -> None:
    """Swap one copy between paired GPUs, hot with cool, all pairs of all layers in each round, until ``target``."""
    num_layers, num_gpus, rounds = packing.load.shape
    half = num_gpus // 2
    active = np.arange(num_layers)
    rng = np.random.default_rng(seed)
    for i in range(max_rounds):
        total = packing.load[active].sum(axis=2)
        keep = total.max(axis=1) > target
        active, total = active[keep], total[keep]
        if not active.size:
            return
        order = np.argsort(-total, axis=1)
        hot, cool = order[:, :half], order[:, ::-1][:, :half]
        if i % 3 == 2:
            cool = rng.permuted(cool, axis=1)
        elif i % 3 == 1:
            cool = np.roll(cool, 1+ i//3, axis=1)
        rows = active[:, None]
        a, b = packing.load[rows, hot], packing.load[rows, cool]
        excess = np.take_along_axis(total, hot, 1) - np.take_along_axis(total, cool, 1)
        miss = np.abs((a[:, :, :, None] - b[:, :, None, :]) - excess[:, :, None, None] / 2)
        best = miss.reshape(*miss.shape[:2], -1).argmin(axis=2)
        gain = np.abs(excess) / 2 - np.take_along_axis(miss.reshape(*miss.shape[:2], -1), best[:, :, None], 2)[:, :, 0]
        layer, pair = np.nonzero(gain > 1e-12)
        first, second = np.divmod(best[layer, pair], rounds)
        swap(packing, active[layer], hot[layer, pair], first, cool[layer, pair], second)


def swap(packing: Packing, layer: Ints, gpu: Ints, slot: Ints, other_gpu: Ints, other_slot: Ints) -> None:
    for array in (packing.expert, packing.load):
        here, there = array[layer, gpu, slot].copy(), array[layer, other_gpu, other_slot].copy()
        array[layer, gpu, slot], array[layer, other_gpu, other_slot] = there, here


def cool_hottest(packing: Packing, target: Floats, max_rounds: int) -> None:
    num_layers, num_gpus, rounds = packing.load.shape
    active = np.arange(num_layers)
    for _ in range(max_rounds):
        total = packing.load[active].sum(axis=2)
        hot = total.argmax(axis=1)
        keep = total[np.arange(active.size), hot] > target[active]
        active, total, hot = active[keep], total[keep], hot[keep]
        if not active.size:
            return
        rows = np.arange(active.size)
        peak = total[rows, hot]
        mine = packing.load[active, hot]
        change = mine[:, :, None, None] - packing.load[active][:, None]  # [A, r, G, r] what the hottest GPU loses
        after = np.maximum(peak[:, None, None, None] - change, total[:, None, :, None] + change)
        flat = after.reshape(active.size, -1)
        best = flat.argmin(axis=1)
        better = flat[rows, best] < peak - 1e-9
        slot, rest = np.divmod(best, num_gpus * rounds)
        other, other_slot = np.divmod(rest, rounds)
        swap(packing, active[better], hot[better], slot[better], other[better], other_slot[better])
        active = active[better]


def shuffle(packing: Packing, active: Ints, rng: np.random.Generator) -> None:
    """Swap random copies between random pairs of GPUs wherever neither gets as hot as the layer's hottest."""
    _, num_gpus, rounds = packing.load.shape
    half = num_gpus // 2
    total = packing.load[active].sum(axis=2)
    order = rng.permuted(np.tile(np.arange(num_gpus), (active.size, 1)), axis=1)
    one, two = order[:, :half], order[:, half : 2 * half]
    first, second = rng.integers(0, rounds, (2, active.size, half))
    rows = active[:, None]
    change = packing.load[rows, one, first] - packing.load[rows, two, second]
    peak = total.max(axis=1)[:, None]
    after = np.maximum(np.take_along_axis(total, one, 1) - change, np.take_along_axis(total, two, 1) + change)
    layer, pair = np.nonzero(after < peak - 1e-9)
    swap(packing, active[layer], one[layer, pair], first[layer, pair], two[layer, pair], second[layer, pair])
