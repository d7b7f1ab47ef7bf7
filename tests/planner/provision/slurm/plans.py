"""Training plans for the nodes of the test cluster, mapped by hand."""

from __future__ import annotations

from planner.training.plan import Place, TrainingPlan
from tests.planner.render.training_plans import configuration, places
from tests.planner.render.training_plans import plan as plan_of

MIXED = places(("n2", 1), ("n2", 0), ("n1", 0), ("n1", 1), ("n2", 2), ("n2", 3), ("n1", 3), ("n1", 2))
"""Eight ranks that jump between two nodes, and between the GPUs of each."""
UNEVEN = places(("n2", 3), ("n1", 0), ("n2", 1), ("n2", 0))
"""Three ranks on one node, one on another."""
SMALLER = places(("n3", 1), ("n1", 3), ("n1", 1), ("n3", 0), ("n1", 0), ("n1", 2))
"""Nodes with four and two GPUs."""


def plan(mapping: tuple[Place, ...]) -> TrainingPlan:
    """A plan with these places."""
    hosts = sorted({place.node for place in mapping})
    sizes = {"n3": 2}
    groups = tuple({"name": host, "gpu": "H100", "nodes": 1, "gpus_per_node": sizes.get(host, 4), "hosts": (host,)}
                   for host in hosts)  # fmt: skip
    best = configuration(tensor_parallel=1, pipeline_parallel=1, stage_layers=(32,), data_parallel=len(mapping),
                         shard_replicas=len(mapping), num_gpus=len(mapping), num_nodes=len(hosts), groups=tuple(hosts),
                         micro_batch=1, num_micro_batches=1)  # fmt: skip
    return plan_of(best, mapping=mapping, global_batch=len(mapping), cluster={"groups": groups})
