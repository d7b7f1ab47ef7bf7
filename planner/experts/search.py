"""Local search on one layer under rules: replace a copy, or swap two, whatever cools the hot GPUs most per price.

Shapes: W workloads, E experts, G GPUs, A occupied (expert, GPU) places, F experts that may get another copy.
A layer is a matrix of counts ``held`` [E, G]: how many slots of each GPU hold each expert. Dispatch is even.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from planner.program import Floats, Ints

NUM_HOT = 4
"""GPUs, hottest first, whose experts may get another copy elsewhere; the first three may swap."""

SHORTLIST = 1000
"""Replacements that are evaluated exactly, of all that look best when their two halves are taken apart."""


class Rules(Protocol):
    """What a step may do and what it costs. Prices are added up against ``budget``; inf forbids."""

    @property
    def budget(self) -> float:
        """What may be spent in all."""

    def spent(self, held: Ints) -> float:
        """Price of all that ``held`` [E, G] is away from the start."""

    def replace_price(self, held: Ints, old: Ints, gpu: Ints, new: Ints) -> Floats:
        """[A, F] price of turning a copy of ``old[a]`` on ``gpu[a]`` into one of ``new[f]``."""

    def swap_price(self, held: Ints, one: tuple[Ints, int], other: tuple[Ints, Ints]) -> Floats:
        """[r, A] price of swapping copies of experts ``one[0]`` on GPU ``one[1]`` with ``other`` (experts, GPUs)."""


@dataclass
class Layer:
    """The state of a search: counts ``held`` [E, G] and what follows from them. ``load`` [W, E] is scaled."""

    load: Floats
    held: Ints

    def __post_init__(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        """Recompute copies [E], load per copy [W, E] and load per GPU [W, G] from ``held``."""
        self.copies = self.held.sum(axis=1)
        self.share = self.load / self.copies
        self.total = self.share @ self.held

    @property
    def hottest(self) -> float:
        """Load of the hottest GPU, the mean over workloads."""
        return float(self.total.max(axis=1).mean())


def improve(layer: Layer, rules: Rules, *, powers: Sequence[int] = (8, 24), max_steps: int = 400) -> int:
    """Take the best step per price until none lowers Σ load^p within the budget; returns the number of steps.

    A low power first cools many warm GPUs, a high one then only the hottest. Steps that give price back or cost
    nothing are always open, so a spent budget is still rearranged.
    """
    steps = 0
    spent = rules.spent(layer.held)
    for power in powers:
        while steps < max_steps:
            energy = float((layer.total**power).sum())
            hot = np.argsort(-(layer.total**power).sum(axis=0), kind="stable")[:NUM_HOT]
            value, change = max(
                _best_replacement(layer, rules, power, hot, spent),
                *(_best_swap(layer, rules, power, int(gpu), spent) for gpu in hot[:3]),
                key=lambda found: found[0],
            )
            if value <= 1e-9 * energy:
                break
            for expert, gpu, amount in change:
                layer.held[expert, gpu] += amount
            layer.refresh()
            spent = rules.spent(layer.held)
            steps += 1
    return steps


Step = tuple[float, tuple[tuple[int, int, int], ...]]
"""Energy saved per price, and the changes of ``held``: (expert, GPU, +1 or −1)."""


def _best_replacement(layer: Layer, rules: Rules, power: int, hot: Ints, spent: float) -> Step:
    old, gpu = np.nonzero((layer.held > 0) & (layer.copies > 1)[:, None])
    new = np.flatnonzero(layer.held[:, hot].any(axis=1))
    if not old.size:
        return -np.inf, ()
    price = rules.replace_price(layer.held, old, gpu, new)
    allowed = (spent + price <= rules.budget + 1e-9) & (old[:, None] != new)
    if not allowed.any():
        return -np.inf, ()
    energy = (layer.total**power).sum()
    share, copies = layer.share, layer.copies

    # Load per GPU, [W, A, G] and [W, F, G], when only one half of a replacement is done.
    fewer = layer.held[old].astype(float)
    fewer[np.arange(old.size), gpu] -= 1
    heated = (layer.load[:, old] / (copies[old] - 1))[:, :, None] * fewer - share[:, old, None] * layer.held[old]
    per_copy = layer.load[:, new] / (copies[new] + 1)  # [W, F]
    cooled = (per_copy - share[:, new])[:, :, None] * layer.held[new]
    lost = _power(layer.total[:, None] + heated, power).sum(axis=(0, 2)) - energy  # [A]
    freed = _power(layer.total[:, None] + cooled, power)  # [W, F, G]
    landing = layer.total[:, None] + cooled + per_copy[:, :, None]
    won = energy - freed.sum(axis=(0, 2))[:, None] - (_power(landing, power) - freed).sum(axis=0)  # [F, G]
    guess = np.where(allowed, (won[:, gpu].T - lost[:, None]) / np.maximum(price, _FREE), -np.inf)
    width = min(SHORTLIST, guess.size)
    a, f = np.unravel_index(np.argpartition(-guess, width - 1, axis=None)[:width], guess.shape)

    after = layer.total[:, None] + heated[:, a] + cooled[:, f]  # [W, K, G]
    after[:, np.arange(width), gpu[a]] += per_copy[:, f]
    saved = energy - _power(after, power).sum(axis=(0, 2))
    value = np.where(allowed[a, f], saved / np.maximum(price[a, f], _FREE), -np.inf)
    best = int(value.argmax())
    place = int(gpu[a[best]])
    return float(value[best]), ((int(old[a[best]]), place, -1), (int(new[f[best]]), place, 1))


def _best_swap(layer: Layer, rules: Rules, power: int, hot: int, spent: float) -> Step:
    mine = np.flatnonzero(layer.held[:, hot])
    other, gpu = np.nonzero(layer.held)
    elsewhere = gpu != hot
    other, gpu = other[elsewhere], gpu[elsewhere]
    if not other.size:
        return -np.inf, ()
    price = rules.swap_price(layer.held, (mine, hot), (other, gpu))
    change = layer.share[:, mine, None] - layer.share[:, None, other]  # [W, r, A]
    here, there = layer.total[:, hot, None, None], layer.total[:, None, gpu]
    saved = (
        _power(here, power) + _power(there, power) - _power(here - change, power) - _power(there + change, power)
    ).sum(axis=0)
    allowed = (spent + price <= rules.budget + 1e-9) & (mine[:, None] != other)
    value = np.where(allowed, saved / np.maximum(price, _FREE), -np.inf)
    a, b = np.unravel_index(int(value.argmax()), value.shape)
    given, taken, place = int(mine[a]), int(other[b]), int(gpu[b])
    return float(value[a, b]), ((given, hot, -1), (taken, hot, 1), (taken, place, -1), (given, place, 1))


_FREE = 0.5
"""Price that free and refunding steps are ranked by: half of one moved copy."""


def _power(values: Floats, power: int) -> Floats:
    """``values ** power`` for powers that are multiples of 4: squaring is several times faster than pow."""
    squared = values * values
    fourth = squared * squared
    result = fourth
    for _ in range(power // 4 - 1):
        result = result * fourth
    return result
