"""Figures of an expert placement worked out again, the plain way, for the check: slot by slot and pair by pair.

Shares no code with the algorithms. Shapes: L layers with load, S slots, E experts, G GPUs, N nodes, T tokens, k experts
per token.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from planner.experts.plan import ExpertsPlan

Array = npt.NDArray[np.float64]


def loaded_layers(plan: ExpertsPlan) -> list[int]:
    """Layers that have experts, by their index in the model."""
    if not plan.spec.workloads:
        return list(range(plan.spec.shape[0]))
    return [i for i in range(plan.spec.shape[0]) if any(sum(w.counts[i]) for w in plan.spec.workloads)]


def workload_weights(plan: ExpertsPlan) -> list[float]:
    """Weight of each workload, summing to 1."""
    weights = [w.weight for w in plan.spec.workloads] or [1.0]
    return [weight / sum(weights) for weight in weights]


def load_shares(plan: ExpertsPlan) -> list[Array]:
    """Per workload, [L, E] share of each layer's tokens that each expert gets, over the layers with load."""
    layers = loaded_layers(plan)
    if not plan.spec.workloads:
        ids = plan.spec.known_trace()
        rows = [np.bincount(ids[:, layer].ravel(), minlength=plan.spec.shape[1]).astype(float) for layer in layers]
        return [np.array([row / row.sum() for row in rows])]
    counts = [np.array([w.counts[i] for i in layers], dtype=float) for w in plan.spec.workloads]
    shares = []
    for own in counts:
        rows = []
        for i in range(len(layers)):
            if own[i].sum():
                rows.append(own[i] / own[i].sum())
                continue
            known = [(p, c[i]) for p, c in zip(workload_weights(plan), counts, strict=True) if c[i].sum()]
            rows.append(sum(p * c / c.sum() for p, c in known) / sum(p for p, _ in known))
        shares.append(np.array(rows))
    return shares


def even_dispatch(plan: ExpertsPlan) -> Array:
    """[L, S] share of its expert's tokens that each slot serves when all copies get equally many."""
    return np.array([
        [1 / plan.logical_replica_count[layer][expert] for expert in plan.physical_to_logical_map[layer]]
        for layer in loaded_layers(plan)
    ])  # fmt: skip


def weighted_dispatch(plan: ExpertsPlan) -> Array:
    """[L, S] the same with the plan's dispatch."""
    serves = even_dispatch(plan)
    row_of = {layer: row for row, layer in enumerate(loaded_layers(plan))}
    for dispatch in plan.dispatch:
        for slot, share in zip(dispatch.slot, dispatch.share, strict=True):
            serves[row_of[dispatch.layer], slot] = share
    return serves


def gpu_loads(plan: ExpertsPlan, serves: Array) -> list[Array]:
    """Per workload, [L, G] load of each GPU in units of the mean."""
    gpus = plan.spec.topology.gpus
    loads = []
    for shares in load_shares(plan):
        carried = [
            [
                shares[row][expert] * part
                for expert, part in zip(plan.physical_to_logical_map[layer], serves[row], strict=True)
            ]
            for row, layer in enumerate(loaded_layers(plan))
        ]
        loads.append(np.array(carried).reshape(len(carried), gpus, -1).sum(axis=2) * gpus)
    return loads


def balancedness_by_workload(plan: ExpertsPlan, serves: Array) -> list[float]:
    """Mean over layers of mean GPU load / hottest GPU load, per workload."""
    return [float((loads.mean(axis=1) / loads.max(axis=1)).mean()) for loads in gpu_loads(plan, serves)]


def served_at(plan: ExpertsPlan, place: npt.NDArray[np.int64], count: int) -> list[Array]:
    """Per layer with load, [E, places] share of each expert's tokens served at each place."""
    found = []
    for layer, serves in zip(loaded_layers(plan), even_dispatch(plan), strict=True):
        at = np.zeros((plan.spec.shape[1], count))
        np.add.at(at, (np.array(plan.physical_to_logical_map[layer]), place), serves)
        found.append(at)
    return found


