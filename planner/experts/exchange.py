"""Deeper exchanges for layers that single swaps leave above their target: two copies for two, and chains of swaps.

Shapes: L layers, A layers still worked on, G GPUs, r slots of a GPU, K candidate first swaps.
"""

from __future__ import annotations

import numpy as np

from planner.experts.packing import SMALLEST_GAIN, Packing, cool_hottest, level_pairs
from planner.program import Floats, Ints

CHAIN_WIDTH = 24
"""First swaps that a chain is tried from: wider finds more and costs in proportion."""


def finish(packing: Packing, target: Floats, *, seed: int) -> None:
    """Bring the hottest GPU of each layer down towards ``target`` [L] by shaking and by deeper exchanges."""
    per_gpu = packing.load.shape[2]
    if per_gpu <= 2:
        return  # the fold was optimal
    repack(packing, target, num_tries=1, seed=seed)
    if per_gpu == 3:
        chain_swaps(packing, target)  # two for two is one for one seen from the other side
    else:
        swap_twos(packing, target)


def repack(packing: Packing, target: Floats, *, num_tries: int, num_rounds: int = 6, seed: int) -> None:
    """Shake the layers above ``target`` [L] and pack them again; keep what got better."""
    rng = np.random.default_rng(seed)
    for _ in range(num_tries):
        before = packing.hottest()
        unfinished = np.flatnonzero(before > target)
        if not unfinished.size:
            return
        trial = packing.take(unfinished)
        shuffle(trial, rng)
        level_pairs(trial, target[unfinished], num_rounds, rng)
        cool_hottest(trial, target[unfinished])
        better = np.flatnonzero(trial.hottest() < before[unfinished])
        packing.put(unfinished[better], trial.take(better))


def shuffle(packing: Packing, rng: np.random.Generator) -> None:
    """Swap random copies of random pairs of GPUs wherever neither becomes as hot as the layer's hottest."""
    num_layers, num_gpus, num_slots = packing.load.shape
    half = num_gpus // 2
    total = packing.load.sum(axis=2)
    order = rng.permuted(np.tile(np.arange(num_gpus), (num_layers, 1)), axis=1)
    one, other = order[:, :half], order[:, half : 2 * half]
    mine, theirs = rng.integers(0, num_slots, (2, num_layers, half))
    rows = np.arange(num_layers)[:, None]
    change = packing.load[rows, one, mine] - packing.load[rows, other, theirs]
    after = np.maximum(np.take_along_axis(total, one, 1) - change, np.take_along_axis(total, other, 1) + change)
    layer, pair = np.nonzero(after < total.max(axis=1)[:, None] - SMALLEST_GAIN)
    packing.swap(layer, (one[layer, pair], mine[layer, pair]), (other[layer, pair], theirs[layer, pair]))


def swap_twos(packing: Packing, target: Floats) -> None:
    """Exchange one or two copies of each layer's hottest GPU for as many of another, the best first."""
    num_gpus, per_gpu = packing.load.shape[1:]
    first, second = np.triu_indices(per_gpu, 1)
    active = np.flatnonzero(packing.hottest() > target)
    while active.size:
        load = packing.load[active]
        total = load.sum(axis=2)
        rows = np.arange(active.size)
        hot = total.argmax(axis=1)
        peak = total[rows, hot]
        mine = load[rows, hot]
        after_two, two = _best_swap(
            mine[:, first] + mine[:, second], load[:, :, first] + load[:, :, second], peak, total
        )
        after_one, one = _best_swap(mine, load, peak, total)
        by_two = after_two < np.minimum(after_one, peak - SMALLEST_GAIN)
        by_one = ~by_two & (after_one < peak - SMALLEST_GAIN)
        slot, place = np.divmod(one[by_one], num_gpus * per_gpu)
        gpu, other = np.divmod(place, per_gpu)
        packing.swap(active[by_one], (hot[by_one], slot), (gpu, other))
        slot, place = np.divmod(two[by_two], num_gpus * first.size)
        gpu, other = np.divmod(place, first.size)
        for half in (first, second):
            packing.swap(active[by_two], (hot[by_two], half[slot]), (gpu, half[other]))
        active = active[by_one | by_two]
        active = active[packing.load[active].sum(axis=2).max(axis=1) > target[active]]


