"""Group-local placement: every expert has a copy on its group's home node; redundant copies may be anywhere.

EPLB's hierarchical placement keeps all copies at home, so the hottest group's node stays hot. Here copies of hot
groups also go to cool nodes, up to a cap on the tokens that leave home.

Shapes: L layers, W workloads, E experts, G GPUs, N nodes, S slots, A places, F experts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.clock import Clock
from planner.experts.copies import water_fill
from planner.experts.dispatch import even_cap
from planner.experts.eplb import packed_in_order
from planner.experts.packing import pack
from planner.experts.placement import held_of
from planner.experts.search import Layer, improve
from planner.program import Bools, Floats, Ints

CAP_STEPS = 6
"""Tightenings of the cap per layer, when the model as a whole serves too many tokens off home."""


@dataclass(frozen=True)
class HomeRules:
    """Rules of a search that keeps a copy of each expert at home and few tokens (``budget``, a share) away from it.

    ``load`` [E] sums to 1; ``away`` [E, G] marks the GPUs off an expert's home node.
    """

    load: Floats
    away: Bools
    budget: float

    def spent(self, held: Ints) -> float:
        """Share of tokens served off home."""
        return float(self.load @ ((held * self.away).sum(axis=1) / held.sum(axis=1)))

    def replace_price(self, held: Ints, old: Ints, gpu: Ints, new: Ints) -> Floats:
        """[A, F] tokens off home that a replacement adds; inf where ``old`` would lose its last copy at home."""
        copies, off = held.sum(axis=1), (held * self.away).sum(axis=1)
        leaves = self.away[old, gpu]
        less = self.load[old] * ((off[old] - leaves) / np.maximum(copies[old] - 1, 1) - off[old] / copies[old])
        lands = self.away[new[None], gpu[:, None]]
        more = self.load[new] * ((off[new] + lands) / (copies[new] + 1) - off[new] / copies[new])
        last = ~leaves & (copies[old] - off[old] <= 1)
        return np.where(last[:, None], np.inf, less[:, None] + more)

    def swap_price(self, held: Ints, one: tuple[Ints, int], other: tuple[Ints, Ints]) -> Floats:
        """[r, A] the same for a swap."""
        (mine, hot), (theirs, gpu) = one, other
        copies = held.sum(axis=1)
        at_home = (held * ~self.away).sum(axis=1)
        per_copy = self.load / copies
        mine_here, mine_there = self.away[mine, hot][:, None], self.away[mine[:, None], gpu]
        theirs_there, theirs_here = self.away[theirs, gpu], self.away[theirs, hot]
        price = per_copy[mine][:, None] * (mine_there.astype(float) - mine_here) + per_copy[theirs] * (
            theirs_here.astype(float) - theirs_there
        )
        last_mine = ~mine_here & mine_there & (at_home[mine] <= 1)[:, None]
        last_theirs = ~theirs_there & theirs_here & (at_home[theirs] <= 1)
        return np.where(last_mine | last_theirs, np.inf, price)


@dataclass(frozen=True)
class GroupLocal:
    """A placement ``held`` [L, E, G], the home node of each expert ``home`` [L, E], and the share served off it [L]."""

    held: Ints
    home: Ints
    off_home: Floats


def away_from(home: Ints, num_gpus: int, num_nodes: int) -> Bools:
    """[L, E, G] whether each GPU is off each expert's home node; ``home`` is [L, E]."""
    result: Bools = home[:, :, None] != np.arange(num_gpus) // (num_gpus // num_nodes)
    return result


def place_group_local(
    load: Floats, weight: Floats, num_nodes: int, num_slots: int, num_groups: int, max_off_home: float, clock: Clock,
) -> GroupLocal:  # fmt: skip
    """Place ``load`` [W, L, E] (scaled) with at most ``max_off_home`` of the tokens off home, mean over layers."""
    num_gpus = round(float(load[0, 0].sum()))
    mean = np.einsum("w,wle->le", weight, load)
    home = home_nodes(mean, num_nodes, num_groups)
    held = np.stack([_first_guess(mean[i], home[i], num_gpus, num_nodes, num_slots, 1.0) for i in range(len(mean))])
    away = away_from(home, num_gpus, num_nodes)
    off_home = np.empty(len(mean))
    for i in range(len(mean)):
        off_home[i] = _refine(load[:, i], mean[i], held[i], away[i], 1.0, clock)
    # Layers that need few tokens off home leave their share of the cap to those that need more.
    for _ in range(CAP_STEPS):
        if off_home.mean() <= max_off_home + 1e-12:
            break
        cap = even_cap(off_home, max_off_home)
        for i in np.flatnonzero(off_home > cap).tolist():
            held[i] = _guess_under(cap, mean[i], home[i], away[i], num_slots)
            off_home[i] = _refine(load[:, i], mean[i], held[i], away[i], cap, clock)
    return GroupLocal(held, home, off_home)


