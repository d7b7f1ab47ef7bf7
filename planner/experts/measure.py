"""What a placement is worth: balance, hops, node fan-out, and time by a cost model.

Shapes: W workloads, L layers, E experts, G GPUs, N nodes, T tokens, k experts per token.
``share`` [L, E, G] is the share of each expert's tokens that each GPU serves: its rows sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.experts.problem import Problem
from planner.program import Floats, Ints


@dataclass(frozen=True)
class Measured:
    """Means over layers, and over workloads by weight."""

    balancedness: float
    worst_balancedness: float  # of the workloads
    cross_gpu_hops: float
    cross_node_hops: float
    fan_out: float | None
    seconds: float


def measure(problem: Problem, share: Floats) -> Measured:
    """Everything there is to say of ``share`` [L, E, G]."""
    balanced = balancedness(problem.load, share)
    return Measured(
        balancedness=float(problem.weight @ balanced),
        worst_balancedness=float(balanced.min()),
        cross_gpu_hops=hops(problem, share),
        cross_node_hops=hops(problem, by_node(share, problem.topology.nodes)),
        fan_out=None if problem.trace is None else fan_out(problem.trace, by_node(share, problem.topology.nodes)),
        seconds=float(seconds_per_layer(problem, share).sum()),
    )


def gpu_loads(load: Floats, share: Floats) -> Floats:
    """[W, L, G] load of each GPU, in units of the mean one."""
    return np.ascontiguousarray(np.matmul(load.transpose(1, 0, 2), share).transpose(1, 0, 2))


def balancedness(load: Floats, share: Floats) -> Floats:
    """[W] mean over layers of mean GPU load / hottest GPU load."""
    loads = gpu_loads(load, share)
    result: Floats = (loads.mean(axis=2) / loads.max(axis=2)).mean(axis=1)
    return result


def by_node(share: Floats, num_nodes: int) -> Floats:
    """[L, E, N] share of each expert's tokens that each node serves."""
    num_layers, num_experts, _ = share.shape
    nodes: Floats = share.reshape(num_layers, num_experts, num_nodes, -1).sum(axis=3)
    return nodes


def hops(problem: Problem, share: Floats) -> float:
    """Expected changes of place per token on its way through all layers (ExFlow, section 4, context-coherent).

    A token stays where its expert is until the next layer's expert, a copy drawn by ``share`` [L, E, places], is
    elsewhere. Without routing data, layers are taken as independent.
    """
    if problem.routes is None:
        loads = np.einsum("le,lep->lp", problem.mean_load / problem.topology.gpus, share)
        stays = (loads[:-1] * loads[1:]).sum(axis=1)
        return max(0.0, float((1 - stays).sum()))
    known = problem.routes.any(axis=(1, 2))
    arriving = np.matmul(problem.routes, share[1:])  # [L−1, E, places]
    stays = (share[:-1] * arriving).sum(axis=(1, 2))
    return max(0.0, float((1 - stays[known]).sum()))


def fan_out(trace: Ints, share: Floats) -> float:
    """Distinct nodes that a token visits in a layer, expected; ``trace`` [T, L, k], ``share`` [L, E, N]."""
    num_layers = share.shape[0]
    visited = 0.0
    for layer in range(num_layers):
        missed = (1 - share[layer][trace[:, layer]]).prod(axis=1)  # [T, N] probability that no expert sends it there
        visited += float((1 - missed).sum(axis=1).mean())
    return float(visited / num_layers)


def seconds_per_layer(problem: Problem, share: Floats) -> Floats:
    """[L] time of each layer: the hottest GPU's experts plus all-to-all over the slowest link (MoETuner, section 4).

    Compute: tokens of the hottest GPU × time per token and expert. Traffic: tokens that change GPU between this layer
    and the next, in bytes, over the bandwidth of each pair of GPUs, or of each node's link when nodes share one; the
    slowest counts. The last layer sends home, which no placement changes: it is charged nothing.
    """
    topology, costs = problem.topology, problem.costs
    visits = costs.tokens_per_step * problem.top_k
    loads = gpu_loads(problem.load, share)
    hottest = np.einsum("w,wl->l", problem.weight, loads.max(axis=2))
    compute = hottest / topology.gpus * visits * costs.ns_per_token_and_expert * 1e-9
    num_layers = share.shape[0]
    traffic = np.zeros(num_layers)
    for layer in range(num_layers - 1):
        tokens = _tokens_between(problem, share, layer) * visits
        traffic[layer] = _slowest_link(tokens * costs.bytes_per_token / 1e9, problem)
    result: Floats = compute + traffic
    return result


def _tokens_between(problem: Problem, share: Floats, layer: int) -> Floats:
    """[G, G] share of the tokens that go from GPU to GPU after ``layer``."""
    if problem.routes is not None and problem.routes[layer].any():
        result: Floats = share[layer].T @ problem.routes[layer] @ share[layer + 1]
        return result
    leaving, arriving = (problem.mean_load[i] / problem.topology.gpus @ share[i] for i in (layer, layer + 1))
    return np.outer(leaving, arriving)


def _slowest_link(gigabytes: Floats, problem: Problem) -> float:
    """Seconds that the busiest link needs for ``gigabytes`` [G, G]; what stays on a GPU costs nothing."""
    topology = problem.topology
    away = gigabytes * (1 - np.eye(topology.gpus))
    if topology.gb_per_s is not None:
        speed = np.array(topology.gb_per_s) + np.eye(topology.gpus)
        return float((away / speed).max())
    node = problem.node_of
    within = away * (node[:, None] == node)
    inside = max(within.sum(axis=0).max(), within.sum(axis=1).max()) / topology.gb_per_s_within_node
    across = away - within
    # Each GPU has its own link out of the node (one NIC per GPU, as in DGX and HGX machines).
    outside = max(across.sum(axis=0).max(), across.sum(axis=1).max()) / topology.gb_per_s_between_nodes
    return float(max(inside, outside))
