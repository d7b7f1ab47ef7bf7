"""The provably most balanced placement of one small layer, by enumeration that a good start makes short.

Every number of copies is tried. A GPU's *bundle* is a multiset of r experts; with a placement in hand whose hottest GPU
carries T, a better one has only bundles cooler than T, and hotter than G − (G − 1)·T, or else the other GPUs together
would exceed theirs. Near the optimum that window is so narrow that few bundles are left to combine.

Shapes: E experts, G GPUs, r slots per GPU, S = G·r, B bundles, K choices of copies.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

from planner.clock import Clock
from planner.program import Bools, Floats, Ints

MOST_PAIRS = 8_000_000
"""Bundles × choices of copies above which enumeration is not tried."""

CHUNK = 2048
"""Choices of copies that are looked at together."""

ROUNDING = 1e-9


def is_small(num_experts: int, num_gpus: int, num_slots: int) -> bool:
    """Whether enumeration is quick for this size."""
    bundles = math.comb(num_experts + num_slots // num_gpus - 1, num_slots // num_gpus)
    choices = math.comb(num_slots - 1, num_experts - 1)
    return num_experts <= 12 and bundles <= 2000 and bundles * choices <= MOST_PAIRS


def best_layer(load: Floats, start: Ints, clock: Clock) -> tuple[Ints, bool]:
    """[E, G] the placement with the coolest hottest GPU, and whether that is proven (the clock did not run out).

    ``load`` [E] is scaled; ``start`` [E, G] is a placement to improve on.
    """
    num_experts, num_gpus = start.shape
    per_gpu = int(start[:, 0].sum())
    bundles = _multisets(num_experts, per_gpu)
    best = start
    limit = float(((load / start.sum(axis=1)) @ start).max())
    for copies in _choices(num_experts, num_gpus * per_gpu):
        if clock.is_over():
            return best, False
        share = load / copies  # [K, E]
        heat = share @ bundles.T  # [K, B]
        cool = _in_window(heat, limit, num_gpus)
        covered = (cool.astype(np.float32) @ (bundles > 0).astype(np.float32) > 0).all(axis=1)
        for k in np.flatnonzero(covered & (share.max(axis=1) < limit - ROUNDING)).tolist():
            usable = np.flatnonzero(_in_window(heat[k], limit, num_gpus))
            found = _cover(copies[k], bundles[usable], heat[k, usable], limit, num_gpus)
            if found is not None:
                chosen, limit = found
                best = bundles[usable[chosen]].T
    return best, True


def _in_window(heat: Floats, limit: float, num_gpus: int) -> Bools:
    result: Bools = (heat < limit - ROUNDING) & (heat > num_gpus - (num_gpus - 1) * limit)
    return result


def _cover(copies: Ints, bundles: Ints, heat: Floats, limit: float, num_gpus: int) -> tuple[list[int], float] | None:
    """Bundles, one per GPU, that use exactly ``copies`` [E] and are all cooler than ``limit``; the coolest such."""
    best: tuple[list[int], float] | None = None

    def extend(left: Ints, chosen: list[int], hottest: float, bar: float) -> float:
        nonlocal best
        if len(chosen) == num_gpus:
            best = (list(chosen), hottest)
            return hottest
        first = int(np.flatnonzero(left)[0])
        fits = np.flatnonzero((bundles[:, first] > 0) & (bundles <= left).all(axis=1) & (heat < bar - ROUNDING))
        for i in fits.tolist():
            if heat[i] < bar - ROUNDING:
                bar = min(bar, extend(left - bundles[i], [*chosen, i], max(hottest, float(heat[i])), bar))
                if hottest >= bar - ROUNDING:
                    break  # what is chosen already is as hot as the best found
        return bar

    extend(copies, [], 0.0, limit)
    return best


def _multisets(num_experts: int, size: int) -> Ints:
    """[B, E] how often each expert occurs in each multiset of ``size`` experts."""
    picks = np.array(list(itertools.combinations_with_replacement(range(num_experts), size)))
    counts = np.zeros((len(picks), num_experts), dtype=np.int64)
    np.add.at(counts, (np.arange(len(picks))[:, None], picks), 1)
    return counts


def _choices(num_experts: int, num_slots: int) -> list[Ints]:
    """Every number of copies per expert, one at least and ``num_slots`` in all, in arrays [K, E]."""
    cuts = np.array(list(itertools.combinations(range(1, num_slots), num_experts - 1)), dtype=np.int64)
    cuts = cuts.reshape(-1, num_experts - 1)
    edges = np.pad(cuts, ((0, 0), (1, 1)), constant_values=((0, 0), (0, num_slots)))
    copies = np.diff(edges, axis=1)
    return [copies[i : i + CHUNK] for i in range(0, len(copies), CHUNK)]
