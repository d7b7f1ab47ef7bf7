"""Where the ranks of a training plan run, and the small files that every launcher needs.

Ranks are numbered as Megatron and torchtitan number them: tensor parallel fastest, then context, data, pipeline.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from planner.errors import FailedCheck, InvalidInput
from planner.training.plan import Configuration, Place, TrainingPlan
from planner.training.spec import Framework

HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})")
"""What stands in a host name, or in an address."""

MADE_UP = "# The spec names no hosts: these names are made up. Give `hosts` in its cluster, or replace them here.\n"


def best_for(plan: TrainingPlan, *frameworks: Framework) -> Configuration:
    """The best ranked configuration of one of ``frameworks``; ``InvalidInput`` where none was ranked."""
    for configuration in plan.ranked:
        if configuration.framework in frameworks:
            return configuration
    raise InvalidInput(
        f"ranks no configuration of {' or '.join(frameworks)}",
        field="PLAN",
        fix=f"plan again with choices: {{frameworks: [{', '.join(frameworks)}]}}, or render another target",
    )


def world(configuration: Configuration) -> int:
    """Ranks of a configuration."""
    degrees = (
        configuration.tensor_parallel, configuration.pipeline_parallel, configuration.data_parallel,
        configuration.context_parallel,
    )  # fmt: skip
    return math.prod(degrees)


def places(plan: TrainingPlan, configuration: Configuration) -> tuple[Place, ...]:
    """(world,) the place of each rank, in their order: as mapped, or node by node where nothing was mapped.

    Raises
    ------
    FailedCheck
        A mapping that is not one GPU for each rank.
    InvalidInput
        A host whose name cannot stand in the files of a launcher.
    """
    mapped = plan.mapping if plan.ranked and configuration == plan.ranked[0] else ()
    found = tuple(sorted(mapped, key=attrgetter("rank"))) if mapped else tuple(_in_order(plan, configuration))
    num_ranks = world(configuration)
    if [place.rank for place in found] != list(range(num_ranks)):
        raise FailedCheck(f"the mapping has not one place for each of {num_ranks} ranks: the plan is not rendered")
    if len({(place.node, place.gpu) for place in found}) < num_ranks:
        raise FailedCheck("the mapping puts two ranks on one GPU: the plan is not rendered")
    for host in dict.fromkeys(place.node for place in found):
        if not HOST.fullmatch(host):
            raise InvalidInput(
                f"{host!r} is no host name",
                field="cluster.groups.hosts",
                fix="name the hosts as the network does: letters, digits, dots and dashes",
            )
    return found


def _in_order(plan: TrainingPlan, configuration: Configuration) -> Iterator[Place]:
    cluster = plan.spec.cluster
    of_group: dict[str, list[str]] = {}
    for name, group in zip(cluster.host_names(), cluster.group_of_node, strict=True):
        of_group.setdefault(cluster.groups[group].name, []).append(name)
    sizes = {group.name: group.gpus_per_node for group in cluster.groups}
    rank = 0
    for group_name in configuration.groups:
        if group_name not in of_group:
            raise FailedCheck(f"the cluster has no node group {group_name!r}: the plan is not rendered")
        for host in of_group[group_name]:
            for gpu in range(sizes[group_name]):
                if rank == world(configuration):
                    return
                yield Place(rank=rank, node=host, gpu=gpu)
                rank += 1


def about_hosts(plan: TrainingPlan, placed: Sequence[Place]) -> str:
    """A comment line where the names of hosts are ours; nothing where the spec gave them."""
    given = {host for group in plan.spec.cluster.groups for host in group.hosts}
    return "" if all(place.node in given for place in placed) else MADE_UP


@dataclass(frozen=True)
class Agent:
    """Consecutive ranks on one host, which one ``torchrun`` starts."""

    host: str
    gpus: tuple[int, ...]


def agents(placed: Sequence[Place]) -> list[Agent]:
    """As few agents as can be, all with equally many ranks, because torchrun numbers ranks agent by agent."""
    runs = [list(run) for _, run in groupby(placed, key=attrgetter("node"))]
    size = math.gcd(*(len(run) for run in runs))
    return [
        Agent(run[start].node, tuple(place.gpu for place in run[start : start + size]))
        for run in runs
        for start in range(0, len(run), size)
    ]
