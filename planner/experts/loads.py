"""The load of every GPU in every layer, under a plan and under what it is compared with."""

from __future__ import annotations

from typing import Literal

import numpy as np
from pydantic import Field

from planner.experts.baselines import baseline_placements
from planner.experts.measure import gpu_loads
from planner.experts.placement import even_share, held_of
from planner.experts.plan import ExpertsPlan
from planner.experts.problem import problem_of
from planner.types import Frozen

LoadsOf = Literal["plan", "current", "default", "greedy"]
"""``current``: the placement in use, where the spec has one. ``default`` and ``greedy`` are the plan's baselines."""


class PlacementLoads(Frozen):
    """One placement with even dispatch: means over workloads by weight."""

    name: LoadsOf
    gpu_loads: tuple[tuple[float, ...], ...] = Field(description="[layers with load][GPUs], in mean GPU loads")
    balancedness: tuple[float, ...] = Field(description="per layer with load: mean GPU load / hottest GPU load")


class Loads(Frozen):
    """Loads of all placements; ``layers`` numbers those with load as the model does."""

    layers: tuple[int, ...]
    placements: tuple[PlacementLoads, ...]


def loads(plan: ExpertsPlan) -> Loads:
    """The loads of ``plan``, from its spec and its map."""
    problem = problem_of(plan.spec)
    placements = {"plan": np.array(plan.physical_to_logical_map, dtype=np.int64)[problem.layers]}
    if problem.start is not None:
        placements["current"] = problem.start
    found = []
    for name, slots in (placements | baseline_placements(plan.spec, problem)).items():
        share = even_share(held_of(slots, problem.num_experts, problem.topology.gpus))
        by_gpu = gpu_loads(problem.load, share)  # [W, L, G]
        balanced = problem.weight @ (by_gpu.mean(axis=2) / by_gpu.max(axis=2))
        mean = np.einsum("w,wlg->lg", problem.weight, by_gpu)
        found.append(
            PlacementLoads.model_validate({"name": name, "gpu_loads": mean.tolist(), "balancedness": balanced.tolist()})
        )
    return Loads(layers=tuple(problem.layers.tolist()), placements=tuple(found))
