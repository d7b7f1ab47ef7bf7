"""The compiled search for a mapping: cost kept up to date move by move, annealing, and the whole tree of small problems.

Every move is a list of swaps of two positions, so that one routine carries all of them out, and the same swaps
backwards undo it. A position is a block, or (from U on) a slot that stays idle. A swap touches the hops of the blocks
that move; those of other blocks only where a node now has more or fewer messages to share its NICs among.

All compiled code is in this one file, because the cache of machine code watches no other: touch it after changing
``Blocks``. Random numbers are SplitMix64 (Steele, Lea, Flood, OOPSLA 2014) of a counter, so a seed gives one answer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar, cast

import numba
import numpy as np

from planner.program import Floats, Ints
from planner.training.blocks import BACKWARD, FORWARD, NUM_KINDS, Blocks

Function = TypeVar("Function", bound=Callable[..., Any])

TIE = 0.05
"""Weight of mean hop times beside the slowest ones, while searching: it tells apart mappings that are equally slow."""

GUIDED = 0.5
"""Share of swaps that start at an end of a slowest hop."""

ROUNDING = 1e-12


class State(NamedTuple):
    """A mapping while it changes: P = S positions, of which the first U are blocks.

    Attributes
    ----------
    slot, at:
        (P,) slot of each position, −1: not placed yet; (S,) the position in each slot, −1: none
    leaving, entering:
        (5, N) messages of each kind that leave and enter each node
    seconds:
        (5, U) of the slowest message that each block sends: in its hop, or inside its slot
    more_leaving, more_entering:
        (5, N) changes of those counts since they were last looked at; ``touched`` (5 · N) lists where
    moved, blocks, numbers:
        scratch: (P,) flags, (P,) blocks of a move, and (4,) counters: touched, blocks, random numbers drawn, tree nodes
    first_slot:
        (N + 1,) of each node
    """

    slot: Ints
    at: Ints
    leaving: Ints
    entering: Ints
    seconds: Floats
    more_leaving: Ints
    more_entering: Ints
    touched: Ints
    moved: Ints
    blocks: Ints
    numbers: Ints
    first_slot: Ints


def compiled(function: Function) -> Function:
    """Compile at the first call, and keep the machine code beside this file (or in the user's cache)."""
    try:
        return cast("Function", numba.njit(cache=True, error_model="numpy")(function))
    except RuntimeError:  # neither place can be written
        return cast("Function", numba.njit(error_model="numpy")(function))


def inner(function: Function) -> Function:
    """Compile as a part of what calls it."""
    return cast("Function", numba.njit(error_model="numpy", no_cpython_wrapper=True)(function))


def empty_state(b: Blocks, seed: int) -> State:
    """Nothing placed; random numbers start from ``seed``."""
    num_blocks, num_slots, num_nodes = b.next.shape[1], len(b.node), int(b.node.max()) + 1
    counts = (NUM_KINDS, num_nodes)
    return State(
        slot=np.full(num_slots, -1), at=np.full(num_slots, -1), leaving=np.zeros(counts, dtype=np.int64),
        entering=np.zeros(counts, dtype=np.int64), seconds=np.zeros((NUM_KINDS, num_blocks)),
        more_leaving=np.zeros(counts, dtype=np.int64), more_entering=np.zeros(counts, dtype=np.int64),
        touched=np.zeros(2 * NUM_KINDS * num_slots * 4, dtype=np.int64), moved=np.zeros(num_slots, dtype=np.int64),
        blocks=np.zeros(num_slots, dtype=np.int64), numbers=np.array([0, 0, np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 2, 0], dtype=np.int64),
        first_slot=np.searchsorted(b.node, np.arange(num_nodes + 1)),
    )  # fmt: skip


# ---- cost


@inner
def _hop_seconds(b: Blocks, s: State, kind: int, block: int) -> float:
    here = s.slot[block]
    if here < 0:
        return 0.0
    inside = b.inside[kind, block] * b.ring[kind, here] if kind < FORWARD else 0.0
    other = b.next[kind, block]
    if other < 0 or s.slot[other] < 0:
        return inside
    there = s.slot[other]
    seconds = b.weight[kind, block] * b.seconds_per_gb[b.matrix[kind], here, there]
    sender, receiver = b.node[here], b.node[there]
    if sender != receiver:
        crowd = max(s.leaving[kind, sender], s.entering[kind, receiver])
        if crowd > b.num_nics:
            seconds *= crowd / b.num_nics
    return max(seconds, inside)


@inner
def _count(b: Blocks, s: State, kind: int, block: int, sign: int) -> None:
    """Add or take the hop of ``block`` where it crosses between nodes."""
    other = b.next[kind, block]
    if other < 0 or s.slot[block] < 0 or s.slot[other] < 0:
        return
    sender, receiver = b.node[s.slot[block]], b.node[s.slot[other]]
    if sender == receiver:
        return
    flows = sign * b.flows[kind]
    s.leaving[kind, sender] += flows
    s.entering[kind, receiver] += flows
    s.more_leaving[kind, sender] += flows
    s.more_entering[kind, receiver] += flows
    size = s.leaving.shape[1]
    s.touched[s.numbers[0]] = kind * size + sender
    s.touched[s.numbers[0] + 1] = kind * size + receiver
    s.numbers[0] += 2


@inner
def _count_moved(b: Blocks, s: State, sign: int) -> None:
    """The same for all hops of the blocks of a move, each once."""
    for i in range(s.numbers[1]):
        block = s.blocks[i]
        for kind in b.kinds:
            _count(b, s, kind, block, sign)
            before = b.previous[kind, block]
            if before >= 0 and not s.moved[before]:
                _count(b, s, kind, before, sign)


@inner
def _refresh(b: Blocks, s: State, kind: int, block: int) -> None:
    """Bring the times of the hop out of ``block`` and of that into it up to date."""
    s.seconds[kind, block] = _hop_seconds(b, s, kind, block)
    before = b.previous[kind, block]
    if before >= 0:
        s.seconds[kind, before] = _hop_seconds(b, s, kind, before)


@inner
def _lift(b: Blocks, s: State, positions: Ints, num: int) -> None:
    """Take the blocks among ``positions`` out of all counts: a move begins."""
    s.numbers[1] = 0
    for i in range(num):
        position = positions[i]
        if position < b.next.shape[1] and not s.moved[position]:
            s.moved[position] = 1
            s.blocks[s.numbers[1]] = position
            s.numbers[1] += 1
    _count_moved(b, s, -1)


@inner
def _drop(b: Blocks, s: State) -> None:
    """Count the lifted blocks where they are now, and bring the hops that this touches up to date: a move ends."""
    _count_moved(b, s, 1)
    num_blocks, num_nodes = b.next.shape[1], s.leaving.shape[1]
    for i in range(s.numbers[0]):
        kind, node = divmod(s.touched[i], num_nodes)
        if s.more_leaving[kind, node] != 0 or s.more_entering[kind, node] != 0:
            s.more_leaving[kind, node] = s.more_entering[kind, node] = 0
            for slot in range(s.first_slot[node], s.first_slot[node + 1]):
                if 0 <= s.at[slot] < num_blocks:
                    _refresh(b, s, kind, s.at[slot])
    s.numbers[0] = 0
    for i in range(s.numbers[1]):
        block = s.blocks[i]
        s.moved[block] = 0
        for kind in b.kinds:
            _refresh(b, s, kind, block)


@inner
def _ep_seconds(b: Blocks, s: State, load: Ints, local: Ints) -> float:
    """Slowest message of the all-to-alls; ``load`` and ``local`` (N,) are scratch, all zero before and after."""
    num, size = b.ep[0], b.ep[1]
    num_blocks = b.next.shape[1]
    slowest = 0.0
    if num == 1:
        for block in range(num_blocks):
            if s.slot[block] >= 0:
                slowest = max(slowest, b.ep_ring[s.slot[block]])
        return slowest * (b.ep[2] - 1)
    for first in range(0, num_blocks, num):
        placed = _count_group(b, s, first, local)
        for block in range(first, first + num):
            if s.slot[block] >= 0:  # a block has ``size`` ranks that send to all of the group that are elsewhere
                node = b.node[s.slot[block]]
                load[node] += size * (placed - local[node])
        _clear_group(b, s, first, local)
    matrix = b.seconds_per_gb[b.matrix[NUM_KINDS]]
    for first in range(0, num_blocks, num):
        _count_group(b, s, first, local)
        for block in range(first, first + num):
            here = s.slot[block]
            if here < 0:
                continue
            sender = b.node[here]
            for other in range(first, first + num):
                there = s.slot[other]
                if there < 0:
                    continue
                receiver = b.node[there]
                if sender == receiver:
                    rate = b.ep_ring[here] if here == there else matrix[here, there]
                    slowest = max(slowest, rate * (local[sender] - 1))
                else:
                    crowd = max(load[sender], load[receiver]) / b.num_nics
                    slowest = max(slowest, matrix[here, there] * max(crowd, 1.0))
        _clear_group(b, s, first, local)
    load[:] = 0
    return slowest


@inner
def _count_group(b: Blocks, s: State, first: int, local: Ints) -> int:
    """Add the ranks of an expert-parallel group to ``local`` (N,); returns how many are placed."""
    num, size = b.ep[0], b.ep[1]
    placed = 0
    for block in range(first, first + num):
        if s.slot[block] >= 0:
            local[b.node[s.slot[block]]] += size
            placed += size
    return placed


@inner
def _clear_group(b: Blocks, s: State, first: int, local: Ints) -> None:
    for block in range(first, first + b.ep[0]):
        if s.slot[block] >= 0:
            local[b.node[s.slot[block]]] = 0


@inner
def _compute_seconds(b: Blocks, s: State) -> float:
    """As ``communication.compute_seconds``; what is not placed yet is as fast as the fastest."""
    dp, pp = b.degrees[2], b.degrees[3]
    fastest = b.speed.max()
    per_replica = b.degrees[0] * b.degrees[1]
    if b.uneven == 2:
        rate = 0.0
        for d in range(dp):
            longest = 0.0
            for stage in range(pp):
                speed = fastest
                for k in range(per_replica):
                    place = s.slot[k + per_replica * (d + dp * stage)]
                    if place >= 0:
                        speed = min(speed, b.speed[place])
                longest = max(longest, b.stage_s[stage] / speed)
            rate += 1.0 / longest
        return dp / rate
    total, longest = 0.0, 0.0
    for stage in range(pp):
        speed = fastest
        for block in range(stage * per_replica * dp, (stage + 1) * per_replica * dp):
            if s.slot[block] >= 0:
                speed = min(speed, b.speed[s.slot[block]])
        total += speed
        longest = max(longest, b.stage_s[stage] / speed)
    return b.stage_s.sum() / total if b.uneven == 1 else longest


@inner
def _total(b: Blocks, s: State, scratch: Ints) -> tuple[float, float]:
    """Seconds of a step, and the mean that breaks ties; ``scratch`` (2, N) is all zero."""
    num_blocks = b.next.shape[1]
    total, mean = 0.0, 0.0
    chains = False
    for kind in b.kinds:
        if kind >= FORWARD:
            chains = True
            continue
        slowest, added = 0.0, 0.0
        for block in range(num_blocks):
            seconds = s.seconds[kind, block]
            slowest = max(slowest, seconds)
            added += seconds
        total += slowest
        mean += added / num_blocks
    if chains:
        per_stage = num_blocks // b.degrees[3]
        slowest, added = 0.0, 0.0
        for chain in range(per_stage):
            seconds = 0.0
            for block in range(chain, num_blocks, per_stage):
                seconds += s.seconds[FORWARD, block] + s.seconds[BACKWARD, block]
            slowest = max(slowest, seconds)
            added += seconds
        total += slowest
        mean += added / per_stage
    if b.ep_weight > 0:
        total += b.ep_weight * _ep_seconds(b, s, scratch[0], scratch[1])
    if b.uneven >= 0:
        total += _compute_seconds(b, s)
    return total, mean


# ---- moves


@inner
def _draw(s: State) -> int:
    """The next of the random numbers, 53 bits."""
    s.numbers[2] += 1
    z = np.uint64(s.numbers[2]) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.int64((z ^ (z >> np.uint64(31))) >> np.uint64(11))


@inner
def _uniform(s: State) -> float:
    return _draw(s) / 9007199254740992.0


@inner
def _slowest_block(b: Blocks, s: State) -> int:
    """One end of the slowest hop of a random kind."""
    kind = b.kinds[_draw(s) % len(b.kinds)]
    block = 0
    for other in range(1, b.next.shape[1]):
        if s.seconds[kind, other] > s.seconds[kind, block]:
            block = other
    after = b.next[kind, block]
    return after if after >= 0 and _draw(s) % 2 else block


@inner
def _propose(b: Blocks, s: State, pairs: Ints) -> int:
    """Write the swaps of a random move into ``pairs`` (P², 2 at most); returns their number."""
    parts, ring, stages = b.degrees[0], b.degrees[1] * b.degrees[2], b.degrees[3]
    num_blocks, num_nodes = b.next.shape[1], s.leaving.shape[1]
    kind = _uniform(s)
    num = 0
    if kind < 0.1 and num_nodes < len(b.node):  # everything of two nodes
        one, other = _draw(s) % num_nodes, _draw(s) % num_nodes
        width = min(s.first_slot[one + 1] - s.first_slot[one], s.first_slot[other + 1] - s.first_slot[other])
        for k in range(width if one != other else 0):
            pairs[num, 0] = s.at[s.first_slot[one] + k]
            pairs[num, 1] = s.at[s.first_slot[other] + k]
            num += 1
    elif kind < 0.4 and ring > 2:  # turn round a part of one stage's rings, or of all, or move one replica along
        first, last = _draw(s) % ring, _draw(s) % ring
        low, high = min(first, last), max(first, last)
        everywhere = _draw(s) % 3 == 0
        along = _draw(s) % 2 == 0
        only = _draw(s) % stages
        for stage in range(stages):
            if stage != only and not everywhere:
                continue
            for k in range(parts):
                start = k + parts * ring * stage
                if along:
                    for step in range(high - low):
                        at = low + step if first < last else high - 1 - step
                        pairs[num, 0] = start + parts * at
                        pairs[num, 1] = start + parts * (at + 1)
                        num += 1
                else:
                    for step in range((high - low + 1) // 2):
                        pairs[num, 0] = start + parts * (low + step)
                        pairs[num, 1] = start + parts * (high - step)
                        num += 1
    elif kind < 0.45 and stages > 1:  # two stages
        one, other = _draw(s) % stages, _draw(s) % stages
        for k in range(parts * ring if one != other else 0):
            pairs[num, 0] = one * parts * ring + k
            pairs[num, 1] = other * parts * ring + k
            num += 1
    elif kind < 0.5 and ring > 1:  # two replicas
        one, other = _draw(s) % ring, _draw(s) % ring
        for k in range(parts * stages if one != other else 0):
            stage, part = divmod(k, parts)
            start = part + parts * ring * stage
            pairs[num, 0] = start + parts * one
            pairs[num, 1] = start + parts * other
            num += 1
    else:
        block = _slowest_block(b, s) if len(b.kinds) and _uniform(s) < GUIDED else _draw(s) % num_blocks
        other = _draw(s) % len(s.slot)
        if block != other:
            pairs[0, 0] = block
            pairs[0, 1] = other
            num = 1
    return num


@inner
def _swap(b: Blocks, s: State, pairs: Ints, num: int, backwards: bool) -> None:
    _lift(b, s, pairs[:num].reshape(2 * num), 2 * num)
    for i in range(num):
        row = num - 1 - i if backwards else i
        one, other = pairs[row, 0], pairs[row, 1]
        here, there = s.slot[other], s.slot[one]
        s.slot[one], s.slot[other] = here, there
        s.at[here], s.at[there] = one, other
    _drop(b, s)


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
            _count(b, s, kind, block, 1)
        s.numbers[0] = 0
    s.more_leaving[:] = 0
    s.more_entering[:] = 0
    for block in range(b.next.shape[1]):
        for kind in b.kinds:
            s.seconds[kind, block] = _hop_seconds(b, s, kind, block)
    return _total(b, s, np.zeros((2, s.leaving.shape[1]), dtype=np.int64))[0]


@compiled
def anneal(b: Blocks, s: State, best: Ints, temperature: Floats) -> float:
    """One move per temperature (n,) in seconds, 0: only better ones; leaves the best mapping in ``best`` (P,).

    ``s`` has a mapping, and is left where the walk ends. Returns the seconds of the best mapping met, at the start too.
    """
    scratch = np.zeros((2, s.leaving.shape[1]), dtype=np.int64)
    pairs = np.zeros((len(s.slot) * 2, 2), dtype=np.int64)
    seconds, mean = _total(b, s, scratch)
    energy = seconds + TIE * mean
    least, least_energy = seconds, energy
    best[:] = s.slot
    for step in range(len(temperature)):
        num = _propose(b, s, pairs)
        if num == 0:
            continue
        _swap(b, s, pairs, num, False)
        seconds, mean = _total(b, s, scratch)
        change = seconds + TIE * mean - energy
        if change <= 0 or (temperature[step] > 0 and _uniform(s) < math.exp(-change / temperature[step])):
            energy += change
            if seconds < least - ROUNDING or (seconds <= least and energy < least_energy):
                least, least_energy = seconds, energy
                best[:] = s.slot
        else:
            _swap(b, s, pairs, num, True)
    return least


@compiled
def exhaust(b: Blocks, s: State, best: Ints, least: float, most_visits: int, alike: bool) -> tuple[float, bool]:
    """Place blocks one by one in every way that can still beat ``least`` seconds; ``s`` starts empty.

    Hops only add up and nodes only get fuller, so the seconds of what is placed bound those of the whole from below.
    Of a node's free slots that are ``alike`` only the first is tried; where turning all rings leaves the cost as it
    is, the first block takes the lowest node of its ring. Leaves the best mapping in ``best`` (P,) if a better one is
    found. Returns its seconds, and whether every mapping was covered within ``most_visits`` placements.
    """
    num_blocks, num_slots = b.next.shape[1], len(b.node)
    scratch = np.zeros((2, s.leaving.shape[1]), dtype=np.int64)
    turns = alike and b.degrees[0] == 1 and b.degrees[1] == 1 and b.ep[0] == 1
    tried = np.full(num_blocks, -1)
    one = np.zeros(1, dtype=np.int64)
    depth, visits = 0, 0
    while depth >= 0:
        one[0] = depth
        if s.slot[depth] >= 0:
            _lift(b, s, one, 1)
            s.at[s.slot[depth]] = -1
            s.slot[depth] = -1
            _drop(b, s)
        slot = tried[depth] + 1
        while slot < num_slots and (
            s.at[slot] >= 0
            or (alike and slot > 0 and b.node[slot] == b.node[slot - 1] and s.at[slot - 1] < 0)
            or (turns and 0 < depth < b.degrees[2] and b.node[slot] < b.node[s.slot[0]])
        ):
            slot += 1
        if slot == num_slots:
            tried[depth] = -1
            depth -= 1
            continue
        if visits == most_visits:
            return least, False
        visits += 1
        tried[depth] = slot
        _lift(b, s, one, 1)
        s.slot[depth] = slot
        s.at[slot] = depth
        _drop(b, s)
        seconds = _total(b, s, scratch)[0]
        if seconds >= least - ROUNDING:
            continue
        if depth + 1 < num_blocks:
            depth += 1
            continue
        least = seconds
        best[:] = s.slot
        position = num_blocks
        for free in range(num_slots):
            if s.at[free] < 0:
                best[position] = free
                position += 1
    return least, True
