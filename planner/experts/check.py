"""Proof that an experts plan holds, re-derived from its spec and its map alone.

Shares no code with the algorithms: loads are added up slot by slot, hops pair by pair.
Shapes: L layers with load, S slots, E experts, G GPUs, N nodes, T tokens, k experts per token.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np

from planner.experts.plan import ExpertsPlan
from planner.experts.recompute import (
    balancedness_by_workload,
    even_dispatch,
    gpu_loads,
    hops_per_token,
    load_shares,
    loaded_layers,
    node_fan_out,
    off_home_share,
    served_at,
    slowest_link_s,
    token_pairs,
    weighted_dispatch,
    workload_weights,
)
from planner.types import Check, Violation, broken
from profiles.types import Facts

_RELATIVE = 1e-6


def check(plan: ExpertsPlan, facts: Facts) -> Check:  # noqa: ARG001  # placements rest on the spec's loads, not on profiles
    """Every constraint of ``plan.spec`` that ``plan`` breaks."""
    if plan.outcome in ("infeasible", "no_solution"):
        mapped = (broken("outcome", f"{plan.outcome}, yet there is a map"),) if plan.physical_to_logical_map else ()
        return Check(passed=not mapped, violations=mapped)
    shape = malformed(plan)
    if shape:  # nothing else can be computed from parts of the wrong shape
        return Check(passed=False, violations=shape)
    violations = (*_limits(plan), *_balance(plan), *_routing(plan), *_time(plan), *_dispatch(plan), *_homes(plan),
                  *_moves(plan), *_objective(plan))  # fmt: skip
    return Check(passed=not violations, violations=violations)


def malformed(plan: ExpertsPlan) -> tuple[Violation, ...]:
    """What makes the map of ``plan`` none that an engine could load; quick, as no figure is computed."""
    return (*_shape(plan), *_form(plan))


def _differs(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return (a is None) != (b is None)
    return not math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=1e-9)


def _shape(plan: ExpertsPlan) -> Iterator[Violation]:
    """Every layer has its slots, every expert a copy, and the counts say how many."""
    num_layers, num_experts = plan.spec.shape
    if len(plan.physical_to_logical_map) != num_layers:
        yield broken("layers", f"the map has {len(plan.physical_to_logical_map)} layers, the load {num_layers}")
    if len(plan.logical_replica_count) != num_layers:
        yield broken("replica count", f"has {len(plan.logical_replica_count)} layers, the load {num_layers}")
    num_slots = plan.spec.topology.gpus * plan.spec.topology.slots_per_gpu
    for layer, row in enumerate(plan.physical_to_logical_map):
        if len(row) != num_slots:
            yield broken("slots", f"layer {layer} has {len(row)} slots, the GPUs {num_slots}")
            continue
        copies = Counter(row)
        outside = [expert for expert in copies if not 0 <= expert < num_experts]
        if outside:
            yield broken("experts", f"layer {layer} holds expert {outside[0]}, which does not exist")
        missing = [expert for expert in range(num_experts) if not copies[expert]]
        if missing:
            yield broken("every expert present", f"layer {layer} has no copy of expert {missing[0]}")
        if layer < len(plan.logical_replica_count):
            counts = plan.logical_replica_count[layer]
            if len(counts) != num_experts or any(copies[e] != counts[e] for e in range(num_experts)):
                yield broken("replica count", f"layer {layer}: logical_replica_count is not what the map holds")


def _form(plan: ExpertsPlan) -> Iterator[Violation]:
    """What stands beside the map is about the same layers, workloads, groups and slots."""
    spec, loaded = plan.spec, loaded_layers(plan)
    if plan.dense_layers != tuple(i for i in range(spec.shape[0]) if i not in loaded):
        yield broken("dense_layers", f"says {list(plan.dense_layers)}; the layers without load are others")
    names = [w.name for w in spec.workloads] or ["trace"]
    if [w.name for w in plan.workloads] != names:
        yield broken("workloads", f"are not those of the spec: {', '.join(names[:5])}")
    if {name: b.name for name, b in plan.baselines.items()} != {"default": "default", "greedy": "greedy"}:
        yield broken("baselines", "are not default and greedy")
    if len(plan.hottest_gpu_cap) not in (0, len(loaded)):
        yield broken("load cap", f"is given for {len(plan.hottest_gpu_cap)} layers, {len(loaded)} have load")
    yield from _form_of_homes(plan)
    yield from _form_of_dispatch(plan, set(loaded))


def _form_of_homes(plan: ExpertsPlan) -> Iterator[Violation]:
    spec, rows = plan.spec, plan.home_nodes
    if spec.groups is None:
        return
    if len(rows) != spec.shape[0] or any(len(row) != spec.groups for row in rows):
        yield broken("groups", f"home_nodes is not {spec.shape[0]} layers of {spec.groups} groups")
    elif any(not 0 <= node < spec.topology.nodes for row in rows for node in row):
        yield broken("groups", "home_nodes names a node that does not exist")


def _form_of_dispatch(plan: ExpertsPlan, loaded: set[int]) -> Iterator[Violation]:
    if bool(plan.dispatch) != (plan.balancedness_dispatched is not None):
        yield broken("dispatch", "there are shares without balancedness_dispatched, or the other way round")
    if len({d.layer for d in plan.dispatch}) < len(plan.dispatch):
        yield broken("dispatch", "a layer appears twice")
    num_slots = plan.spec.topology.gpus * plan.spec.topology.slots_per_gpu
    for d in plan.dispatch:
        if d.layer not in loaded:
            yield broken("dispatch", f"layer {d.layer} has no load")
        if not len(d.slot) == len(d.expert) == len(d.share):
            yield broken("dispatch", f"layer {d.layer}: slot, expert and share are of different lengths")
        if len(set(d.slot)) < len(d.slot) or any(not 0 <= slot < num_slots for slot in d.slot):
            yield broken("dispatch", f"layer {d.layer}: a slot appears twice or does not exist")


def _limits(plan: ExpertsPlan) -> Iterator[Violation]:
    """Memory, and the cap on the hottest GPU."""
    costs = plan.spec.costs
    moe_layers = len(loaded_layers(plan))
    needed = plan.spec.topology.slots_per_gpu * moe_layers * costs.expert_gib
    if costs.memory_gib_per_gpu is not None and needed > costs.memory_gib_per_gpu * (1 + _RELATIVE):
        yield broken("memory", f"experts need {needed:.2f} GiB per GPU, {costs.memory_gib_per_gpu:g} are allowed")
    if plan.hottest_gpu_cap:
        mean = sum(gpu_loads(plan, even_dispatch(plan))[w] * p for w, p in enumerate(workload_weights(plan)))
        hottest = np.asarray(mean).max(axis=1)
        for layer, load, cap in zip(loaded_layers(plan), hottest, plan.hottest_gpu_cap, strict=True):
            if load > cap * (1 + _RELATIVE):
                yield broken("load cap", f"layer {layer}: the hottest GPU carries {load:.4f}, the cap is {cap:.4f}")


def _balance(plan: ExpertsPlan) -> Iterator[Violation]:
    each = balancedness_by_workload(plan, even_dispatch(plan))
    overall = sum(weight * value for weight, value in zip(workload_weights(plan), each, strict=True))
    if _differs(plan.balancedness, overall):
        yield broken("balancedness", f"says {plan.balancedness}, the map gives {overall}")
    for result, value in zip(plan.workloads, each, strict=True):
        if _differs(result.balancedness, value):
            yield broken("balancedness", f"{result.name}: says {result.balancedness}, the map gives {value}")


def _routing(plan: ExpertsPlan) -> Iterator[Violation]:
    """Hops between GPUs and nodes, and node fan-out."""
    topology = plan.spec.topology
    slot_gpu = np.arange(topology.gpus * topology.slots_per_gpu) // topology.slots_per_gpu
    slot_node = slot_gpu // (topology.gpus // topology.nodes)
    for name, said, place, count in (
        ("cross_gpu_hops_per_token", plan.cross_gpu_hops_per_token, slot_gpu, topology.gpus),
        ("cross_node_hops_per_token", plan.cross_node_hops_per_token, slot_node, topology.nodes),
    ):
        found = hops_per_token(plan, place, count)
        if said is None or abs(said - found) > 1e-6 * max(1.0, found):
            yield broken(name, f"says {said}, the map gives {found}")
    if plan.spec.trace is not None:
        found = node_fan_out(plan, slot_node, topology.nodes)
        if _differs(plan.node_fan_out, found):
            yield broken("node_fan_out", f"says {plan.node_fan_out}, the map gives {found}")


def _time(plan: ExpertsPlan) -> Iterator[Violation]:
    """Seconds per step: the hottest GPU's computation and the slowest link, layer by layer."""
    topology, costs, layers = plan.spec.topology, plan.spec.costs, loaded_layers(plan)
    visits = costs.tokens_per_step * (plan.spec.trace.shape[2] if plan.spec.trace is not None else 1)
    weights, shares = workload_weights(plan), load_shares(plan)
    hottest = sum(
        w * loads.max(axis=1).sum() for w, loads in zip(weights, gpu_loads(plan, even_dispatch(plan)), strict=True)
    )
    seconds = float(hottest) / topology.gpus * visits * costs.ns_per_token_and_expert * 1e-9
    slot_gpu = np.arange(topology.gpus * topology.slots_per_gpu) // topology.slots_per_gpu
    at = served_at(plan, slot_gpu, topology.gpus)
    for i in range(len(layers) - 1):
        tokens = token_pairs(plan, layers[i], layers[i + 1])
        if tokens is None or not tokens.sum():
            left, right = (sum(w * s[j] for w, s in zip(weights, shares, strict=True)) for j in (i, i + 1))
            tokens = np.outer(left, right)
        sent = at[i].T @ (tokens / tokens.sum()) @ at[i + 1] * visits * costs.bytes_per_token / 1e9
        seconds += slowest_link_s(plan, sent)
    if _differs(plan.seconds_per_step, seconds):
        yield broken("seconds_per_step", f"says {plan.seconds_per_step}, the map gives {seconds}")


