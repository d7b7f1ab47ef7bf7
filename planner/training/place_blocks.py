"""The search for where blocks go: regular orders to start from, annealing, and a proof where blocks are few.

A third of the moves scouts from every start; the best two that come of it each get another third.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.clock import Clock
from planner.program import Floats, Ints
from planner.training.anneal import anneal, exhaust, seconds_of
from planner.training.block_cost import empty_state
from planner.training.blocks import Blocks, Slots
from planner.training.communication import Degrees
from planner.training.fabric import Fabric

NUM_MOVES = 140_000_000
"""Moves in all, times what one costs, in units that make this about 3 s: 30, one per block, and ``EP_COST`` for each
pair of blocks in a group of EP."""

EP_COST = 1 / 8
"""Of a pair of blocks that exchange tokens, beside a block."""

MOST_MOVES = 20_000
"""Moves in all for each block: small problems need no more."""

HOT, COLD = 0.01, 1e-4
"""First and last temperature of a walk, as shares of the seconds at its start."""

FEW_BLOCKS = 12
"""Up to so many, the whole tree of mappings is tried ..."""

MOST_VISITS = 1_000_000
"""... until so many blocks were placed: about a second."""

PIECE = 2_000
"""Moves between two looks at the clock."""


@dataclass(frozen=True, eq=False)
class Placed:
    """``slot`` (S,) of each block, then the idle slots; ``proven``: no other placement of these blocks is better."""

    slot: Ints
    seconds: float
    proven: bool
    moves: int


def place_blocks(b: Blocks, starts: list[Ints], *, alike: bool, seed: int, clock: Clock) -> Placed:
    """The best placement that walks from ``starts`` (each (S,)) meet within ``clock``."""
    num_blocks = b.next.shape[1]
    pairs = num_blocks * b.ep[0] if b.ep_weight > 0 else 0
    moves = min(int(NUM_MOVES / (30 + num_blocks + EP_COST * pairs)), MOST_MOVES * num_blocks)
    scouts = [
        _walk(b, start, seed=seed + i, moves=moves // 3 // len(starts), clock=clock) for i, start in enumerate(starts)
    ]
    scouts.sort(key=lambda scout: scout.seconds)
    walks = [
        _walk(b, scout.slot, seed=seed + len(starts) + i, moves=moves // 3, clock=clock)
        for i, scout in enumerate(scouts[:2])
    ]
    made = sum(walk.moves for walk in scouts + walks)
    found = min([scouts[0], *walks], key=lambda walk: walk.seconds)
    best, least = found.slot, found.seconds
    proven = False
    if num_blocks <= FEW_BLOCKS and not clock.is_over():
        best = best.copy()
        least, proven = exhaust(b, empty_state(b, seed), best, least, MOST_VISITS, alike)
    return Placed(best, least, proven, made)


def _walk(b: Blocks, start: Ints, *, seed: int, moves: int, clock: Clock) -> Placed:
    state = empty_state(b, seed)
    seconds = seconds_of(b, state, start)
    temperature = seconds * np.geomspace(HOT, COLD, moves)
    best, least, done = start, seconds, 0
    for first in range(0, moves, PIECE):
        if clock.is_over():
            break
        piece = temperature[first : first + PIECE]
        slot = np.empty_like(start)
        seconds = anneal(b, state, slot, piece)
        done += len(piece)
        if seconds < least:
            best, least = slot, seconds
    return Placed(best, least, False, done)


def starts_of(degrees: Degrees, fabric: Fabric, slots: Slots) -> list[Ints]:
    """Regular orders of blocks, on nodes as they are numbered and on a chain of nodes along fast links; each (S,).

    A node takes the blocks of some stages of some neighbouring replicas: every way to split its slots between the two
    that divides evenly. Groups of stages come first in some orders, groups of replicas in others. The two fixed orders
    of ranks are among them.
    """
    num_blocks = degrees.world // slots.gpus.shape[1]
    per_replica = num_blocks // degrees.pp // degrees.dp  # blocks of one replica on one stage
    number = np.arange(num_blocks).reshape(degrees.pp, degrees.dp, per_replica)
    per_node = int(np.bincount(slots.node).max())
    orders = []
    for stages in (k for k in range(1, degrees.pp + 1) if degrees.pp % k == 0 and k <= per_node):
        fit = max(per_node // (stages * per_replica), 1)
        replicas = max(k for k in range(1, degrees.dp + 1) if degrees.dp % k == 0 and k <= fit)
        tiles = number.reshape(degrees.pp // stages, stages, degrees.dp // replicas, replicas, per_replica)
        orders += [tiles.transpose(0, 2, 1, 3, 4).ravel(), tiles.transpose(2, 0, 1, 3, 4).ravel()]
    lines = [np.arange(len(slots.node)), np.argsort(_chain(fabric)[slots.node], kind="stable")]
    # an order lists blocks by slot; its inverse is the slot of each block
    return [np.concatenate([line[np.argsort(order)], line[num_blocks:]]) for line in lines for order in orders]


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