def hops_per_token(plan: ExpertsPlan, place: npt.NDArray[np.int64], count: int) -> float:
    """Moves of a token from one place (GPU or node) to another between layers with experts."""
    at = served_at(plan, place, count)
    layers = loaded_layers(plan)
    weights, shares = workload_weights(plan), load_shares(plan)
    hops = 0.0
    for i in range(len(layers) - 1):
        meets = at[i] @ at[i + 1].T  # [E, E] chance that the two experts' copies are in one place
        tokens = token_pairs(plan, layers[i], layers[i + 1])
        if tokens is None:
            left, right = (sum(w * s[j] for w, s in zip(weights, shares, strict=True)) for j in (i, i + 1))
            tokens = np.outer(left, right)
        if tokens.sum():
            hops += 1 - float((tokens * meets).sum() / tokens.sum())
    return hops


def token_pairs(plan: ExpertsPlan, layer: int, following: int) -> Array | None:
    """[E, E] tokens from expert to expert between two layers; None without routing data."""
    spec = plan.spec
    if spec.transitions is not None:
        adjacent = following == layer + 1
        counts: Array = spec.transitions.array()[layer].astype(float) * adjacent
        return counts
    if spec.trace is None:
        return None
    ids = spec.trace.array()
    tokens = np.zeros((spec.shape[1], spec.shape[1]))
    for a in range(spec.hops_top):
        for b in range(spec.hops_top):
            np.add.at(tokens, (ids[:, layer, a], ids[:, following, b]), 1.0)
    return tokens


def node_fan_out(plan: ExpertsPlan, node: npt.NDArray[np.int64], num_nodes: int) -> float:
    """Distinct nodes that a token visits in a layer, mean over tokens and layers."""
    ids = plan.spec.known_trace()
    total = 0.0
    layers = loaded_layers(plan)
    for layer, at in zip(layers, served_at(plan, node, num_nodes), strict=True):
        unvisited = np.ones((len(ids), num_nodes))
        for k in range(ids.shape[2]):
            unvisited *= 1 - at[ids[:, layer, k]]
        total += num_nodes - float(unvisited.sum()) / len(ids)
    return total / len(layers)


def slowest_link_s(plan: ExpertsPlan, gigabytes: Array) -> float:
    """Seconds for ``gigabytes`` [G, G]: the slowest pair of a measured matrix, else the busiest port of a GPU."""
    topology = plan.spec.topology
    per_node = topology.gpus // topology.nodes
    if topology.gb_per_s is not None:
        return max(
            float(gigabytes[a, b]) / topology.gb_per_s[a][b] if a != b else 0.0
            for a in range(topology.gpus)
            for b in range(topology.gpus)
        )
    same = np.arange(topology.gpus)[:, None] // per_node == np.arange(topology.gpus) // per_node
    slowest = 0.0
    for link, speed in (
        (same & ~np.eye(topology.gpus, dtype=bool), topology.gb_per_s_within_node),
        (~same, topology.gb_per_s_between_nodes),
    ):
        sent = np.where(link, gigabytes, 0.0)
        slowest = max(slowest, float(max(sent.sum(axis=0).max(), sent.sum(axis=1).max())) / speed)
    return slowest


def off_home_share(plan: ExpertsPlan, serves: Array, per_node: int, group_size: int) -> float:
    """Share of the tokens that slots off their expert's home node serve, mean over layers."""
    weights, shares = workload_weights(plan), load_shares(plan)
    total = 0.0
    for row, layer in enumerate(loaded_layers(plan)):
        for slot, expert in enumerate(plan.physical_to_logical_map[layer]):
            if slot // per_node != plan.home_nodes[layer][expert // group_size]:
                total += serves[row, slot] * sum(w * s[row][expert] for w, s in zip(weights, shares, strict=True))
    return total / len(serves)
