"""The compiled search for where blocks go: annealing, and the whole tree of small problems.

Every move is a list of swaps of two positions, so that one routine carries all of them out, and the same swaps
backwards undo it. A position is a block, or (from U on) a slot that stays idle. Random numbers are SplitMix64 (Steele,
Lea, Flood, OOPSLA 2014) of a counter, so a seed gives one answer.
"""

from __future__ import annotations

import math

import numpy as np

from planner.compiled import compiled
from planner.program import Floats, Ints
from planner.training.block_cost import DRAWN, TOUCHED, State, count, drop, hop_seconds, inner, lift, step_of
from planner.training.blocks import Blocks

TIE = 0.05
"""Weight of mean times beside the slowest ones, while searching: it tells apart mappings that are equally slow."""

NODES, RINGS, STAGES, REPLICAS = 0.2, 0.45, 0.5, 0.55
"""Kinds of moves by shares, added up: two nodes, a part of a ring, two stages, two replicas; else two positions."""

ROUNDING = 1e-12


# ---- random numbers


@inner
def _draw(s: State, below: int) -> int:
    """A random number from 0 to ``below`` − 1."""
    s.numbers[DRAWN] += 1
    z = np.uint64(s.numbers[DRAWN]) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return int(np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(11)) % below)


@inner
def _uniform(s: State) -> float:
    return _draw(s, 1 << 53) / (1 << 53)


# ---- moves: each writes swaps into ``pairs`` (2 · P, 2) and returns their number


@inner
def _pick(b: Blocks, s: State) -> int:
    """A block: half of the time one end of the slowest hop of a random kind, else any."""
    block = _draw(s, b.next.shape[1])
    if len(b.kinds) == 0 or _draw(s, 2):
        return block
    kind = b.kinds[_draw(s, len(b.kinds))]
    for other in range(b.next.shape[1]):
        if s.seconds[kind, other] > s.seconds[kind, block]:
            block = other
    after = b.next[kind, block]
    return int(after) if after >= 0 and _draw(s, 2) else block


@inner
def _swap_nodes(b: Blocks, s: State, pairs: Ints) -> int:
    """Everything on two nodes."""
    one, other = b.node[s.slot[_pick(b, s)]], _draw(s, s.leaving.shape[1])
    here, there = s.first_slot[one], s.first_slot[other]
    width = min(s.first_slot[one + 1] - here, s.first_slot[other + 1] - there)
    for k in range(width if one != other else 0):
        pairs[k, 0], pairs[k, 1] = s.at[here + k], s.at[there + k]
    return int(width) if one != other else 0