def _dispatch(plan: ExpertsPlan) -> Iterator[Violation]:
    """Shares are of replicated experts, are not negative, add up to 1, and give the balance that is claimed."""
    for dispatch in plan.dispatch:
        row = plan.physical_to_logical_map[dispatch.layer]
        served: Counter[int] = Counter()
        for slot, expert, share in zip(dispatch.slot, dispatch.expert, dispatch.share, strict=True):
            if row[slot] != expert:
                yield broken("dispatch", f"layer {dispatch.layer}: slot {slot} holds {row[slot]}, not {expert}")
            if not 0 <= share <= 1 + _RELATIVE:
                yield broken("dispatch", f"layer {dispatch.layer}, slot {slot}: share {share}")
            served[expert] += share  # type: ignore[assignment]  # Counter of floats
        for expert, copies in Counter(row).items():
            if copies > 1 and abs(served[expert] - 1) > 1e-6:
                yield broken(
                    "dispatch", f"layer {dispatch.layer}: shares of expert {expert} add up to {served[expert]}"
                )
    if plan.dispatch:
        yield from _balance_dispatched(plan)


def _balance_dispatched(plan: ExpertsPlan) -> Iterator[Violation]:
    each = balancedness_by_workload(plan, weighted_dispatch(plan))
    overall = sum(weight * value for weight, value in zip(workload_weights(plan), each, strict=True))
    if _differs(plan.balancedness_dispatched, overall):
        yield broken("dispatch", f"says {plan.balancedness_dispatched} balancedness, the shares give {overall}")
    for result, value in zip(plan.workloads, each, strict=True):
        said = result.balancedness_dispatched
        if _differs(said, value):
            yield broken("dispatch", f"{result.name}: says {said} balancedness, the shares give {value}")


