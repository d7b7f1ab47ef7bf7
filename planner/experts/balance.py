"""The most balanced placement for one known load: copies by water-filling, packing, then exchanges of copies.

Shapes: L layers, E experts, G GPUs, S slots of a layer, K neighbouring choices of copies.
Loads are scaled so that the mean GPU carries 1; then 1 / (hottest GPU) is the layer's balancedness.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.experts.copies import listed, neighbours, water_fill
from planner.experts.exchange import finish
from planner.experts.packing import Packing, fold, pack
from planner.experts.pairs import improve_pair_copies
from planner.program import Floats, Ints

PACKED_WELL, FINISHED = 3e-4, 8e-4
"""Excess over the bound at which a layer is left alone: by cheap swaps, and by the deeper, slower exchanges."""

STUCK = 4e-3
"""Excess over the bound from which other numbers of copies are tried."""


@dataclass(frozen=True)
class Balanced:
    """A placement [L, G, r] of experts, the hottest GPU of each layer [L], and the proven least of that [L]."""

    expert: Ints
    hottest: Floats
    bound: Floats


def scaled(load: Floats, num_gpus: int) -> Floats:
    """``load`` [..., E] in units of the mean GPU's load."""
    result: Floats = load * (num_gpus / load.sum(axis=-1, keepdims=True))
    return result


def balance(load: Floats, num_gpus: int, num_slots: int, *, seed: int = 0) -> Balanced:
    """Place experts of ``load`` [L, E] (any unit, no layer all zero) on ``num_gpus`` GPUs with ``num_slots`` in all."""
    load = scaled(load, num_gpus)
    copies = water_fill(load, num_slots)
    # No GPU can be cooler than the mean, nor than the hottest copy, which water-filling makes as cool as can be.
    bound = np.maximum(1.0, (load / copies).max(axis=1))
    if num_slots == 2 * num_gpus:
        copies = improve_pair_copies(load, copies, bound)
        packing = fold(*_listed(load, copies), num_gpus)
        return Balanced(packing.expert, packing.hottest(), bound)

    target = bound * (1 + PACKED_WELL)
    packing = pack(*_listed(load, copies), num_gpus, target, num_rounds=20, seed=seed)
    finish(packing, bound * (1 + FINISHED), seed=seed)
    if num_slots > load.shape[1]:
        _exchange_copies(packing, load, copies, bound, seed)
    return Balanced(packing.expert, packing.hottest(), bound)


def _listed(load: Floats, copies: Ints) -> tuple[Ints, Floats]:
    """Expert and load of every copy, both [L, S]."""
    expert = listed(copies)
    return expert, np.take_along_axis(load / copies, expert, axis=1)


def _exchange_copies(packing: Packing, load: Floats, copies: Ints, bound: Floats, seed: int) -> None:
    """Where a layer is stuck, take a copy from one expert and give it to another; keep what got better.

    Neighbouring choices are packed all at once, as if they were layers.
    """
    stuck = np.flatnonzero(packing.hottest() > bound * (1 + STUCK))
    if not stuck.size:
        return
    choices = neighbours(load[stuck], copies[stuck], num_light=2, num_hot=2, num_donors=3)
    num_choices = choices.shape[1]
    repeated = np.repeat(np.arange(stuck.size), num_choices)
    target = bound[stuck][repeated] * (1 + FINISHED)
    listing = _listed(load[stuck][repeated], choices.reshape(repeated.size, -1))
    trial = pack(*listing, packing.load.shape[1], target, num_rounds=8, seed=seed)
    best = trial.hottest().reshape(stuck.size, num_choices).argmin(axis=1)
    trial = trial.take(np.arange(stuck.size) * num_choices + best)
    finish(trial, bound[stuck] * (1 + FINISHED), seed=seed)
    better = np.flatnonzero(trial.hottest() < packing.hottest()[stuck])
    packing.put(stuck[better], trial.take(better))