@inner
def _turn_rings(b: Blocks, s: State, pairs: Ints) -> int:
    """Turn a part of the rings of one stage, or of all, round; or move one member to another place in its ring."""
    parts, ring, stages = b.degrees[0], b.degrees[1] * b.degrees[2], b.degrees[3]
    first, last = _draw(s, ring), _draw(s, ring)
    low, high = min(first, last), max(first, last)
    everywhere, along, only = _draw(s, 3) == 0, _draw(s, 2) == 0, _draw(s, stages)
    num = 0
    for stage in range(stages):
        for k in range(parts if everywhere or stage == only else 0):
            start = k + parts * ring * stage
            if along:
                for step in range(high - low):
                    at = low + step if first < last else high - 1 - step
                    pairs[num, 0], pairs[num, 1] = start + parts * at, start + parts * (at + 1)
                    num += 1
            else:
                for step in range((high - low + 1) // 2):
                    pairs[num, 0], pairs[num, 1] = start + parts * (low + step), start + parts * (high - step)
                    num += 1
    return num


@inner
def _swap_stages(b: Blocks, s: State, pairs: Ints) -> int:
    """All blocks of two stages."""
    per_stage, stages = b.degrees[0] * b.degrees[1] * b.degrees[2], b.degrees[3]
    one, other = _draw(s, stages), _draw(s, stages)
    for k in range(per_stage if one != other else 0):
        pairs[k, 0], pairs[k, 1] = one * per_stage + k, other * per_stage + k
    return int(per_stage) if one != other else 0


@inner
def _swap_replicas(b: Blocks, s: State, pairs: Ints) -> int:
    """All blocks of two members of the rings, on every stage."""
    parts, ring, stages = b.degrees[0], b.degrees[1] * b.degrees[2], b.degrees[3]
    one, other = _draw(s, ring), _draw(s, ring)
    num = 0
    for stage in range(stages if one != other else 0):
        for k in range(parts):
            start = k + parts * ring * stage
            pairs[num, 0], pairs[num, 1] = start + parts * one, start + parts * other
            num += 1
    return num


@inner
def _swap_two(b: Blocks, s: State, pairs: Ints) -> int:
    """A block and any position."""
    pairs[0, 0], pairs[0, 1] = _pick(b, s), _draw(s, len(s.slot))
    return 1 if pairs[0, 0] != pairs[0, 1] else 0


@inner
def _propose(b: Blocks, s: State, pairs: Ints) -> int:
    kind = _uniform(s)
    ring = b.degrees[1] * b.degrees[2]
    if kind < NODES and s.leaving.shape[1] < len(b.node):
        return _swap_nodes(b, s, pairs)
    if NODES <= kind < RINGS and ring > 2:
        return _turn_rings(b, s, pairs)
    if RINGS <= kind < STAGES and b.degrees[3] > 1:
        return _swap_stages(b, s, pairs)
    if STAGES <= kind < REPLICAS and ring > 1:
        return _swap_replicas(b, s, pairs)
    return _swap_two(b, s, pairs)


@inner
def _swap(b: Blocks, s: State, pairs: Ints, num: int, backwards: bool) -> None:
    lift(b, s, pairs, num)
    for i in range(num):
        row = num - 1 - i if backwards else i
        one, other = pairs[row, 0], pairs[row, 1]
        here, there = s.slot[other], s.slot[one]
        s.slot[one], s.slot[other] = here, there
        s.at[here], s.at[there] = one, other
    drop(b, s)


# ---- entries


@compiled
def seconds_of(b: Blocks, s: State, slot: Ints) -> float:
    """Put every position into ``slot`` (P,); returns the seconds of a step."""
    s.slot[:] = slot
    s.leaving[:] = 0
    s.entering[:] = 0
    for position in range(len(slot)):
        s.at[slot[position]] = position
    for block in range(b.next.shape[1]):
        for kind in b.kinds:
            count(b, s, kind, block, 1)
        s.numbers[TOUCHED] = 0
    s.more_leaving[:] = 0
    s.more_entering[:] = 0
    for block in range(b.next.shape[1]):
        for kind in b.kinds:
            s.seconds[kind, block] = hop_seconds(b, s, kind, block)
    return step_of(b, s)[0]


@compiled
def anneal(b: Blocks, s: State, best: Ints, temperature: Floats) -> float:
    """One move per temperature (n,) in seconds, 0: only better ones; leaves the best mapping in ``best`` (P,).

    ``s`` has a mapping, and is left where the walk ends. Returns the seconds of the best mapping met, at the start too.
    """
    pairs = np.zeros((len(s.slot) * 2, 2), dtype=np.int64)
    seconds, mean = step_of(b, s)
    energy = seconds + TIE * mean
    least, least_energy = seconds, energy
    best[:] = s.slot
    for step in range(len(temperature)):
        num = _propose(b, s, pairs)
        if num == 0:
            continue
        _swap(b, s, pairs, num, False)
        seconds, mean = step_of(b, s)
        change = seconds + TIE * mean - energy
        if change <= 0 or (temperature[step] > 0 and _uniform(s) < math.exp(-change / temperature[step])):
            energy += change
            if seconds < least - ROUNDING or (seconds <= least and energy < least_energy):
                least, least_energy = seconds, energy
                best[:] = s.slot
        else:
            _swap(b, s, pairs, num, True)
    return least


@inner
def _is_needless(b: Blocks, s: State, depth: int, slot: int, alike: bool, turns: bool) -> bool:
    """Whether ``slot`` is taken, or no better for block ``depth`` than one that is tried anyway."""
    if s.at[slot] >= 0:
        return True
    if alike and slot > 0 and b.node[slot] == b.node[slot - 1] and s.at[slot - 1] < 0:
        return True
    return turns and 0 < depth < b.degrees[2] and b.node[slot] < b.node[s.slot[0]]


@inner
def _put(b: Blocks, s: State, block: Ints, slot: int) -> None:
    """Move ``block`` (1, 2), twice the same, to ``slot``, −1: to none."""
    lift(b, s, block, 1)
    if s.slot[block[0, 0]] >= 0:
        s.at[s.slot[block[0, 0]]] = -1
    s.slot[block[0, 0]] = slot
    if slot >= 0:
        s.at[slot] = block[0, 0]
    drop(b, s)


@compiled
def exhaust(b: Blocks, s: State, best: Ints, least: float, most_visits: int, alike: bool) -> tuple[float, bool]:
    """Place blocks one by one in every way that can still beat ``least`` seconds; ``s`` starts empty.

    Hops only add up and nodes only get fuller, so the seconds of what is placed bound those of the whole from below.
    Of a node's free slots that are ``alike`` only the first is tried; where turning all rings leaves the cost as it
    is, the first block takes the lowest node of its ring. Leaves the best mapping in ``best`` (P,) if a better one is
    found. Returns its seconds, and whether every mapping was covered within ``most_visits`` placements.
    """
    num_blocks, num_slots = b.next.shape[1], len(b.node)
    turns = alike and b.degrees[0] == 1 and b.degrees[1] == 1 and b.ep[0] == 1
    tried = np.full(num_blocks, -1)
    block = np.zeros((1, 2), dtype=np.int64)
    depth, visits = 0, 0
    while depth >= 0:
        block[:] = depth
        _put(b, s, block, -1)
        slot = tried[depth] + 1
        while slot < num_slots and _is_needless(b, s, depth, slot, alike, turns):
            slot += 1
        tried[depth] = slot if slot < num_slots else -1
        if slot == num_slots:
            depth -= 1
            continue
        if visits == most_visits:
            return least, False
        visits += 1
        _put(b, s, block, slot)
        seconds = step_of(b, s)[0]
        if seconds >= least - ROUNDING:
            continue
        if depth + 1 < num_blocks:
            depth += 1
            continue
        least = seconds
        best[:num_blocks] = s.slot[:num_blocks]
        best[num_blocks:] = np.flatnonzero(s.at < 0)
    return least, True
