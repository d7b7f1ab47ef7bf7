"""What other choices would buy: more slots against balance, more imbalance against hops; and plain statements.

Shapes: L layers, E experts, G GPUs.
"""

from __future__ import annotations

import numpy as np

from planner.clock import Clock
from planner.experts.balance import balance
from planner.experts.measure import balancedness, by_node, hops
from planner.experts.near import place_near
from planner.experts.placement import even_share
from planner.experts.plan import CurvePoint
from planner.experts.problem import Problem

MORE_SLOTS = 4
"""How many more slots per GPU than the least the redundancy curve goes to."""

LOAD_EXCESSES = (0.0, 0.02, 0.05, 0.1, 0.2, None)
"""Caps on load of the trade-off between hops and balance."""


def redundancy_curve(problem: Problem, *, seed: int, clock: Clock) -> tuple[CurvePoint, ...]:
    """Balance of the mean load by slots per GPU, from the least that holds every expert."""
    topology = problem.topology
    least = -(-problem.num_experts // topology.gpus)
    points = []
    for per_gpu in range(least, min(problem.num_experts, max(least + MORE_SLOTS, topology.slots_per_gpu)) + 1):
        if clock.is_over():
            break
        num_slots = per_gpu * topology.gpus
        best = balance(problem.mean_load, topology.gpus, num_slots, seed=seed)
        points.append(
            CurvePoint(
                label=f"{per_gpu} slots per GPU",
                num_slots=num_slots,
                balancedness=float((1 / best.hottest).mean()),
                balancedness_bound=float((1 / best.bound).mean()),
            )
        )
    return tuple(points)


def hops_curve(problem: Problem, *, seed: int, clock: Clock) -> tuple[CurvePoint, ...]:
    """Hops (between nodes, if there are several) and balance by the excess of load that is allowed."""
    topology = problem.topology
    points = []
    for excess in LOAD_EXCESSES:
        if clock.is_over():
            break
        share = even_share(place_near(problem, excess, max_sweeps=3, seed=seed, clock=clock).held)
        place = by_node(share, topology.nodes) if topology.nodes > 1 else share
        points.append(
            CurvePoint(
                label="load ignored" if excess is None else f"hottest GPU up to {excess:.0%} above the best",
                num_slots=topology.num_slots,
                balancedness=float(problem.weight @ balancedness(problem.load, share)),
                hops_per_token=hops(problem, place),
            )
        )
    return tuple(points)


def statements(problem: Problem, reached: float) -> tuple[str, ...]:
    """Plain sentences on what limits balance, and what would help; ``reached`` is the balancedness of the plan."""
    topology = problem.topology
    load = problem.mean_load
    best = balance(load, topology.gpus, topology.num_slots)
    ceiling = float((1 / best.bound).mean())
    found = []
    if topology.slots_per_gpu == 1 and topology.num_slots == problem.num_experts:
        found.append(
            f"With one slot per GPU and no redundancy every placement has balancedness {reached:.3f}: "
            "only more slots help."
        )
    elif ceiling < 0.995:
        layer = int(best.bound.argmax())
        found.append(
            f"No placement on {topology.num_slots} slots can exceed balancedness {ceiling:.3f}: the hottest copy alone "
            f"carries {best.bound[layer]:.2f} × a GPU's share in layer {problem.layers[layer]}. Only more slots help."
        )
    elif topology.slots_per_gpu <= 2 and reached < 0.97:
        found.append(
            f"At {topology.slots_per_gpu} slots per GPU copies are too coarse to combine (balancedness {reached:.3f}); "
            "one more slot per GPU usually brings it above 0.98."
        )
    spread = np.abs(problem.load - load).sum(axis=2).mean() / topology.gpus if len(problem.load) > 1 else 0.0
    if spread > 0.05:
        found.append(
            f"The workloads differ by {spread / 2:.0%} of their tokens on average: dispatch weights that follow the "
            "load are worth more than a new placement."
        )
    return tuple(found)
