"""Nodes that a training plan does not get, and the next best plan without them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine

from planner.provision.driver import UnitState
from planner.service import answer
from planner.training.cluster import Cluster
from planner.training.plan import TrainingPlan
from planner.types import Conflict, SolveOptions


@dataclass(frozen=True)
class NodeShortage:
    """A node that does not come, or that others have."""

    host: str
    reason: str

    def __str__(self) -> str:
        """In words."""
        return f"node {self.host}: {self.reason}"


def missing_nodes(units: Iterable[UnitState]) -> tuple[NodeShortage, ...]:
    """Which nodes are short: a unit of a training plan is a node."""
    return tuple(NodeShortage(unit.unit, unit.reason) for unit in units if unit.short)


def next_best_training(
    plan: TrainingPlan, short: Iterable[NodeShortage], engine: Engine, options: SolveOptions
) -> TrainingPlan:
    """The best plan for the same request on the nodes that are left; ``infeasible`` where none is.

    Raises what ``planner.service.answer`` raises.
    """
    missing = {shortage.host for shortage in short}
    left = without(plan.spec.cluster, missing)
    if left is None:
        detail = f"no node is left without {', '.join(sorted(missing))}"
        conflict = Conflict(constraints=("cluster.groups",), detail=detail)
        return TrainingPlan(outcome="infeasible", spec=plan.spec, conflicts=(conflict,))
    found = answer("training", plan.spec.model_copy(update={"cluster": left}), engine, options)
    if not isinstance(found, TrainingPlan):
        raise TypeError("the training planner made another kind of plan")
    return found


def without(cluster: Cluster, missing: Iterable[str]) -> Cluster | None:
    """The cluster without some of its hosts, measured bandwidths included; None where no host is left."""
    gone = frozenset(missing)
    groups = []
    for group in cluster.groups:
        hosts = tuple(host for host in group.hosts if host not in gone)
        if hosts:
            groups.append(group.model_copy(update={"hosts": hosts, "nodes": len(hosts)}))
    if not groups:
        return None
    kept = [i for i, host in enumerate(cluster.host_names()) if host not in gone]
    rates = cluster.gb_per_s and tuple(tuple(cluster.gb_per_s[i][j] for j in kept) for i in kept)
    return cluster.model_copy(update={"groups": tuple(groups), "gb_per_s": rates})
