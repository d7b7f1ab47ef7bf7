"""Seconds that no mapping of a step can beat: what is proven without searching.

Either every tensor-parallel group lies within one node, or some group sends over a link between nodes; the bound is the
lesser of the two cases. In the second, TP costs at least a message over the fastest link between nodes, and all else
at least its messages over the fastest link of all. In the first, nodes hold whole TP groups, at most a of them each:

- **Rings** of n > a members leave every node that they visit, for all tp ranks at once, so at least tp messages share
  its NICs. A ring that is served at rate x needs a strongly connected part of the graph of links ≥ x with room for its
  members, where every node can send and receive at x; with a = 1 and n ≥ 3 to and from different nodes. The highest x
  at which all rings find room bounds the slowest. Stages with more gradients than others are counted on their own.
- **Chains** of pp stages cross between nodes at least ⌈pp/a⌉ − 1 times. With a = 1 chains are vertex-disjoint paths:
  half of the two cheapest links at inner nodes and half of the cheapest at ends, over the cheapest nodes, is no more
  than their sum, and the slowest chain is no faster than the mean.
- **Compute**: the k-th fastest stage is no faster than the GPU number k · ranks per stage, counted from the fastest.
"""

from __future__ import annotations

import numpy as np

from planner.program import Bools, Floats, Ints
from planner.training.communication import Degrees, Traffic, Uneven
from planner.training.fabric import Fabric


def bound_seconds(degrees: Degrees, fabric: Fabric, traffic: Traffic, uneven: Uneven = "layers") -> float:
    """Seconds of a step that no mapping of ranks to different GPUs beats (``communication.step_seconds``)."""
    compute = _compute(degrees, fabric, traffic, uneven)
    if degrees.world == 1:
        return compute
    split = _split(degrees, fabric, traffic) if fabric.num_nodes > 1 else np.inf
    per_node = np.bincount(fabric.node) // degrees.tp
    if int(per_node.sum()) * degrees.tp < degrees.world:
        return compute + split  # some TP group has to leave its node
    whole = _whole(degrees, fabric, traffic, per_node)
    return compute + (whole if degrees.tp == 1 else min(whole, split))


def _split(degrees: Degrees, fabric: Fabric, traffic: Traffic) -> float:
    """Communication with a TP group that is not within one node."""
    inverse, away = fabric.seconds_per_gb, _away(fabric)
    tp, members, fastest = degrees.tp, degrees.dp * degrees.cp, _least(inverse, ~np.eye(fabric.num_gpus, dtype=bool))
    seconds = traffic.tp_times * 2 * (tp - 1) / tp * traffic.tp_gb * _least(inverse, away)
    seconds += traffic.cp_times * (degrees.cp - 1) * traffic.cp_gb * fastest
    seconds += 2 * (members - 1) / members * float(traffic.per_stage("dp_gb", degrees.pp).max()) * fastest
    seconds += traffic.p2p_times * traffic.p2p_gb * 2 * (degrees.pp - 1) * fastest
    return seconds + _ep(degrees, fabric, traffic)


