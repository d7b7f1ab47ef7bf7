"""A placement that stays balanced under workloads that were not planned for, when dispatch can adapt.

An expert with one copy pins its load to a GPU; one with several lets dispatch move load between GPUs. So what hurts
under a new workload is a GPU whose pinned load alone exceeds its share. The search swaps copies until pinned load stays
below ``PINNED_LIMIT`` of the mean GPU in every workload *and* in extrapolations twice as far from their mean, which
stand in for workloads not seen; the square of the evenly dispatched load keeps everything else level.

Shapes: L layers, A layers still worked on, W scenarios, E experts, G GPUs, r slots per GPU, S = G·r.
"""

from __future__ import annotations

import numpy as np

from planner.clock import Clock
from planner.experts.balance import balance
from planner.experts.copies import counted
from planner.program import Bools, Floats, Ints

PINNED_LIMIT = 0.8
"""Pinned load above this share of the mean GPU is penalised: the rest is room for the unforeseen."""

EVENNESS = 0.5
"""Weight of the squared evenly dispatched load against the squared excess of pinned load."""

STRETCH = 2.0
"""Extrapolations lie this many times as far from the mean as the workloads themselves."""

LAYERS_AT_ONCE = 4
"""Few enough for the candidates of a round to stay in cache, which halves the time; a late clock skips whole chunks."""

MOST_SWAPS = 200
REST = 40
"""Rounds for which a GPU that no swap helps is left alone: its neighbours change meanwhile."""


def place_robustly(load: Floats, weight: Floats, num_gpus: int, num_slots: int, *, seed: int, clock: Clock) -> Ints:
    """[L, G, r] placement for workloads ``load`` [W, L, E] of ``weight`` [W]; loads are scaled."""
    mean = np.einsum("w,wle->le", weight, load)
    spread = np.sqrt(np.einsum("w,wle->le", weight, (load - mean) ** 2))
    # Experts whose load varies get copies as if they were hotter by one standard deviation.
    placement = balance(mean + spread, num_gpus, num_slots, seed=seed).expert
    foreseen = scenarios(load, weight)
    chunks = [slice(i, i + LAYERS_AT_ONCE) for i in range(0, len(placement), LAYERS_AT_ONCE)]
    return np.concatenate([_swap_until_safe(placement[chunk], foreseen[chunk], clock) for chunk in chunks])


def scenarios(load: Floats, weight: Floats) -> Floats:
    """[L, 2W, E] the workloads ``load`` [W, L, E] and their extrapolations away from the weighted mean, scaled."""
    mean = np.einsum("w,wle->le", weight, load)
    stretched = np.maximum(mean + STRETCH * (load - mean), 0.0)
    num_gpus = float(load[0, 0].sum())
    both = np.concatenate([load, stretched * (num_gpus / stretched.sum(axis=2, keepdims=True))])
    return np.ascontiguousarray(both.transpose(1, 0, 2))


def _swap_until_safe(placement: Ints, load: Floats, clock: Clock) -> Ints:
    """Best swaps of the most penalised GPU of each layer, all given layers at once, until none helps."""
    num_layers, num_gpus, per_gpu = placement.shape
    num_slots = num_gpus * per_gpu
    slots = placement.reshape(num_layers, num_slots).copy()
    copies = counted(slots, load.shape[2])
    # [L, W, S] what each slot pins to its GPU, and what it carries when dispatch is even.
    at = np.broadcast_to(slots[:, None], (num_layers, load.shape[1], num_slots))
    even = np.take_along_axis(load / copies[:, None], at, axis=2)
    pinned = np.take_along_axis(load * (copies == 1)[:, None], at, axis=2)
    resting_until = np.zeros((num_layers, num_gpus), dtype=np.int64)
    active = np.arange(num_layers)
    for turn in range(MOST_SWAPS):
        if clock.is_over():
            break
        by_gpu = (active.size, load.shape[1], num_gpus, per_gpu)
        pinned_gpu, even_gpu = (array[active].reshape(by_gpu).sum(axis=3) for array in (pinned, even))
        penalty = _penalty(pinned_gpu, even_gpu).sum(axis=1)  # [A, G]
        awake = np.where(resting_until[active] > turn, -1.0, penalty)
        some = awake.max(axis=1) >= 0
        active, penalty, pinned_gpu, even_gpu = active[some], penalty[some], pinned_gpu[some], even_gpu[some]
        if not active.size:
            break
        rows = np.arange(active.size)
        worst = awake[some].argmax(axis=1)
        mine = worst[:, None] * per_gpu + np.arange(per_gpu)  # [A, r] slots of the worst GPU
        saved = _saved(worst, mine, pinned[active], even[active], pinned_gpu, even_gpu, penalty)
        saved[_pointless(slots[active], mine, worst, num_gpus)] = -np.inf
        saved = saved.reshape(active.size, -1)
        best = saved.argmax(axis=1)
        helps = saved[rows, best] > 1e-7
        resting_until[active[~helps], worst[~helps]] = turn + REST
        given, taken = np.divmod(best[helps], num_slots)
        layer, here = active[helps], worst[helps] * per_gpu + given
        slots[layer, here], slots[layer, taken] = slots[layer, taken], slots[layer, here]
        for array in (pinned, even):
            array[layer, :, here], array[layer, :, taken] = array[layer, :, taken], array[layer, :, here]
    return slots.reshape(placement.shape)


def _penalty(pinned: Floats, even: Floats) -> Floats:
    result: Floats = np.maximum(pinned - PINNED_LIMIT, 0.0) ** 2 + EVENNESS * even**2
    return result


def _saved(
    worst: Ints, mine: Ints, pinned: Floats, even: Floats, pinned_gpu: Floats, even_gpu: Floats, penalty: Floats
) -> Floats:
    """[A, r, S] penalty that a swap of each slot of the worst GPU with each other slot saves."""
    rows = np.arange(len(worst))
    per_gpu = mine.shape[1]
    at = np.broadcast_to(mine[:, None], (*pinned.shape[:2], per_gpu))
    after_here: list[Floats] = []
    after_there: list[Floats] = []
    for slot, gpu in ((pinned, pinned_gpu), (even, even_gpu)):
        change = np.take_along_axis(slot, at, axis=2)[:, :, :, None] - slot[:, :, None, :]  # [A, W, r, S]
        after_here.append(gpu[rows, :, worst][:, :, None, None] - change)
        after_there.append(np.repeat(gpu, per_gpu, axis=2)[:, :, None] + change)
    before = penalty[rows, worst][:, None, None] + np.repeat(penalty, per_gpu, axis=1)[:, None]
    result: Floats = before - (_penalty(*after_here) + _penalty(*after_there)).sum(axis=1)
    return result


def _pointless(slots: Ints, mine: Ints, worst: Ints, num_gpus: int) -> Bools:
    """[A, r, S] swaps within the worst GPU, and those that would put two copies of an expert on one GPU."""
    num_layers, num_slots = slots.shape
    per_gpu = num_slots // num_gpus
    held = slots.reshape(num_layers, num_gpus, per_gpu)
    given = np.take_along_axis(slots, mine, axis=1)  # [A, r]
    twice_here = (slots[:, :, None] == given[:, None]).any(axis=2)  # [A, S]: also every slot of the worst GPU itself
    twice_there = (held[:, None] == given[:, :, None, None]).any(axis=3)  # [A, r, G]
    inside = (np.arange(num_slots) // per_gpu) == worst[:, None]
    result: Bools = (twice_here | inside)[:, None] | np.repeat(twice_there, per_gpu, axis=2)
    return result