def home_nodes(load: Floats, num_nodes: int, num_groups: int) -> Ints:
    """[L, E] node of each expert's group: groups on nodes, equally many, hottest first on the coolest."""
    num_layers, num_experts = load.shape
    by_group = load.reshape(num_layers, num_groups, -1).sum(axis=2)
    groups = packed_in_order(by_group, num_nodes)
    node = np.empty((num_layers, num_groups), dtype=np.int64)
    np.put_along_axis(node, groups, np.arange(num_groups)[None] // (num_groups // num_nodes), axis=1)
    return np.repeat(node, num_experts // num_groups, axis=1)


def _guess_under(cap: float, load: Floats, home: Ints, away: Bools, num_slots: int) -> Ints:
    """[E, G] a first guess that serves at most ``cap`` of the tokens off home.

    The guess counts with copies that it later leaves out, so it can miss the cap it is given: aim lower until it holds.
    """
    num_gpus = away.shape[1]
    num_nodes = int(home.max()) + 1
    rules = HomeRules(load / load.sum(), away, cap)
    for aim in (1.0, 0.9, 0.7, 0.5, 0.25):
        guess = _first_guess(load, home, num_gpus, num_nodes, num_slots, cap * aim)
        if rules.spent(guess) <= cap:
            return guess
    return _first_guess(load, home, num_gpus, num_nodes, num_slots, 0.0)


def _first_guess(load: Floats, home: Ints, num_gpus: int, num_nodes: int, num_slots: int, cap: float) -> Ints:
    """[E, G] first copies at home, redundant ones hottest first on the coolest node with room, packed per node.

    A copy that would exceed the ``cap`` on the share of tokens off home goes home, or is left out where home is full;
    slots that remain get further copies of the hottest experts at home there.
    """
    num_experts = load.size
    copies = water_fill(load[None], num_slots)[0]
    share = load / copies
    on_node = np.zeros((num_experts, num_nodes), dtype=np.int64)
    on_node[np.arange(num_experts), home] = 1
    room = num_slots // num_nodes - on_node.sum(axis=0)
    total = np.bincount(home, share, num_nodes)
    off_home = 0.0
    redundant = np.repeat(np.arange(num_experts), copies - 1)
    for expert in redundant[np.argsort(-share[redundant], kind="stable")]:
        node = int(np.where(room > 0, total, np.inf).argmin())
        if node != home[expert] and off_home + share[expert] > cap * num_gpus:
            node = int(home[expert])
            if not room[node]:
                continue
        on_node[expert, node] += 1
        room[node] -= 1
        total[node] += share[expert]
        off_home += share[expert] * (node != home[expert])
    for node in np.repeat(np.arange(num_nodes), room).tolist():
        hottest = int(np.where(home == node, load / on_node.sum(axis=1), -1.0).argmax())
        on_node[hottest, node] += 1
    expert = np.repeat(np.tile(np.arange(num_experts), num_nodes), on_node.T.ravel()).reshape(num_nodes, -1)
    heat = (load / on_node.sum(axis=1))[expert]
    target = heat.sum(axis=1) * num_nodes / num_gpus
    packing = pack(expert, heat, num_gpus // num_nodes, target, num_rounds=12, seed=0)
    held: Ints = held_of(packing.expert.reshape(1, -1), num_experts, num_gpus)[0]
    return held


def _refine(load: Floats, mean: Floats, held: Ints, away: Bools, cap: float, clock: Clock) -> float:
    """Improve ``held`` [E, G] in place; returns the share of tokens served off home."""
    rules = HomeRules(mean / mean.sum(), away, cap)
    if not clock.is_over():
        layer = Layer(load, held)
        improve(layer, rules)
    return rules.spent(held)
