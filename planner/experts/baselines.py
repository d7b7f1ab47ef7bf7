"""The placements that a plan is compared with: experts in order, and EPLB's greedy on the mean load."""

from __future__ import annotations

from planner.experts.eplb import default_placement, greedy_global, greedy_hierarchical
from planner.experts.problem import Problem
from planner.experts.spec import ExpertsSpec
from planner.program import Ints


def baseline_placements(spec: ExpertsSpec, problem: Problem) -> dict[str, Ints]:
    """[L, S] by name: ``default``, and ``greedy``: hierarchical where there are groups, else global."""
    topology, load = problem.topology, problem.mean_load
    if spec.groups is not None and topology.nodes > 1:
        greedy = greedy_hierarchical(load, topology.gpus, topology.num_slots, topology.nodes, spec.groups)
    else:
        greedy = greedy_global(load, topology.gpus, topology.num_slots)
    default = default_placement(len(problem.layers), problem.num_experts, topology.num_slots)
    return {"default": default, "greedy": greedy}
