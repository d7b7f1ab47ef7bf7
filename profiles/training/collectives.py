"""Time of collectives: rings over groups of ranks that lie in a fixed pattern on nodes.

Ranks are numbered as Megatron does, tp fastest, then cp, dp and pp, and fill node after node. A group of ``size`` ranks
``stride`` apart has several ranks in each node it touches; where it leaves the node, the groups that run beside it on
the same GPUs share the node's network. A ring passes ``wire`` bytes through its slowest link, takes one hop per rank,
and costs a fixed time to start (``collective_us``).

Shapes: (N,), or (K, N) for K sets of coefficients.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from profiles.performance.answers import Floats
from profiles.training.coefficients import Coefficients
from profiles.training.layouts import Ints
from profiles.training.sizes import Speeds


class Ring(NamedTuple):
    """One group: its ranks, how many share a node, the bytes/s that a rank sends, and the seconds of one way round."""

    size: Floats
    inside: Floats
    bytes_per_s: Floats
    round_s: Floats


def ring(stride: Ints, size: Ints, speeds: Speeds, c: Coefficients) -> Ring:
    """The ring of ``size`` ranks that are ``stride`` apart."""
    apart, ranks = stride.astype(float), size.astype(float)
    inside = np.minimum(np.maximum(np.floor(speeds.gpus_per_node / apart), 1.0), ranks)
    within = speeds.within * c.link_rate
    between = speeds.between * c.network_rate * inside / speeds.gpus_per_node
    crosses = apart * ranks > speeds.gpus_per_node
    nodes = np.where(crosses, np.ceil(ranks / inside), 1.0)
    hops_s = (nodes - 1) * speeds.between_s + (ranks - nodes) * speeds.within_s
    bytes_per_s = np.where(crosses, np.minimum(within, between), within)
    return Ring(ranks, np.where(crosses, inside, ranks), bytes_per_s, hops_s)


def all_reduce_s(group: Ring, num_bytes: Floats, c: Coefficients) -> Floats:
    """Of ``num_bytes`` on every rank: twice round the ring (Thakur et al., 2005, section 4.5). 0 for one rank."""
    return 2 * gather_s(group, num_bytes, c) - np.where(group.size > 1, 1e-6 * c.collective_us, 0.0)


def gather_s(group: Ring, num_bytes: Floats, c: Coefficients) -> Floats:
    """All-gather of ``num_bytes`` altogether, or reduce-scatter of as many on every rank: once round the ring."""
    wire_s = (group.size - 1) / group.size * num_bytes / group.bytes_per_s
    return np.where(group.size > 1, 1e-6 * c.collective_us + group.round_s + wire_s, 0.0)


def all_to_all_s(group: Ring, num_bytes: Floats, c: Coefficients) -> Floats:
    """Of ``num_bytes`` on every rank, an equal piece for each: a node sends what its ranks have for other nodes."""
    alone = group.inside == group.size
    leaving = np.where(alone, group.size - 1, group.inside * (group.size - group.inside)) / group.size
    busy_s = 1e-6 * c.collective_us + leaving * num_bytes / group.bytes_per_s
    return np.where(group.size > 1, busy_s, 0.0)


def send_s(stride: Ints, num_bytes: Floats, num_stages: Ints, speeds: Speeds, c: Coefficients) -> Floats:
    """From a pipeline rank to the next, ``stride`` ranks on; all ranks of a stage in a node send at the same moment."""
    crosses = stride * num_stages > speeds.gpus_per_node
    beside = np.minimum(stride, speeds.gpus_per_node)
    between = np.minimum(speeds.between * c.network_rate / beside, speeds.within * c.link_rate)
    bytes_per_s = np.where(crosses, between, speeds.within * c.link_rate)
    hop_s = np.where(crosses, speeds.between_s, speeds.within_s)
    return np.asarray(num_bytes / bytes_per_s + hop_s + 1e-6 * c.collective_us)