def _homes(plan: ExpertsPlan) -> Iterator[Violation]:
    """Nodes are home to equally many groups, experts have a copy at home, and few tokens are served off it."""
    spec = plan.spec
    if spec.groups is None or spec.max_moves is not None:
        return
    per_node = spec.topology.gpus // spec.topology.nodes * spec.topology.slots_per_gpu
    group_size = spec.shape[1] // spec.groups
    for layer in loaded_layers(plan):
        homes = plan.home_nodes[layer]
        if any(n != spec.groups // spec.topology.nodes for n in Counter(homes).values()):
            yield broken("groups", f"layer {layer}: nodes are home to unequal numbers of groups: {homes}")
        row = plan.physical_to_logical_map[layer]
        at_home = {expert for slot, expert in enumerate(row) if slot // per_node == homes[expert // group_size]}
        if len(at_home) < spec.shape[1]:
            absent = min(set(range(spec.shape[1])) - at_home)
            yield broken("groups", f"layer {layer}: expert {absent} has no copy on its home node")
    said = [("off_home_share", plan.off_home_share, even_dispatch(plan))]
    if plan.dispatch:
        said.append(("off_home_share_dispatched", plan.off_home_share_dispatched, weighted_dispatch(plan)))
    for name, share, serves in said:
        found = off_home_share(plan, serves, per_node, group_size)
        if _differs(share, found):
            yield broken(name, f"says {share}, the map gives {found}")
        if spec.max_off_home is not None and found > spec.max_off_home + 1e-6:
            yield broken("max_off_home", f"{found:.4f} of the tokens are served off home, {spec.max_off_home:g} may be")


def _moves(plan: ExpertsPlan) -> Iterator[Violation]:
    """Slots that change, and the budget."""
    spec = plan.spec
    if spec.current is None:
        return
    size = spec.topology.slots_per_gpu
    found = []
    for layer in loaded_layers(plan):
        old, new = spec.current.physical_to_logical_map[layer], plan.physical_to_logical_map[layer]
        found.append(
            sum((Counter(new[i : i + size]) - Counter(old[i : i + size])).total() for i in range(0, len(new), size))
        )
    if tuple(found) != plan.moves_per_layer:
        yield broken("moves_per_layer", "is not what the map and the current placement give")
    if _differs(plan.moved_gib, sum(found) * spec.costs.expert_gib):
        yield broken("moved_gib", f"says {plan.moved_gib}, {sum(found)} slots of {spec.costs.expert_gib:g} GiB change")
    if spec.max_moves is not None and max(found) > spec.max_moves:
        yield broken("max_moves", f"{max(found)} slots change in one layer, {spec.max_moves} may")


def _objective(plan: ExpertsPlan) -> Iterator[Violation]:
    """The objective is one of the plan's figures, on the right side of its bound."""
    figures = (plan.balancedness, plan.cross_gpu_hops_per_token, plan.cross_node_hops_per_token, plan.node_fan_out,
               plan.seconds_per_step, min(w.balancedness for w in plan.workloads))  # fmt: skip
    if plan.objective is None or all(_differs(plan.objective, figure) for figure in figures):
        yield broken("objective", f"{plan.objective} is none of the plan's figures")
    elif plan.bound is not None:
        grows = any(
            not _differs(plan.objective, w) for w in (plan.balancedness, *(w.balancedness for w in plan.workloads))
        )
        beyond = plan.objective - plan.bound if grows else plan.bound - plan.objective
        if beyond > _RELATIVE * max(1.0, abs(plan.bound)):
            yield broken("bound", f"objective {plan.objective} is better than its proven bound {plan.bound}")
    if plan.objective and plan.bound is not None:
        gap = abs(plan.objective - plan.bound) / abs(plan.objective)
        if plan.gap is None or abs(plan.gap - gap) > _RELATIVE:
            yield broken("gap", f"says {plan.gap}, objective and bound give {gap}")
    elif plan.bound is None and (plan.gap is not None or plan.outcome == "optimal"):
        yield broken("gap", "a gap is claimed, or that the plan is optimal, but no bound")
