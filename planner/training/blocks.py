"""Blocks of ranks that stay together on a node, and the slots that can hold one: what a search of mappings moves.

A *block* is ``size`` consecutive ranks: a tensor-parallel group, with the context-parallel groups around it where both
fit into a node; a part of one where it is larger than a node. A *slot* is as many GPUs of one node, ordered so that a
ring over them is fast. Any assignment of blocks to slots is a mapping; blocks are numbered as ranks are, in the order
k (part of a TP group, K of them), c (C of them: 1 where CP is inside a block), d, s.

Messages between blocks are *hops*, a few *flows* of them at once. Kinds of hops, the rows of ``Blocks`` arrays:
tp, cp, dp (rings), forward, backward (between stages). Shapes: U blocks, S slots, N nodes, M distinct matrices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from planner.program import Floats, Ints
from planner.training.communication import Degrees, Traffic, Uneven
from planner.training.fabric import Fabric

TP, CP, DP, FORWARD, BACKWARD = range(5)
NUM_KINDS = 5

NONE, LAYERS, BATCHES = range(3)
_UNEVEN: dict[Uneven, int] = {"none": NONE, "layers": LAYERS, "batches": BATCHES}


class Blocks(NamedTuple):
    """A mapping problem as arrays for compiled code.

    Attributes
    ----------
    next, previous:
        (5, U) the block at the other end of each block's hop, and of the hop that reaches it; −1: none
    weight:
        (5, U) GB that a flow of the hop carries over a whole step
    flows:
        (5,) messages of one hop at once
    kinds:
        the kinds of hops that cost anything
    matrix, seconds_per_gb:
        (6,) which of the (M, S, S) matrices counts for each kind of hop, the last for ep; slot to slot, slowest flow
    inside:
        (3, U) factor of ``ring`` that a block pays in its slot: GB of tp, cp and dp messages within a block
    ring:
        (3, S) seconds per GB of the slowest such message in each slot
    node:
        (S,) node of each slot
    num_nics:
        of a node
    degrees:
        (K, C, dp, pp): what block numbers count through
    ep:
        blocks in a group (1: groups lie inside blocks), ranks in a block, ranks in a group
    ep_weight, ep_ring:
        GB of one message over a step, and (S,) seconds per GB times share inside each slot
    speed, fastest, stage_s, uneven:
        (S,) of a slot's slowest GPU, the highest of them, (pp,) seconds at speed 1, and what makes up for slow ones
        (``NONE``, ``LAYERS``, ``BATCHES``; −1: speeds are alike, so that nothing depends on it)
    """

    next: Ints
    previous: Ints
    weight: Floats
    flows: Ints
    kinds: Ints
    matrix: Ints
    seconds_per_gb: Floats
    inside: Floats
    ring: Floats
    node: Ints
    num_nics: int
    degrees: Ints
    ep: tuple[int, int, int]
    ep_weight: float
    ep_ring: Floats
    speed: Floats
    fastest: float
    stage_s: Floats
    uneven: int


@dataclass(frozen=True, eq=False)
class Slots:
    """(S, size) GPUs of each slot, (S,) its node. ``alike``: GPUs of a node can be exchanged without any effect."""

    gpus: Ints
    node: Ints
    alike: bool


def block_sizes(degrees: Degrees, fabric: Fabric) -> list[int]:
    """Ranks per block, coarse to fine: tp · cp, then tp, where enough slots can hold such a block; else the largest
    divisor of tp; in the end single ranks, where the GPUs of a node are not all alike.
    """
    per_node = np.bincount(fabric.node)

    def fits(size: int) -> bool:
        whole = degrees.ep % size == 0 or size % degrees.ep == 0
        return whole and int((per_node // size).sum()) * size >= degrees.world

    parts = next(k for k in range(degrees.tp, 0, -1) if degrees.tp % k == 0 and fits(k))
    sizes = [degrees.tp * degrees.cp, parts] if fits(degrees.tp * degrees.cp) else [parts]
    return list(dict.fromkeys(sizes if _nodes_are_even(fabric) else [*sizes, 1]))


def slots_of(fabric: Fabric, size: int) -> Slots:
    """Slots of ``size`` GPUs, node by node; where GPUs of a node differ, each ring is grown along fast links."""
    alike = _nodes_are_even(fabric)
    gpus = []
    for node in range(fabric.num_nodes):
        free = np.flatnonzero(fabric.node == node)
        gpus += (
            [free[i : i + size] for i in range(0, len(free) - size + 1, size)] if alike else _rings(fabric, free, size)
        )
    slots = np.array(gpus)
    return Slots(slots, fabric.node[slots[:, 0]], alike)


def _nodes_are_even(fabric: Fabric) -> bool:
    """Whether rates depend on nodes only, so that the GPUs of a node are interchangeable."""
    first = np.unique(fabric.node, return_index=True)[1]
    expected = fabric.gb_per_s[np.ix_(first, first)][np.ix_(fabric.node, fabric.node)]
    same = fabric.node[:, None] == fabric.node
    counts = np.bincount(fabric.node)
    second = np.where(counts > 1, first + 1, first)
    expected[same] = fabric.gb_per_s[first, np.minimum(second, fabric.num_gpus - 1)][fabric.node][np.nonzero(same)[0]]
    np.fill_diagonal(expected, 0.0)
    actual = fabric.gb_per_s.copy()
    np.fill_diagonal(actual, 0.0)
    return bool(np.array_equal(actual, expected)) and bool((fabric.speed == fabric.speed[first][fabric.node]).all())


def _rings(fabric: Fabric, free: Ints, size: int) -> list[Ints]:
    """Split GPUs ``free`` of a node into rings of ``size``: each starts at the least connected GPU that is left and
    goes on to whichever GPU is reached fastest.
    """
    left = [int(gpu) for gpu in free]
    rings = []
    while len(left) >= size:
        total = [float(fabric.gb_per_s[gpu, left].sum() - fabric.gb_per_s[gpu, gpu]) for gpu in left]
        ring = [left.pop(int(np.argmin(total)))]
        while len(ring) < size:
            # to whom the last one sends fastest, of those the one nearest to all
            best = max(left, key=lambda gpu: (fabric.gb_per_s[ring[-1], gpu], fabric.gb_per_s[ring, gpu].sum()))
            left.remove(best)
            ring.append(best)
        rings.append(np.array(ring))
    return rings


def blocks_of(degrees: Degrees, fabric: Fabric, traffic: Traffic, slots: Slots, uneven: Uneven) -> Blocks:
    """The arrays of the problem of putting the blocks of ``degrees`` into ``slots``."""
    size = slots.gpus.shape[1]
    parts = max(degrees.tp // size, 1)
    num_cp = degrees.cp if size <= degrees.tp else 1
    shape = (degrees.pp, degrees.dp, num_cp, parts)
    number = np.arange(np.prod(shape)).reshape(shape)
    matrices, matrix = _matrices(fabric, degrees, slots)
    hops, weight = _hops(number, degrees, traffic)
    inside, ring = _inside(fabric, degrees, traffic, slots, shape)
    width = min(size, degrees.tp)
    previous = np.full_like(hops, -1)
    for kind, row in enumerate(hops):
        previous[kind, row[row >= 0]] = np.flatnonzero(row >= 0)
    speed = fabric.speed[slots.gpus].min(axis=1)
    stage_s = np.array(traffic.per_stage("stage_s", degrees.pp))
    varies = bool((speed != speed[0]).any()) and stage_s.any()
    return Blocks(
        next=hops, previous=previous, weight=weight, flows=np.array([1, width, width, size, size]),
        kinds=np.flatnonzero(weight.any(axis=1) | np.pad(inside.any(axis=1), (0, 2))), matrix=matrix,
        seconds_per_gb=matrices, inside=inside, ring=ring, node=slots.node, num_nics=fabric.num_nics,
        degrees=np.array([parts, num_cp, degrees.dp, degrees.pp]), ep=(max(degrees.ep // size, 1), size, degrees.ep),
        ep_weight=traffic.ep_times * traffic.ep_gb / degrees.ep if degrees.ep > 1 else 0.0,
        ep_ring=_ep_ring(fabric, degrees, slots) if degrees.ep > 1 else np.zeros(len(slots.gpus)),
        speed=speed, fastest=float(speed.max()), stage_s=stage_s, uneven=_UNEVEN[uneven] if varies else -1,
    )  # fmt: skip


def _hops(number: Ints, degrees: Degrees, traffic: Traffic) -> tuple[Ints, Floats]:
    """``next`` and ``weight`` (5, U) of blocks ``number`` (pp, dp, C, K)."""
    pp, dp, num_cp, parts = number.shape
    hops = np.full((NUM_KINDS, number.size), -1)
    weight = np.zeros((NUM_KINDS, number.size))
    tp, cp, members = degrees.tp, degrees.cp, degrees.dp * degrees.cp
    if parts > 1:
        hops[TP] = np.roll(number, -1, axis=3).ravel()
        weight[TP] = traffic.tp_times * 2 * (tp - 1) / tp * traffic.tp_gb
    if num_cp > 1:
        hops[CP] = np.roll(number, -1, axis=2).ravel()
        weight[CP] = traffic.cp_times * (cp - 1) * traffic.cp_gb
    if dp * num_cp > 1:
        rings = number.reshape(pp, dp * num_cp, parts)
        hops[DP] = np.roll(rings, -1, axis=1).ravel()
        gb = 2 * (members - 1) / members * traffic.per_stage("dp_gb", pp)
        weight[DP] = np.repeat(gb, number.size // pp)
    weight[FORWARD:] = traffic.p2p_times * traffic.p2p_gb
    if pp > 1:
        per_stage = number.size // pp
        hops[FORWARD, :-per_stage] = number.ravel()[per_stage:]
        hops[BACKWARD, per_stage:] = number.ravel()[:-per_stage]
    return hops, weight


def _inside(
    fabric: Fabric, degrees: Degrees, traffic: Traffic, slots: Slots, shape: tuple[int, ...]
) -> tuple[Floats, Floats]:
    """``inside`` (3, U) and ``ring`` (3, S): what rings cost between the GPUs of one slot."""
    pp, dp, num_cp, parts = shape
    inverse = fabric.seconds_per_gb
    size = slots.gpus.shape[1]
    ranks = slots.gpus.reshape(len(slots.gpus), -1, min(size, degrees.tp))  # (S, CP ranks inside, TP ranks inside)
    inside = np.zeros((3, int(np.prod(shape))))
    ring = np.zeros((3, len(slots.gpus)))
    tp, cp, members = degrees.tp, degrees.cp, degrees.dp * degrees.cp
    if ranks.shape[2] > 1:
        ring[TP] = _slowest(inverse, ranks, 2, closed=parts == 1)
        inside[TP] = traffic.tp_times * 2 * (tp - 1) / tp * traffic.tp_gb
    if ranks.shape[1] > 1:
        ring[CP] = _slowest(inverse, ranks, 1, closed=True)
        inside[CP] = traffic.cp_times * (cp - 1) * traffic.cp_gb
        ring[DP] = _slowest(inverse, ranks, 1, closed=dp == 1)
        gb = 2 * (members - 1) / members * traffic.per_stage("dp_gb", pp)
        inside[DP] = np.repeat(gb, dp * num_cp * parts)
    return inside, ring


def _slowest(inverse: Floats, ranks: Ints, axis: int, *, closed: bool) -> Floats:
    """(S,) seconds per GB of the slowest hop along ``axis`` of ``ranks`` (S, c, t), with the hop back if ``closed``."""
    hops = inverse[ranks, np.roll(ranks, -1, axis=axis)]
    if not closed:
        hops = np.delete(hops, -1, axis=axis)
    slowest: Floats = hops.max(axis=(1, 2))
    return slowest


def _ep_ring(fabric: Fabric, degrees: Degrees, slots: Slots) -> Floats:
    """(S,) seconds per GB of the slowest all-to-all message inside a slot, shared with its sender's other messages
    there; groups that span blocks add the messages to other slots of the node where they are counted.
    """
    local = min(slots.gpus.shape[1], degrees.ep)
    groups = slots.gpus.reshape(len(slots.gpus), -1, local)
    inverse = fabric.seconds_per_gb
    slowest: Floats = inverse[groups[:, :, :, None], groups[:, :, None, :]].max(axis=(1, 2, 3))
    return slowest


def _matrices(fabric: Fabric, degrees: Degrees, slots: Slots) -> tuple[Floats, Ints]:
    """(M, S, S) distinct matrices of seconds per GB between slots, and (6,) which one each kind of hop goes by.

    A hop is as slow as its slowest flow. Where the GPUs of a node differ, that makes chains look slower than they are,
    which the search by single ranks puts right.
    """
    inverse = fabric.seconds_per_gb
    gpus = slots.gpus
    size = gpus.shape[1]
    width = min(size, degrees.tp)

    def slowest(senders: Ints, receivers: Ints) -> Floats:
        result = np.zeros((len(gpus), len(gpus)))
        for i, j in zip(senders, receivers, strict=True):
            np.maximum(result, inverse[np.ix_(gpus[:, i], gpus[:, j])], out=result)
        return result

    every = np.arange(size)
    straight = slowest(every, every)
    if size == 1 or slots.alike:
        return straight[None], np.zeros(NUM_KINDS + 1, dtype=np.int64)
    ends = slowest(every[-1:], every[:1])
    wrapped = slowest(every[-width:], every[:width])
    pairs = np.repeat(every, size), np.tile(every, size)
    return np.stack([straight, ends, wrapped, slowest(*pairs)]), np.array([1, 0, 2, 0, 0, 3])
