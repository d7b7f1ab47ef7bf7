"""Which patterns the constraint program may choose from: all where they are few, else those near a good answer.

Near are the patterns that the linear program of the bound uses or that fill phases as well, those at its average number
of servers per phase rounded either way, and those one server away. What is left out can cost quality, never
correctness; the gap shows it.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from planner.power.feeds.bound import Relaxed, even_spread, most_placed, overloaded
from planner.power.feeds.problem import WHOLE_BUDGET, Kind, Patterns, Problem, weighed
from planner.program import Floats, Ints

FEW = 300
"""Patterns over all rows that a constraint program takes in full."""

MOST_PER_KIND = 60
"""Patterns of one kind of rows otherwise: 50 rows then make 3,000 variables."""

ENOUGH = 5
"""Patterns from which a kind of row can be filled."""

MOST_WORTHY = 30
"""Of them, at most so many because they fill phases well."""

MOST_ROUNDED = 6
"""Groups whose averages are rounded both ways (2^6 patterns); the largest fractions of others round up."""


def is_complete(problem: Problem) -> bool:
    """Whether the menus hold every pattern there is."""
    sizes = [
        kind.rows.size * len(kind.patterns.counts) if kind.patterns is not None else FEW + 1 for kind in problem.kinds
    ]
    return sum(sizes) <= FEW


def menus_of(problem: Problem, tight: Relaxed, fraction: float) -> tuple[Floats, tuple[Patterns, ...]]:
    """Servers (K, G) per kind of rows to aim at, and a menu for each, within ``fraction`` of every budget.

    ``tight``: the linear program's answer where budgets just bind, which tells the patterns that fill phases well.
    Aimed at is an even spread of what the linear program places, where budgets allow it, else its own answer.
    """
    relaxed = most_placed(problem, fraction)
    servers = relaxed.servers
    even = even_spread(problem, servers.sum(axis=0))
    if not overloaded(problem, even, fraction):
        servers = even
    if is_complete(problem):
        return servers, tuple(kind.patterns for kind in problem.kinds if kind.patterns is not None)
    everywhere = np.concatenate(
        [used for used in (*relaxed.used, *tight.used) if used.size] or [np.zeros_like(problem.asked)[None]]
    )
    return servers, tuple(
        _near(problem, kind, aim / (kind.rows.size * kind.num_phases), everywhere, worth, fraction)
        for kind, aim, worth in zip(problem.kinds, servers, tight.worth, strict=True)
    )


def _near(problem: Problem, kind: Kind, center: Floats, used: Ints, worth: Floats, fraction: float) -> Patterns:
    num_groups = center.size
    steps = np.eye(num_groups, dtype=np.int64)
    swaps = (steps[:, None, :] - steps[None, :, :]).reshape(-1, num_groups)
    rounded = _rounded(center)
    core = np.concatenate([used, rounded, _worthy(kind, center, worth, fraction)])
    around = np.concatenate([core, *(core - step for step in steps), *(rounded + swap for swap in swaps)])
    around = np.unique(around[(around >= 0).all(axis=1) & (around.sum(axis=1) <= kind.slots)], axis=0)
    menu = weighed(problem.crowd, around)
    fits = np.flatnonzero(menu.load_w <= fraction * kind.phase_w * WHOLE_BUDGET)
    fits = _sharing(problem, kind, menu, fits, center)
    distance = ((around - center) ** 2).sum(axis=1)
    is_core = (around[:, None, :] == core[None, :, :]).all(axis=2).any(axis=1)
    best = fits[np.lexsort((distance[fits], ~is_core[fits]))][:MOST_PER_KIND]
    return weighed(problem.crowd, np.concatenate([np.zeros((1, num_groups), dtype=np.int64), around[best]]))


def _sharing(problem: Problem, kind: Kind, menu: Patterns, fits: Ints, center: Floats) -> Ints:
    """Those of ``fits`` of which any may share a row, if there are enough: by its slots and by its balance.

    The worst row has one phase at the upper end and two at the lower: balanced if upper / lower ≤ 2 (1 + i) / (2 - i).
    """
    sharing = np.ones(fits.size, dtype=bool)
    if center.sum() <= kind.slots // kind.num_phases:
        sharing &= menu.counts[fits].sum(axis=1) <= kind.slots // kind.num_phases
    if kind.max_imbalance is not None and kind.max_imbalance < 1:
        width = math.sqrt(2 * (1 + kind.max_imbalance) / (2 - kind.max_imbalance))
        off = menu.average_w[fits] / max(float(center @ problem.crowd.average_w), 1.0)
        sharing &= (off <= width) & (off >= 1 / width)
    return fits[sharing] if sharing.sum() >= ENOUGH else fits


def _worthy(kind: Kind, center: Floats, worth: Floats, fraction: float) -> Ints:
    """The patterns that are worth most, of equals those nearest to ``center``."""
    if kind.patterns is None or not worth.any():
        return np.zeros((0, center.size), dtype=np.int64)
    fits = kind.patterns.counts[kind.patterns.load_w <= fraction * kind.phase_w * WHOLE_BUDGET]
    distance = ((fits - center) ** 2).sum(axis=1)
    return fits[np.lexsort((distance, -np.round(fits @ worth, 6)))][:MOST_WORTHY]


def _rounded(center: Floats) -> Ints:
    """(P, G) ``center`` with its largest fractions rounded down and up, the others to the nearest."""
    free = np.argsort(-np.abs(center - np.round(center)), kind="stable")[:MOST_ROUNDED]
    choices = [
        sorted({int(np.floor(value)), int(np.ceil(value))}) if g in free else [round(value)]
        for g, value in enumerate(center.tolist())
    ]
    return np.array(list(product(*choices)), dtype=np.int64)


def spread_evenly(problem: Problem, menus: tuple[Patterns, ...], servers: Floats) -> list[Ints]:
    """Per row the patterns (phases,) of its phases, such that ``servers`` (K, G) are followed phase by phase.

    Each phase takes the pattern that leaves least to make up for, in watts, of what phases so far should have had.
    """
    guesses: list[Ints] = [np.zeros(0, dtype=np.int64)] * problem.num_rows
    owed = np.zeros(problem.asked.size)
    for kind, menu, total in zip(problem.kinds, menus, servers, strict=True):
        chosen = np.zeros((kind.rows.size, kind.num_phases), dtype=np.int64)
        for i in np.ndindex(chosen.shape):
            owed += total / chosen.size
            left_w = (owed - menu.counts) * problem.crowd.average_w
            chosen[i] = np.argmin((left_w**2).sum(axis=1))
            owed -= menu.counts[chosen[i]]
        fullest_first = np.argsort(-menu.average_w[chosen].sum(axis=1), kind="stable")
        for r, phases in zip(kind.rows.tolist(), chosen[fullest_first], strict=True):
            guesses[r] = phases
    return guesses


def arranged(menu: Patterns, counts: Ints, num_rows: int) -> list[Ints]:
    """Per row the patterns of its phases, from the counts (phases, G) of all: alike on a row, fullest first."""
    patterns = np.argmax((counts[:, None, :] == menu.counts[None, :, :]).all(axis=2), axis=1)
    patterns = patterns[np.argsort(-menu.average_w[patterns], kind="stable")]
    return list(patterns.reshape(num_rows, -1))
