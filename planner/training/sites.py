"""The parts of a cluster that a job may run on: nodes of one kind, and what they cost and know of links."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from planner.errors import MissingProfile
from planner.training.cluster import NIC_LATENCY_US, WITHIN_LATENCY_US, NodeGroup
from planner.training.space import divisors
from planner.training.spec import TrainingSpec
from profiles.names import KnownNames
from profiles.training.machine import Link, Machine
from profiles.training.shape import Transformer
from profiles.types import Facts, GpuType

FEW_NODES = 16
"""Up to so many, every number of nodes is tried."""

SHARES_OF_NODES = (15 / 16, 7 / 8, 3 / 4, 5 / 8, 1 / 2, 3 / 8, 1 / 4, 1 / 8)
"""Of more nodes, these are tried too."""

PROMISING = 10
"""So many that divide well are tried too."""


@dataclass(frozen=True)
class Site:
    """Equal nodes of a cluster: a group, or several of the same kind joined.

    ``nodes``: their numbers in the cluster. ``machine`` has all of them, with the links that most pairs have;
    ``usd_per_gpu_hour`` is None where nobody knows a price.
    """

    groups: tuple[str, ...]
    nodes: tuple[int, ...]
    machine: Machine
    usd_per_gpu_hour: float | None
    parts: tuple[Site, ...] = ()
    """The kinds of nodes, where there are several: ``machine`` then is what they are on average."""

    def first(self, num_nodes: int) -> Site:
        """The same with its first ``num_nodes`` nodes; with more than there are, as if more were rented."""
        return replace(self, nodes=self.nodes[:num_nodes], machine=replace(self.machine, num_nodes=num_nodes))


def sites(spec: TrainingSpec, facts: Facts) -> list[Site]:
    """Nodes of one kind, each kind once; raises ``UnknownName`` or ``MissingProfile`` for GPUs that nobody knows."""
    names = KnownNames.of(facts)
    gpus = {gpu.name: gpu for gpu in facts.gpus}
    kinds: dict[tuple[object, ...], list[int]] = {}
    for i, group in enumerate(spec.cluster.groups):
        gpu = gpus[names.gpu(group.gpu, field=f"cluster.groups[{i}].gpu")]
        kinds.setdefault((gpu.name, group.gpus_per_node), []).append(i)
    return [_site(spec, facts, gpus[str(kind[0])], members) for kind, members in kinds.items()]


def _site(spec: TrainingSpec, facts: Facts, gpu: GpuType, members: list[int]) -> Site:
    cluster = spec.cluster
    groups = [cluster.groups[i] for i in members]
    nodes = np.flatnonzero(np.isin(cluster.group_of_node, members))
    group, between = groups[0], cluster.typical_rate(members)
    within = min(g.within_gb_per_s or gpu.interconnect_gb_per_s / 2 for g in groups)
    machine = Machine(
        gpu=gpu,
        gpus_per_node=group.gpus_per_node,
        num_nodes=len(nodes),
        within=Link(within, WITHIN_LATENCY_US),
        between=Link(between, max(NIC_LATENCY_US[g.nic] for g in groups)),
        host_gb_per_s=min(g.host_gb_per_s for g in groups),
        host_memory_gib=min(g.host_memory_gib for g in groups),
        nvme_gb_per_s=min(g.nvme_gb_per_s for g in groups),
        nvme_gib=min(g.nvme_gib for g in groups),
    )
    prices = [_usd_per_gpu_hour(g, gpu, facts) for g in groups]
    known = [price for price in prices if price is not None]
    weights = [g.num_gpus for g in groups]
    price = float(np.average(known, weights=weights)) if len(known) == len(prices) else None
    return Site(tuple(g.name for g in groups), tuple(int(n) for n in nodes), machine, price)


def _usd_per_gpu_hour(group: NodeGroup, gpu: GpuType, facts: Facts) -> float | None:
    """What the spec says, or the cheapest on-demand price of an instance with as many GPUs, or with any number."""
    if group.usd_per_gpu_hour is not None:
        return group.usd_per_gpu_hour
    kinds = {(i.provider, i.name): i.num_gpus for i in facts.instances if i.gpu == gpu.name}
    offers = [(kinds[place] != group.gpus_per_node, price.usd_per_hour / kinds[place]) for price in facts.prices
              if price.market == "on_demand" and (place := (price.provider, price.instance_type)) in kinds]  # fmt: skip
    return min(offers)[1] if offers else None


def node_counts(num_nodes: int, gpus_per_node: int, spec: TrainingSpec, shape: Transformer) -> list[int]:
    """Numbers of nodes to try, the most first."""
    if num_nodes <= FEW_NODES:
        return list(range(num_nodes, 0, -1))
    shares = (max(int(share * num_nodes), 1) for share in SHARES_OF_NODES)
    return sorted({num_nodes, *shares, *promising(num_nodes, gpus_per_node, spec, shape)}, reverse=True)


def promising(num_nodes: int, gpus_per_node: int, spec: TrainingSpec, shape: Transformer) -> list[int]:
    """Numbers of nodes that divide well: the ``PROMISING`` with the most GPUs at work.

    641 nodes split badly, 640 well. Of a world of w GPUs that degrees can make up at all, w · m / (m + pp − 1) · L /
    (pp · ⌈L / pp⌉) work, at best: what the pipeline's bubble and its fullest stage leave. Memory is not asked.
    """
    tp = divisors(shape.num_attention_heads)
    replicas = divisors(spec.global_batch)
    halves = divisors(max(spec.sequence_length // 2, 1))
    stages = np.arange(1, shape.num_layers + 1)
    wide = np.unique(np.multiply.outer(tp[tp <= gpus_per_node], halves[halves <= gpus_per_node]))
    world = np.multiply.outer(np.multiply.outer(wide, replicas), stages)
    batches = spec.global_batch // replicas[:, None]
    busy = batches / (batches + stages - 1) * shape.num_layers / (stages * np.ceil(shape.num_layers / stages))
    fits = (world <= num_nodes * gpus_per_node) & (world % gpus_per_node == 0)
    at_work = np.zeros(num_nodes + 1)
    np.maximum.at(at_work, world[fits] // gpus_per_node, (world * busy)[fits])
    return [int(n) for n in np.argsort(-at_work, kind="stable")[:PROMISING] if at_work[n] > 0]


def larger_counts(num_nodes: int) -> Iterator[int]:
    """Numbers of nodes to give advice about, beyond what there is."""
    yield from sorted({num_nodes + 1, -(-num_nodes * 5 // 4), num_nodes * 2})


def require_price(site: Site) -> float:
    """The price; raises ``MissingProfile`` where the spec needs one and nobody knows it."""
    if site.usd_per_gpu_hour is None:
        raise MissingProfile(
            f"no price is known for {site.machine.gpu.name}",
            field="cluster.groups",
            fix="give usd_per_gpu_hour, or import prices with gpuplan profiles import",
        )
    return site.usd_per_gpu_hour
