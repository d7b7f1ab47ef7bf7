"""Proof that a mapping places every rank once and costs what the plan says: every message of a step, one by one.

Written from the definition in ``communication``, with loops in place of arrays and none of its code.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise

from planner.training.plan import Configuration, TrainingPlan
from planner.training.shapes import shape_of
from planner.types import Violation, broken
from profiles.names import KnownNames
from profiles.training.shape import Transformer
from profiles.types import Facts

RELATIVE = 1e-6
GIGA = 1e9

Message = tuple[int, int]
"""Sender and receiver: numbers of GPUs in the cluster."""


def check_mapping(plan: TrainingPlan, facts: Facts) -> Iterator[Violation]:
    """What is wrong with the mapping of the best configuration."""
    best = plan.ranked[0]
    cluster = plan.spec.cluster
    node_of = {name: i for i, name in enumerate(cluster.host_names())}
    groups = [cluster.groups[i] for i in cluster.group_of_node]
    group_of = dict(zip(cluster.host_names(), groups, strict=True))
    if sorted(place.rank for place in plan.mapping) != list(range(best.num_gpus)):
        yield broken("mapping", f"does not place each of {best.num_gpus} ranks once")
        return
    lost = next((place for place in plan.mapping if place.node not in node_of), None)
    if lost is not None:
        yield broken("mapping", f"rank {lost.rank} is on {lost.node}, which is no node of the cluster")
        return
    for place in plan.mapping:
        if not 0 <= place.gpu < group_of[place.node].gpus_per_node or group_of[place.node].name not in best.groups:
            yield broken("mapping", f"rank {place.rank} is on GPU {place.gpu} of {place.node}, not one of this plan's")
    crowded = [spot for spot, times in Counter((p.node, p.gpu) for p in plan.mapping).items() if times > 1]
    if crowded:
        yield broken("mapping", f"GPU {crowded[0][1]} of {crowded[0][0]} has more than one rank")
    elif plan.mapping_gain is not None:
        places = {place.rank: (node_of[place.node], place.gpu) for place in plan.mapping}
        seconds = _seconds(plan, best, places, facts)
        gain = plan.mapping_gain
        if not math.isclose(gain.seconds, seconds, rel_tol=RELATIVE, abs_tol=1e-12):
            yield broken("mapping_gain.seconds", f"{gain.seconds:.6g}, but its messages take {seconds:.6g}")
        if gain.bound_seconds > gain.seconds * (1 + RELATIVE):
            yield broken("mapping_gain.bound_seconds", f"{gain.bound_seconds:.6g} is above {gain.seconds:.6g}")
        if gain.seconds > gain.default_seconds * (1 + RELATIVE):
            yield broken("mapping_gain.seconds", "is worse than ranks in order")


def _seconds(plan: TrainingPlan, c: Configuration, places: dict[int, tuple[int, int]], facts: Facts) -> float:
    """Communication of a step."""
    spec, shape = plan.spec, shape_of(plan.spec, facts)
    tp, cp, dp, pp, ep = (c.tensor_parallel, c.context_parallel, c.data_parallel, c.pipeline_parallel,
                          c.expert_parallel)  # fmt: skip
    per_stage = tp * cp * dp
    tokens = c.micro_batch * spec.sequence_length / cp
    stream_gb = 2 * tokens * shape.hidden_size / GIGA
    most, batches = max(c.stage_layers), c.num_micro_batches
    again = c.recomputed_layers / most
    pieces = tp if c.sequence_parallel else 1
    moe_share = shape.num_moe_layers / shape.num_layers

    def slowest(messages: list[Message]) -> float:
        return max(_times(plan, messages, places, facts), default=0.0)

    tp_hops = [(r, r - r % tp + (r + 1) % tp) for r in range(c.num_gpus)] if tp > 1 else []
    total = (4 + 2 * again) * most * batches * 2 * (tp - 1) / tp * stream_gb * slowest(tp_hops)
    keys_gb = 4 * shape.num_kv_heads * shape.head_dim / min(tp, shape.num_kv_heads) * tokens / GIGA
    cp_hops = [(r, r + ((r // tp + 1) % cp - r // tp % cp) * tp) for r in range(c.num_gpus)] if cp > 1 else []
    total += (3 + again) * most * batches * (cp - 1) * keys_gb * slowest(cp_hops)
    pairs = [(r, other) for r in range(c.num_gpus) for other in range(r - r % ep, r - r % ep + ep) if other != r]
    sent_gb = stream_gb * shape.experts_per_token / pieces
    total += (4 + 2 * again) * most * moe_share * batches * sent_gb / ep * slowest(pairs)
    total += _rings(plan, c, shape, places, facts)
    forward = [(r, r + per_stage) for r in range(c.num_gpus - per_stage)]
    there = _times(plan, forward, places, facts)
    back = _times(plan, [(b, a) for a, b in forward], places, facts)
    chains = [sum(there[i] + back[i] for i in range(first, len(forward), per_stage)) for first in range(per_stage)]
    return total + c.virtual_stages * math.ceil(batches / pp) * stream_gb / pieces * max(chains)


def _rings(
    plan: TrainingPlan, c: Configuration, shape: Transformer, places: dict[int, tuple[int, int]], facts: Facts
) -> float:
    """Seconds of the slowest ring of gradients, all rings at once."""
    tp, members = c.tensor_parallel, c.context_parallel * c.data_parallel
    hops, gigabytes = [], []
    for stage in range(c.pipeline_parallel):
        for t in range(tp):
            ranks = [(stage * members + q) * tp + t for q in range(members)]
            hops += list(pairwise([*ranks, ranks[0]])) if members > 1 else []
            gigabytes += [_gradients_gb(shape, c, stage)] * members
    hop_seconds = _times(plan, hops, places, facts)
    slowest = max((gb * each for gb, each in zip(gigabytes, hop_seconds, strict=False)), default=0.0)
    if c.sharding == "zero3":
        times = 1.5 * c.num_micro_batches
    else:
        times = float(c.num_micro_batches) if c.sharding == "zero2" and c.framework == "fsdp" else 1.0
    return times * 2 * (members - 1) / members * slowest


def _times(
    plan: TrainingPlan, messages: list[Message], places: dict[int, tuple[int, int]], facts: Facts
) -> list[float]:
    """Seconds per GB of messages that run at once."""
    cluster, names = plan.spec.cluster, KnownNames.of(facts)
    rates = cluster.node_gb_per_s()
    used = [group for group in cluster.groups if group.name in plan.ranked[0].groups]
    within = min(g.within_gb_per_s or names.gpu_type(g.gpu).interconnect_gb_per_s / 2 for g in used)
    away = [(places[a][0], places[b][0]) for a, b in messages if places[a][0] != places[b][0]]
    leaving, entering = Counter(a for a, _ in away), Counter(b for _, b in away)
    inside = Counter(a for a, b in messages if places[a][0] == places[b][0])
    seconds = []
    for a, b in messages:
        node, other = places[a][0], places[b][0]
        if node == other:
            seconds.append(inside[a] / within)
        else:
            seconds.append(max(leaving[node], entering[other]) / float(rates[node, other]))
    return seconds


def _gradients_gb(shape: Transformer, c: Configuration, stage: int) -> float:
    """Of one GPU of a stage, in 16 bits."""
    tp, moe_share = c.tensor_parallel, shape.num_moe_layers / shape.num_layers
    dense = (shape.attention_parameters + (1 - moe_share) * shape.mlp_parameters) / tp
    experts = shape.num_experts * shape.expert_parameters / c.expert_parallel
    shared = shape.num_shared_experts * shape.expert_parameters / tp
    held = c.stage_layers[stage] * (dense + moe_share * (experts + shared))
    if stage in (0, c.pipeline_parallel - 1):
        held += shape.embedding_parameters / tp
    return 2 * held / GIGA
