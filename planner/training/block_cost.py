"""The compiled cost of a mapping of blocks, kept up to date while it changes.

A change lifts some blocks out of all counts, gives them other slots, and drops them again. That touches the hops of
those blocks, and of others only where a node now has more or fewer messages to share its NICs among.

The cache of machine code watches only the file of an entry: touch ``anneal`` after changing anything here, or
``Blocks``.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import numba
import numpy as np

from planner.compiled import Function
from planner.program import Floats, Ints
from planner.training.blocks import BACKWARD, BATCHES, FORWARD, LAYERS, NUM_KINDS, Blocks

TOUCHED, MOVED, DRAWN = range(3)
"""What ``State.numbers`` counts: entries of ``touched``, entries of ``blocks``, random numbers drawn."""


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
        (5, N) changes of those counts since hops were last brought up to date; ``touched`` lists where
    moved, blocks:
        (P,) whether each position is lifted, and which blocks are
    load, local:
        (N,) messages of all-to-alls that leave each node, and ranks of a group on it; zero between uses
    numbers:
        (3,) counters
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
    load: Ints
    local: Ints
    numbers: Ints
    first_slot: Ints


def inner(function: Function) -> Function:
    """Compile as a part of what calls it, without counting references: nothing here allocates, and counting those of
    the arrays of ``Blocks`` and ``State`` at every access takes thirty times as long as the work itself.
    """
    uncounted: dict[str, Any] = {"no_cpython_wrapper": True, "_nrt": False}
    return cast("Function", numba.njit(error_model="numpy", **uncounted)(function))


def empty_state(b: Blocks, seed: int) -> State:
    """Nothing placed; random numbers start from ``seed``."""
    num_blocks, num_slots, num_nodes = b.next.shape[1], len(b.node), int(b.node.max()) + 1

    def zeros(*shape: int) -> Ints:
        return np.zeros(shape, dtype=np.int64)

    drawn = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 2)
    return State(
        slot=zeros(num_slots) - 1, at=zeros(num_slots) - 1,
        leaving=zeros(NUM_KINDS, num_nodes), entering=zeros(NUM_KINDS, num_nodes),
        seconds=np.zeros((NUM_KINDS, num_blocks)),
        more_leaving=zeros(NUM_KINDS, num_nodes), more_entering=zeros(NUM_KINDS, num_nodes),
        touched=zeros(8 * NUM_KINDS * num_slots),  # two ends of two hops of each block and kind, lifted and dropped
        moved=zeros(num_slots), blocks=zeros(num_slots), load=zeros(num_nodes), local=zeros(num_nodes),
        numbers=np.array([0, 0, drawn]), first_slot=np.searchsorted(b.node, np.arange(num_nodes + 1)),
    )  # fmt: skip


@inner
def hop_seconds(b: Blocks, s: State, kind: int, block: int) -> float:
    """Of the hop out of ``block``, or of a message inside it where that is slower; 0 while it has no slot."""
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
    return float(max(seconds, inside))


@inner
def count(b: Blocks, s: State, kind: int, block: int, sign: int) -> None:
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
    s.touched[s.numbers[TOUCHED]] = kind * size + sender
    s.touched[s.numbers[TOUCHED] + 1] = kind * size + receiver
    s.numbers[TOUCHED] += 2


@inner
def _count_moved(b: Blocks, s: State, sign: int) -> None:
    """The same for all hops of the blocks of a move, each once."""
    for i in range(s.numbers[MOVED]):
        block = s.blocks[i]
        for kind in b.kinds:
            count(b, s, kind, block, sign)
            before = b.previous[kind, block]
            if before >= 0 and not s.moved[before]:
                count(b, s, kind, before, sign)


@inner
def _refresh(b: Blocks, s: State, kind: int, block: int) -> None:
    """Bring the times of the hop out of ``block`` and of that into it up to date."""
    s.seconds[kind, block] = hop_seconds(b, s, kind, block)
    before = b.previous[kind, block]
    if before >= 0:
        s.seconds[kind, before] = hop_seconds(b, s, kind, before)


@inner
def lift(b: Blocks, s: State, pairs: Ints, num: int) -> None:
    """Take the blocks in the first ``num`` rows of ``pairs`` (…, 2) out of all counts: a move begins."""
    s.numbers[MOVED] = 0
    for i in range(2 * num):
        position = pairs[i // 2, i % 2]
        if position < b.next.shape[1] and not s.moved[position]:
            s.moved[position] = 1
            s.blocks[s.numbers[MOVED]] = position
            s.numbers[MOVED] += 1
    _count_moved(b, s, -1)


@inner
def drop(b: Blocks, s: State) -> None:
    """Count the lifted blocks where they are now, and bring the hops that this touches up to date: a move ends."""
    _count_moved(b, s, 1)
    num_blocks, num_nodes = b.next.shape[1], s.leaving.shape[1]
    for i in range(s.numbers[TOUCHED]):
        kind, node = divmod(s.touched[i], num_nodes)
        if s.more_leaving[kind, node] != 0 or s.more_entering[kind, node] != 0:
            s.more_leaving[kind, node] = s.more_entering[kind, node] = 0
            for slot in range(s.first_slot[node], s.first_slot[node + 1]):
                if 0 <= s.at[slot] < num_blocks:
                    _refresh(b, s, kind, s.at[slot])
    s.numbers[TOUCHED] = 0
    for i in range(s.numbers[MOVED]):
        block = s.blocks[i]
        s.moved[block] = 0
        for kind in b.kinds:
            _refresh(b, s, kind, block)


@inner
def step_of(b: Blocks, s: State) -> tuple[float, float]:
    """Seconds of a step, and the mean times of rings and chains (seconds) that tell equally slow mappings apart."""
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
        total += b.ep_weight * (_ep_inside(b, s) if b.ep[0] == 1 else _ep_between(b, s))
    if b.uneven == BATCHES:
        total += _compute_by_batches(b, s)
    elif b.uneven >= 0:
        total += _compute_by_stages(b, s)
    return total, mean


# ---- all-to-alls


@inner
def _ep_inside(b: Blocks, s: State) -> float:
    """Slowest message per GB of groups that lie inside blocks."""
    slowest = 0.0
    for block in range(b.next.shape[1]):
        if s.slot[block] >= 0:
            slowest = max(slowest, b.ep_ring[s.slot[block]])
    return slowest * (b.ep[2] - 1)


@inner
def _ep_between(b: Blocks, s: State) -> float:
    """The same of groups of several blocks; a rank sends to all of its group, at once with all other groups."""
    num_blocks, num, size = b.next.shape[1], b.ep[0], b.ep[1]
    for first in range(0, num_blocks, num):
        placed = _count_group(b, s, first)
        for block in range(first, first + num):
            if s.slot[block] >= 0:
                node = b.node[s.slot[block]]
                s.load[node] += size * (placed - s.local[node])
        _clear_group(b, s, first)
    slowest = 0.0
    for first in range(0, num_blocks, num):
        _count_group(b, s, first)
        for block in range(first, first + num):
            if s.slot[block] >= 0:
                slowest = max(slowest, _slowest_to_group(b, s, s.slot[block], first))
        _clear_group(b, s, first)
    for node in range(len(s.load)):
        s.load[node] = 0
    return slowest


@inner
def _slowest_to_group(b: Blocks, s: State, here: int, first: int) -> float:
    """Slowest message per GB from slot ``here`` to the blocks of the group that begins with block ``first``."""
    matrix, sender = b.matrix[NUM_KINDS], b.node[here]
    slowest = 0.0
    for other in range(first, first + b.ep[0]):
        there = s.slot[other]
        if there < 0:
            continue
        receiver = b.node[there]
        if here == there:
            seconds = b.ep_ring[here] * (s.local[sender] - 1)
        elif sender == receiver:
            seconds = b.seconds_per_gb[matrix, here, there] * (s.local[sender] - 1)
        else:
            crowd = max(s.load[sender], s.load[receiver]) / b.num_nics
            seconds = b.seconds_per_gb[matrix, here, there] * max(crowd, 1.0)
        slowest = max(slowest, seconds)
    return slowest


@inner
def _count_group(b: Blocks, s: State, first: int) -> int:
    """Add the ranks of a group to ``local``; returns how many are placed."""
    placed = 0
    for block in range(first, first + b.ep[0]):
        if s.slot[block] >= 0:
            s.local[b.node[s.slot[block]]] += b.ep[1]
            placed += b.ep[1]
    return placed


@inner
def _clear_group(b: Blocks, s: State, first: int) -> None:
    for block in range(first, first + b.ep[0]):
        if s.slot[block] >= 0:
            s.local[b.node[s.slot[block]]] = 0


# ---- GPUs of different speed: as ``communication.compute_seconds``; what has no slot yet counts as the fastest


@inner
def _slowest_gpu(b: Blocks, s: State, first: int, num: int) -> float:
    """Speed of the slowest GPU of ``num`` blocks from ``first`` on."""
    speed = b.fastest
    for block in range(first, first + num):
        if s.slot[block] >= 0:
            speed = min(speed, b.speed[s.slot[block]])
    return speed


@inner
def _compute_by_stages(b: Blocks, s: State) -> float:
    per_stage, pp = b.degrees[0] * b.degrees[1] * b.degrees[2], b.degrees[3]
    work, total, longest = 0.0, 0.0, 0.0
    for stage in range(pp):
        speed = _slowest_gpu(b, s, stage * per_stage, per_stage)
        work += b.stage_s[stage]
        total += speed
        longest = max(longest, b.stage_s[stage] / speed)
    return work / total if b.uneven == LAYERS else longest


@inner
def _compute_by_batches(b: Blocks, s: State) -> float:
    per_replica, dp, pp = b.degrees[0] * b.degrees[1], b.degrees[2], b.degrees[3]
    rate = 0.0
    for d in range(dp):
        longest = 0.0
        for stage in range(pp):
            speed = _slowest_gpu(b, s, per_replica * (d + dp * stage), per_replica)
            longest = max(longest, b.stage_s[stage] / speed)
        rate += 1.0 / longest
    return float(dp / rate)