def _best_swap(mine: Floats, load: Floats, peak: Floats, total: Floats) -> tuple[Floats, Ints]:
    """The best swap of a bundle of ``mine`` [A, m] for one of ``load`` [A, G, m]: hotter GPU after it, flat index.

    ``peak`` [A] is the load of the GPU that gives, ``total`` [A, G] of those that take.
    """
    change = mine[:, :, None, None] - load[:, None]
    after = np.maximum(peak[:, None, None, None] - change, total[:, None, :, None] + change).reshape(len(mine), -1)
    best = after.argmin(axis=1)
    return after[np.arange(len(mine)), best], best


def chain_swaps(packing: Packing, target: Floats) -> None:
    """Swap the hottest GPU with a second one, and what that made too hot with a third, the best chain first.

    Of all first swaps the ``CHAIN_WIDTH`` that come closest are followed up; third GPUs are the coolest third.
    """
    num_gpus, per_gpu = packing.load.shape[1:]
    active = np.flatnonzero(packing.hottest() > target)
    while active.size:
        load = packing.load[active]
        total = load.sum(axis=2)
        rows = np.arange(active.size)[:, None]
        hot = total.argmax(axis=1)[:, None]  # [A, 1]
        peak = total[rows, hot]
        mine = load[rows[:, 0], hot[:, 0]]
        change = mine[:, :, None, None] - load[:, None]  # [A, r, G, r]
        after = np.maximum(peak[:, :, None, None] - change, total[:, None, :, None] + change).reshape(active.size, -1)
        width = min(CHAIN_WIDTH, after.shape[1])
        near = np.argpartition(after, width - 1, axis=1)[:, :width]  # [A, K]
        given, place = np.divmod(near, num_gpus * per_gpu)
        second, taken = np.divmod(place, per_gpu)
        moved = change.reshape(active.size, -1)[rows, near]
        hot_after, second_after = peak - moved, total[rows, second] + moved

        cool = np.argsort(total, axis=1)[:, : max(2, num_gpus // 3)]  # [A, C]
        held = load[rows, second]  # [A, K, r] the second GPU's copies after the first swap
        np.put_along_axis(held, taken[:, :, None], mine[rows, given][:, :, None], 2)
        change = held[:, :, :, None, None] - load[rows, cool][:, None, None]  # [A, K, r, C, r]
        third_after = np.maximum(
            second_after[:, :, None, None, None] - change, total[rows, cool][:, None, None, :, None] + change
        )
        taboo = (cool[:, None, :] == second[:, :, None]) | (cool == hot)[:, None, :]
        third_after = np.where(taboo[:, :, None, :, None], np.inf, third_after).reshape(active.size, width, -1)
        best = third_after.argmin(axis=2)
        reached = np.take_along_axis(third_after, best[:, :, None], 2)[:, :, 0]
        goes_on = reached < second_after
        value = np.maximum(hot_after, np.where(goes_on, reached, second_after))
        chosen = value.argmin(axis=1)[:, None]

        better = np.flatnonzero(value[rows, chosen] < peak - SMALLEST_GAIN)
        pick = (better, chosen[better, 0])
        packing.swap(active[better], (hot[better, 0], given[pick]), (second[pick], taken[pick]))
        further = better[goes_on[pick]]
        pick = (further, chosen[further, 0])
        passed, place = np.divmod(best[pick], cool.shape[1] * per_gpu)
        third, slot = np.divmod(place, per_gpu)
        packing.swap(active[further], (second[pick], passed), (cool[further, third], slot))
        active = active[better]
        active = active[packing.load[active].sum(axis=2).max(axis=1) > target[active]]