def _whole(degrees: Degrees, fabric: Fabric, traffic: Traffic, per_node: Ints) -> float:
    """Communication with every TP group within one node, of which node k holds ``per_node[k]`` (N,) at most."""
    inverse, away = fabric.seconds_per_gb, _away(fabric)
    inside = ~away & ~np.eye(fabric.num_gpus, dtype=bool)
    tp, cp, pp, members, most = degrees.tp, degrees.cp, degrees.pp, degrees.dp * degrees.cp, int(per_node.max())
    rates = _node_rates(fabric)
    shared = max(1.0, tp / fabric.num_nics)
    seconds = _ep(degrees, fabric, traffic)
    if tp > 1:
        best = np.where(inside, inverse, np.inf).min(axis=1)
        seconds += traffic.tp_times * 2 * (tp - 1) / tp * traffic.tp_gb * float(np.sort(best)[degrees.world - 1])
    fastest = _least(inverse, away | inside)
    if cp > 1:
        slowest = fastest if cp <= most else shared / _ring_rate(rates, per_node, cp, degrees.world // tp // cp)
        seconds += traffic.cp_times * (cp - 1) * traffic.cp_gb * slowest
    if members > 1:
        most_first = np.sort(traffic.per_stage("dp_gb", pp))[::-1]
        times = [
            float(gb) * (fastest if members <= most else shared / _ring_rate(rates, per_node, members, k + 1))
            for k, gb in enumerate(most_first)
            if k + 1 == pp or gb > most_first[k + 1]
        ]
        seconds += 2 * (members - 1) / members * max(times)
    if pp > 1:
        with np.errstate(divide="ignore"):
            trips = 1 / rates + 1 / rates.T
        crossings = -(-pp // most) - 1
        across = shared * _paths(trips, pp, members) if most == 1 else 0.0
        if most > 1:
            trip = shared * float(trips.min())
            across = crossings * trip if crossings else 0.0
            across += (pp - 1 - crossings) * min(2 * _least(inverse, inside), trip)
        seconds += traffic.p2p_times * traffic.p2p_gb * across
    return seconds


def _paths(trips: Floats, pp: int, num_paths: int) -> float:
    """No more than the mean cost of ``num_paths`` disjoint paths over ``pp`` nodes each; ``trips`` (N, N) of links."""
    cheapest = np.sort(trips, axis=1)
    first = np.sort(cheapest[:, 0])[: pp * num_paths].sum()
    second = np.sort(cheapest[:, 1])[: (pp - 2) * num_paths].sum() if pp > 2 else 0.0
    return float(first + second) / 2 / num_paths


def _ring_rate(rates: Floats, room: Ints, members: int, num_rings: int) -> float:
    """The highest rate at which ``num_rings`` rings of ``members`` may all be served; ``room`` (N,) is for members."""
    levels = np.unique(rates[np.isfinite(rates) & (rates > 0)])
    apart = room.max() == 1 and members > 2
    low, high = 0, len(levels) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if _has_room(rates >= levels[middle], room, members, num_rings, apart=bool(apart)):
            low = middle
        else:
            high = middle - 1
    return float(levels[low])


def _has_room(linked: Bools, room: Ints, members: int, num_rings: int, *, apart: bool) -> bool:
    """Whether strongly connected parts of ``linked`` (N, N) have room for the rings, once nodes that cannot send and
    receive there are gone; ``apart``: to and from different nodes.
    """
    used = room > 0
    while True:
        graph = linked & used & used[:, None]
        able = used & graph.any(axis=0) & graph.any(axis=1)
        if apart:
            able &= (graph | graph.T).sum(axis=0) > 1
        if (able == used).all():
            break
        used = able
    reach = graph | np.eye(len(room), dtype=bool)
    for _ in range(int(np.ceil(np.log2(max(len(room), 2))))):
        reach = reach.astype(np.float32) @ reach.astype(np.float32) > 0
    parts = np.unique((reach & reach.T)[used], axis=0)  # (parts, N)
    return int(((parts @ room) // members).sum()) >= num_rings


def _ep(degrees: Degrees, fabric: Fabric, traffic: Traffic) -> float:
    """All-to-alls: a group sends ep − 1 messages per GPU inside a node, or at least ep − 1 from a node to others."""
    if degrees.ep == 1:
        return 0.0
    inverse, away = fabric.seconds_per_gb, _away(fabric)
    peers = degrees.ep - 1
    times = [max(peers / fabric.num_nics, 1.0) * _least(inverse, away)] if away.any() else []
    if degrees.ep <= np.bincount(fabric.node).max():
        times.append(peers * _least(inverse, ~away & ~np.eye(fabric.num_gpus, dtype=bool)))
    return traffic.ep_times * traffic.ep_gb / degrees.ep * min(times)


def _compute(degrees: Degrees, fabric: Fabric, traffic: Traffic, uneven: Uneven) -> float:
    speed = np.sort(fabric.speed)[::-1]
    stage_s = np.sort(traffic.per_stage("stage_s", degrees.pp))[::-1]
    of_stage = speed[degrees.per_stage - 1 : degrees.world : degrees.per_stage]
    if uneven == "layers":
        return float(stage_s.sum() / of_stage.sum())
    if uneven == "none":
        return float((stage_s / of_stage).max())
    width = degrees.tp * degrees.cp
    return float(degrees.dp * stage_s[0] / speed[width - 1 : width * degrees.dp : width].sum())


def _away(fabric: Fabric) -> Bools:
    return np.asarray(fabric.node[:, None] != fabric.node)


def _least(inverse: Floats, where: Bools) -> float:
    return float(np.where(where, inverse, np.inf).min())


def _node_rates(fabric: Fabric) -> Floats:
    """(N, N) the fastest link from node to node; 0 on the diagonal."""
    order = np.argsort(fabric.node, kind="stable")
    first = np.searchsorted(fabric.node[order], np.arange(fabric.num_nodes))
    matrix = np.where(_away(fabric), fabric.gb_per_s, 0.0)[np.ix_(order, order)]
    rates: Floats = np.maximum.reduceat(np.maximum.reduceat(matrix, first, axis=0), first, axis=1)
    return rates
