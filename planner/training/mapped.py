"""The best configurations on the links that there are: ranks placed, and steps timed with what the links give them.

The time model knows one speed for all links of a tier. Where links differ, ranks are mapped (``mapping``) and each part
of a step is timed again on a machine whose links are as much slower (or faster) for that part as the mapping found,
against links that all have the site's typical speed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.program import Ints
from planner.training.cluster import Cluster
from planner.training.communication import StepSeconds, step_seconds
from planner.training.fabric import MOST_GPUS, Fabric, fabric_of_nodes
from planner.training.mapping import map_ranks
from planner.training.messages import degrees, traffic
from planner.training.model import Evaluated, Fitting, evaluated, time_of
from planner.training.plan import Configuration, MappingGain, Place
from planner.training.search import Search
from planner.training.sites import Site
from planner.training.write import configuration
from profiles.training.machine import Link, Machine
from profiles.training.time import StepTime

MAPPING_SHARE = 0.25
"""Of the time that is left, for each mapping at most."""

CROSSING = ("tp_comm", "cp_comm", "ep_comm", "dp_comm", "p2p")
"""Parts of a step that links decide."""


@dataclass(frozen=True, eq=False)
class Mapped:
    """A configuration with the GPU of ``site`` that each of its ranks has. ``gain`` is None where links are even."""

    configuration: Configuration
    site: Site
    gpu_of_rank: Ints
    gain: MappingGain | None

    def places(self, cluster: Cluster) -> tuple[Place, ...]:
        """Node and GPU of each rank."""
        hosts, size = cluster.host_names(), self.site.machine.gpus_per_node
        return tuple(
            Place(rank=rank, node=hosts[self.site.nodes[gpu // size]], gpu=gpu % size)
            for rank, gpu in enumerate(self.gpu_of_rank.tolist())
        )


def is_even(cluster: Cluster, groups: Sequence[str] | None = None) -> bool:
    """Whether all links between nodes (of those groups, or all) are equally fast."""
    names = [group.name for group in cluster.groups]
    rates, _ = cluster.link_rates(None if groups is None else [names.index(name) for name in groups])
    return not len(rates) or bool(np.ptp(rates) <= 1e-9 * rates.max())


def map_best(search: Search, kinds: Sequence[Site], best: Sequence[tuple[Evaluated, int]], seed: int) -> list[Mapped]:
    """``best`` (where they were found, and their row) on real links."""
    spec, found = search.spec, []
    for part, row in best:
        whole = _whole(part.site, kinds)
        if is_even(spec.cluster, whole.groups) or part.num_gpus > MOST_GPUS:
            found.append(Mapped(configuration(search, part, row), part.site, np.arange(part.num_gpus), None))
        else:
            found.append(_mapped(search, whole, part.take(np.array([row])), seed))
    return found


def _whole(site: Site, kinds: Sequence[Site]) -> Site:
    """The site with all its nodes, from which the mapping picks; several kinds of nodes are used whole."""
    return next((kind for kind in kinds if kind.groups == site.groups), site)


def _mapped(search: Search, whole: Site, part: Evaluated, seed: int) -> Mapped:
    spec, shape = search.spec, search.shape
    links = _fabric(spec.cluster, whole)
    carried = traffic(shape, part.layouts, part.stage_layers(0), spec.sequence_length, part.framework)
    grid_shape = tuple(int(n[0]) for n in (part.layouts.pp, part.layouts.dp, part.layouts.cp, part.layouts.tp))
    in_order = np.arange(part.num_gpus).reshape(grid_shape)
    typical = step_seconds(in_order, degrees(part.layouts), _typical(links, whole), carried)
    if whole.parts:  # which stages are on which kind of node is what the layers were cut for: ranks stay in order
        real = step_seconds(in_order, degrees(part.layouts), links, carried)
        timed = _stretched(search, part, typical, real)
        return Mapped(configuration(search, timed, 0), whole, in_order.ravel(), None)
    limit_s = MAPPING_SHARE * max(search.clock.left_s, 1.0)
    mapping = map_ranks(degrees(part.layouts), links, carried, seed=seed, time_limit_s=limit_s)
    timed = _timed(search, part, typical, mapping.seconds)
    gain = MappingGain(
        default_seconds=mapping.default_seconds.total_s,
        best_simple_seconds=mapping.best_simple_seconds.total_s,
        seconds=mapping.seconds.total_s,
        bound_seconds=mapping.bound_seconds,
        method="best of all, proven" if mapping.proven else f"search over {mapping.moves:,} moves",
    )
    return Mapped(configuration(search, timed, 0), whole, mapping.gpu_of_rank, gain)


def _timed(search: Search, part: Evaluated, typical: StepSeconds, real: StepSeconds) -> Evaluated:
    """``part`` (one configuration) with each part of its step timed on links as the mapping has them."""
    spec, site = search.spec, part.site
    changed = {}
    for name, before_s, after_s in _crossing(typical, real):
        if after_s > 0:
            faster = replace(site, machine=_scaled(site.machine, before_s / after_s))
            time = time_of(spec, search.shape, faster, part.framework, part.layouts, search.performance)
            changed[name] = getattr(time, name)
    return _with_times(search, part, replace(part.time, **changed))


def _stretched(search: Search, part: Evaluated, typical: StepSeconds, real: StepSeconds) -> Evaluated:
    """``part`` (one configuration) with its messages as much slower as the links are than the typical ones."""
    changed = {
        name: getattr(part.time, name) * max(after_s / before_s, 1.0)
        for name, before_s, after_s in _crossing(typical, real)
    }
    return _with_times(search, part, replace(part.time, **changed))


def _crossing(typical: StepSeconds, real: StepSeconds) -> Iterator[tuple[str, float, float]]:
    """Parts of a step that links decide and that there are, with their seconds on typical and on real links."""
    for name in CROSSING:
        field = f"{name.split('_')[0]}_s"
        before_s, after_s = getattr(typical, field), getattr(real, field)
        if before_s > 0:
            yield name, before_s, after_s


def _with_times(search: Search, part: Evaluated, time: StepTime) -> Evaluated:
    """``part`` with other times, and what follows from them."""
    spec, site = search.spec, part.site
    fitting = Fitting(part.layouts, part.memory, part.num_evaluated, part.least_gib)
    return replace(evaluated(spec, search.shape, site, part.framework, fitting, time), splits=part.splits)


def _scaled(machine: Machine, factor: float) -> Machine:
    def faster(link: Link) -> Link:
        return replace(link, gb_per_s=link.gb_per_s * factor)

    return replace(machine, within=faster(machine.within), between=faster(machine.between))


def _fabric(cluster: Cluster, site: Site) -> Fabric:
    nodes = np.array(site.nodes)
    return fabric_of_nodes(
        cluster.node_gb_per_s()[np.ix_(nodes, nodes)], site.machine.gpus_per_node, site.machine.within.gb_per_s
    )


def _typical(links: Fabric, site: Site) -> Fabric:
    """The same GPUs with links that are all as their kind's machine says, the slower one's between two kinds."""
    machines = [part.machine for part in site.parts] or [site.machine]
    of_gpu = np.repeat(np.arange(len(machines)), [machine.num_gpus for machine in machines])
    between = np.array([machine.between.gb_per_s for machine in machines])[of_gpu]
    within = np.array([machine.within.gb_per_s for machine in machines])[of_gpu]
    away = links.node[:, None] != links.node[None, :]
    return replace(links, gb_per_s=np.where(away, np.minimum.outer(between, between), np.minimum.outer(within, within)))
