"""The search for where blocks go: fixed orders to start from, annealing in pieces, and a proof where blocks are few."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from planner.program import Floats, Ints
from planner.training.anneal import anneal, empty_state, exhaust, seconds_of
from planner.training.blocks import Blocks, Slots
from planner.training.communication import Degrees
from planner.training.fabric import Fabric

NUM_WALKS = 4
"""Annealing runs from different starts; the best of them counts."""

MOVES_PER_WALK = 60_000, 4_000
"""Moves of a walk: so many, and so many more for each block. Twice as many gain under 1% on 64 nodes
(``benchmarks/training_mapping.py``)."""

HOT, COLD = 0.02, 2e-5
"""First and last temperature, as shares of the seconds at the start."""

FEW_BLOCKS = 16
"""Up to so many, the whole tree of mappings is tried ..."""

MOST_VISITS = 3_000_000
"""... until so many blocks were placed: about two seconds."""

PIECE = 20_000
"""Moves between two looks at the clock."""


@dataclass(frozen=True, eq=False)
class Placed:
    """``slot`` (S,) of each block, then the idle slots; ``proven``: no other placement of these blocks is better."""

    slot: Ints
    seconds: float
    proven: bool
    moves: int


def place_blocks(b: Blocks, starts: list[Ints], *, alike: bool, seed: int, deadline_s: float) -> Placed:
    """The best placement that walks from ``starts`` (each (S,)) meet until ``deadline_s`` of ``time.perf_counter``."""
    states = empty_state(b, seed)
    values = [seconds_of(b, states, start) for start in starts]
    order = np.argsort(values, kind="stable")
    best, least = starts[int(order[0])], values[int(order[0])]
    num_blocks, num_walks = b.next.shape[1], NUM_WALKS
    moves = MOVES_PER_WALK[0] + MOVES_PER_WALK[1] * num_blocks
    if num_blocks <= FEW_BLOCKS:
        moves, num_walks = moves // 4, 2
    made = 0
    for walk in range(num_walks):
        start = starts[int(order[walk % len(order)])]
        slot, seconds, done = _walk(b, start, seed=seed + 7919 * walk, moves=moves, deadline_s=deadline_s)
        made += done
        if seconds < least:
            best, least = slot, seconds
    proven = False
    if num_blocks <= FEW_BLOCKS and time.perf_counter() < deadline_s:
        best = best.copy()
        least, proven = exhaust(b, empty_state(b, seed), best, least, MOST_VISITS, alike)
    return Placed(best, least, proven, made)


def _walk(b: Blocks, start: Ints, *, seed: int, moves: int, deadline_s: float) -> tuple[Ints, float, int]:
    state = empty_state(b, seed)
    seconds = seconds_of(b, state, start)
    temperature = seconds * np.geomspace(HOT, COLD, moves)
    best, least, done = start, seconds, 0
    for first in range(0, moves, PIECE):
        if time.perf_counter() >= deadline_s:
            break
        piece = temperature[first : first + PIECE]
        slot = np.empty_like(start)
        seconds = anneal(b, state, slot, piece)
        done += len(piece)
        if seconds < least:
            best, least = slot, seconds
    return best, least, done


def starts_of(degrees: Degrees, fabric: Fabric, slots: Slots) -> list[Ints]:
    """Both fixed orders of ranks on nodes as they are numbered, and on a chain of nodes along fast links; each (S,)."""
    num_blocks = degrees.world // slots.gpus.shape[1]
    per_chain = num_blocks // degrees.pp // degrees.dp  # blocks of one replica on one stage
    blocks = np.arange(num_blocks)
    by_replica = blocks.reshape(degrees.dp, degrees.pp, per_chain).transpose(1, 0, 2).ravel()
    lines = [np.arange(len(slots.node)), np.argsort(_chain(fabric)[slots.node], kind="stable")]
    return [np.concatenate([line[order], line[num_blocks:]]) for line in lines for order in (blocks, by_replica)]


def _chain(fabric: Fabric) -> Ints:
    """(N,) the place of each node in a chain that begins with the fastest link and goes on with whichever free node
    one of its ends reaches fastest.
    """
    first = np.unique(fabric.node, return_index=True)[1]
    rates: Floats = fabric.gb_per_s[np.ix_(first, first)].copy()
    np.fill_diagonal(rates, 0.0)
    rates = np.minimum(rates, rates.T)
    one, other = divmod(int(rates.argmax()), len(rates))
    chain = [one, other] if len(rates) > 1 else [0]
    free = np.ones(len(rates), dtype=bool)
    free[chain] = False
    while free.any():
        ends = np.where(free, rates[[chain[0], chain[-1]]], -1.0)
        end, node = divmod(int(ends.argmax()), len(rates))
        chain = [*chain, node] if end else [node, *chain]
        free[node] = False
    return np.argsort(chain)
