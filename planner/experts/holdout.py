"""Is a trace thick enough to place by? Cross-validation against the default placement.

With few tokens, the routes that look frequent are partly chance, and a placement fitted to them can be worse than
none on the tokens to come. So the trace is split: fit on some tokens, count hops on the others, and trust the fit only
if the tokens it has not seen hop less by more than chance explains.

Shapes: T tokens, L layers, E experts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from planner.experts.eplb import default_placement
from planner.experts.measure import by_node
from planner.experts.placement import even_share, held_of
from planner.experts.problem import Problem, transitions_of
from planner.program import Floats, Ints

ENOUGH_TOKENS_PER_PAIR = 30
"""Tokens per pair of experts from which chance no longer matters and the split is skipped."""

CONFIDENCE = 2.0
"""Standard errors by which unseen tokens must gain."""


@dataclass(frozen=True)
class HoldOut:
    """Hops per token on tokens that were not fitted, fitted and default placement; and the verdict."""

    fitted: float
    default: float
    holds: bool


def is_thin(problem: Problem) -> bool:
    """Whether the trace has so few tokens that its routes need the test."""
    return problem.trace is not None and len(problem.trace) < ENOUGH_TOKENS_PER_PAIR * problem.num_experts**2


def cross_validate(
    problem: Problem, place: Callable[[Problem], Ints], *, num_folds: int, top: int, seed: int
) -> HoldOut:
    """Fit on all but one fold, judge on that fold, for every fold; ``place`` returns copies held [L, E, G]."""
    trace = problem.known_trace()
    topology = problem.topology
    num_tokens = len(trace)
    default = default_placement(len(problem.layers), problem.num_experts, topology.num_slots)
    default_share = even_share(held_of(default, problem.num_experts, topology.gpus))
    fold = np.random.default_rng(seed).permutation(num_tokens) % num_folds
    fitted_hops, default_hops = np.empty(num_tokens), np.empty(num_tokens)
    for i in range(num_folds):
        counts = transitions_of(trace[fold != i], problem.num_experts, top).astype(float)
        routes = counts / np.maximum(counts.sum(axis=(1, 2), keepdims=True), 1.0)
        share = even_share(place(replace(problem, routes=routes)))
        unseen = trace[fold == i][:, :, 0]
        fitted_hops[fold == i] = hops_of_tokens(unseen, share, topology.nodes)
        default_hops[fold == i] = hops_of_tokens(unseen, default_share, topology.nodes)
    gain = default_hops - fitted_hops
    error = float(gain.std(ddof=1)) / num_tokens**0.5 if num_tokens > 1 else np.inf
    holds = num_tokens >= 2 * num_folds and float(gain.mean()) > CONFIDENCE * error
    return HoldOut(float(fitted_hops.mean()), float(default_hops.mean()), holds)


def hops_of_tokens(experts: Ints, share: Floats, num_nodes: int) -> Floats:
    """[T] expected hops of each token along ``experts`` [T, L]: between nodes if there are several, else GPUs."""
    place = by_node(share, num_nodes) if num_nodes > 1 else share
    hops = np.zeros(len(experts))
    for layer in range(experts.shape[1] - 1):
        hops += 1 - (place[layer][experts[:, layer]] * place[layer + 1][experts[:, layer + 1]]).sum(axis=1)
    return hops
