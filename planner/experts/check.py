"""Proof that an experts plan holds, re-derived from its spec and its map alone.

Shares no code with the algorithms: loads are added up slot by slot, hops pair by pair.
Shapes: L layers with load, S slots, E experts, G GPUs, N nodes, T tokens, k experts per token.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from planner.experts.plan import ExpertsPlan
from planner.types import Check, Violation
from profiles.types import Facts

_RELATIVE = 1e-6
Array = npt.NDArray[np.float64]


def check(plan: ExpertsPlan, facts: Facts) -> Check:  # noqa: ARG001  # placements rest on the spec's loads, not on profiles
    """Every constraint of ``plan.spec`` that ``plan`` breaks."""
    if plan.outcome in ("infeasible", "no_solution"):
        mapped = (_broken("outcome", f"{plan.outcome}, yet there is a map"),) if plan.physical_to_logical_map else ()
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


def _broken(constraint: str, detail: str) -> Violation:
    return Violation(constraint=constraint, detail=detail)


def _differs(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return (a is None) != (b is None)
    return not math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=1e-9)


def _shape(plan: ExpertsPlan) -> Iterator[Violation]:
    """Every layer has its slots, every expert a copy, and the counts say how many."""
    num_layers, num_experts = plan.spec.shape
    if len(plan.physical_to_logical_map) != num_layers:
        yield _broken("layers", f"the map has {len(plan.physical_to_logical_map)} layers, the load {num_layers}")
    if len(plan.logical_replica_count) != num_layers:
        yield _broken("replica count", f"has {len(plan.logical_replica_count)} layers, the load {num_layers}")
    num_slots = plan.spec.topology.gpus * plan.spec.topology.slots_per_gpu
    for layer, row in enumerate(plan.physical_to_logical_map):
        if len(row) != num_slots:
            yield _broken("slots", f"layer {layer} has {len(row)} slots, the GPUs {num_slots}")
            continue
        copies = Counter(row)
        outside = [expert for expert in copies if not 0 <= expert < num_experts]
        if outside:
            yield _broken("experts", f"layer {layer} holds expert {outside[0]}, which does not exist")
        missing = [expert for expert in range(num_experts) if not copies[expert]]
        if missing:
            yield _broken("every expert present", f"layer {layer} has no copy of expert {missing[0]}")
        if layer < len(plan.logical_replica_count):
            counts = plan.logical_replica_count[layer]
            if len(counts) != num_experts or any(copies[e] != counts[e] for e in range(num_experts)):
                yield _broken("replica count", f"layer {layer}: logical_replica_count is not what the map holds")


def _form(plan: ExpertsPlan) -> Iterator[Violation]:
    """What stands beside the map is about the same layers, workloads, groups and slots."""
    spec, loaded = plan.spec, _loaded_layers(plan)
    if plan.dense_layers != tuple(i for i in range(spec.shape[0]) if i not in loaded):
        yield _broken("dense_layers", f"says {list(plan.dense_layers)}; the layers without load are others")
    names = [w.name for w in spec.workloads] or ["trace"]
    if [w.name for w in plan.workloads] != names:
        yield _broken("workloads", f"are not those of the spec: {', '.join(names[:5])}")
    if {name: b.name for name, b in plan.baselines.items()} != {"default": "default", "greedy": "greedy"}:
        yield _broken("baselines", "are not default and greedy")
    if len(plan.hottest_gpu_cap) not in (0, len(loaded)):
        yield _broken("load cap", f"is given for {len(plan.hottest_gpu_cap)} layers, {len(loaded)} have load")
    yield from _form_of_homes(plan)
    yield from _form_of_dispatch(plan, set(loaded))


def _form_of_homes(plan: ExpertsPlan) -> Iterator[Violation]:
    spec, rows = plan.spec, plan.home_nodes
    if spec.groups is None:
        return
    if len(rows) != spec.shape[0] or any(len(row) != spec.groups for row in rows):
        yield _broken("groups", f"home_nodes is not {spec.shape[0]} layers of {spec.groups} groups")
    elif any(not 0 <= node < spec.topology.nodes for row in rows for node in row):
        yield _broken("groups", "home_nodes names a node that does not exist")


def _form_of_dispatch(plan: ExpertsPlan, loaded: set[int]) -> Iterator[Violation]:
    if bool(plan.dispatch) != (plan.balancedness_dispatched is not None):
        yield _broken("dispatch", "there are shares without balancedness_dispatched, or the other way round")
    if len({d.layer for d in plan.dispatch}) < len(plan.dispatch):
        yield _broken("dispatch", "a layer appears twice")
    num_slots = plan.spec.topology.gpus * plan.spec.topology.slots_per_gpu
    for d in plan.dispatch:
        if d.layer not in loaded:
            yield _broken("dispatch", f"layer {d.layer} has no load")
        if not len(d.slot) == len(d.expert) == len(d.share):
            yield _broken("dispatch", f"layer {d.layer}: slot, expert and share are of different lengths")
        if len(set(d.slot)) < len(d.slot) or any(not 0 <= slot < num_slots for slot in d.slot):
            yield _broken("dispatch", f"layer {d.layer}: a slot appears twice or does not exist")


def _limits(plan: ExpertsPlan) -> Iterator[Violation]:
    """Memory, and the cap on the hottest GPU."""
    costs = plan.spec.costs
    moe_layers = len(_loaded_layers(plan))
    needed = plan.spec.topology.slots_per_gpu * moe_layers * costs.expert_gib
    if costs.memory_gib_per_gpu is not None and needed > costs.memory_gib_per_gpu * (1 + _RELATIVE):
        yield _broken("memory", f"experts need {needed:.2f} GiB per GPU, {costs.memory_gib_per_gpu:g} are allowed")
    if plan.hottest_gpu_cap:
        mean = sum(_gpu_loads(plan, _even(plan))[w] * p for w, p in enumerate(_weights(plan)))
        hottest = np.asarray(mean).max(axis=1)
        for layer, load, cap in zip(_loaded_layers(plan), hottest, plan.hottest_gpu_cap, strict=True):
            if load > cap * (1 + _RELATIVE):
                yield _broken("load cap", f"layer {layer}: the hottest GPU carries {load:.4f}, the cap is {cap:.4f}")


def _loaded_layers(plan: ExpertsPlan) -> list[int]:
    if not plan.spec.workloads:
        return list(range(plan.spec.shape[0]))
    return [i for i in range(plan.spec.shape[0]) if any(sum(w.counts[i]) for w in plan.spec.workloads)]


def _weights(plan: ExpertsPlan) -> list[float]:
    weights = [w.weight for w in plan.spec.workloads] or [1.0]
    return [weight / sum(weights) for weight in weights]


def _shares(plan: ExpertsPlan) -> list[Array]:
    """Per workload, [L, E] share of each layer's tokens that each expert gets, over the layers with load."""
    layers = _loaded_layers(plan)
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
            known = [(p, c[i]) for p, c in zip(_weights(plan), counts, strict=True) if c[i].sum()]
            rows.append(sum(p * c / c.sum() for p, c in known) / sum(p for p, _ in known))
        shares.append(np.array(rows))
    return shares


def _even(plan: ExpertsPlan) -> Array:
    """[L, S] share of its expert's tokens that each slot serves when all copies get equally many."""
    return np.array([
        [1 / plan.logical_replica_count[layer][expert] for expert in plan.physical_to_logical_map[layer]]
        for layer in _loaded_layers(plan)
    ])  # fmt: skip


def _weighted(plan: ExpertsPlan) -> Array:
    """[L, S] the same with the plan's dispatch."""
    serves = _even(plan)
    row_of = {layer: row for row, layer in enumerate(_loaded_layers(plan))}
    for dispatch in plan.dispatch:
        for slot, share in zip(dispatch.slot, dispatch.share, strict=True):
            serves[row_of[dispatch.layer], slot] = share
    return serves


def _gpu_loads(plan: ExpertsPlan, serves: Array) -> list[Array]:
    """Per workload, [L, G] load of each GPU in units of the mean."""
    gpus = plan.spec.topology.gpus
    loads = []
    for shares in _shares(plan):
        carried = [
            [
                shares[row][expert] * part
                for expert, part in zip(plan.physical_to_logical_map[layer], serves[row], strict=True)
            ]
            for row, layer in enumerate(_loaded_layers(plan))
        ]
        loads.append(np.array(carried).reshape(len(carried), gpus, -1).sum(axis=2) * gpus)
    return loads


def _balancedness(plan: ExpertsPlan, serves: Array) -> list[float]:
    return [float((loads.mean(axis=1) / loads.max(axis=1)).mean()) for loads in _gpu_loads(plan, serves)]


def _balance(plan: ExpertsPlan) -> Iterator[Violation]:
    each = _balancedness(plan, _even(plan))
    overall = sum(weight * value for weight, value in zip(_weights(plan), each, strict=True))
    if _differs(plan.balancedness, overall):
        yield _broken("balancedness", f"says {plan.balancedness}, the map gives {overall}")
    for result, value in zip(plan.workloads, each, strict=True):
        if _differs(result.balancedness, value):
            yield _broken("balancedness", f"{result.name}: says {result.balancedness}, the map gives {value}")


def _routing(plan: ExpertsPlan) -> Iterator[Violation]:
    """Hops between GPUs and nodes, and node fan-out."""
    topology = plan.spec.topology
    slot_gpu = np.arange(topology.gpus * topology.slots_per_gpu) // topology.slots_per_gpu
    slot_node = slot_gpu // (topology.gpus // topology.nodes)
    for name, said, place, count in (
        ("cross_gpu_hops_per_token", plan.cross_gpu_hops_per_token, slot_gpu, topology.gpus),
        ("cross_node_hops_per_token", plan.cross_node_hops_per_token, slot_node, topology.nodes),
    ):
        found = _hops(plan, place, count)
        if said is None or abs(said - found) > 1e-6 * max(1.0, found):
            yield _broken(name, f"says {said}, the map gives {found}")
    if plan.spec.trace is not None:
        found = _fan_out(plan, slot_node, topology.nodes)
        if _differs(plan.node_fan_out, found):
            yield _broken("node_fan_out", f"says {plan.node_fan_out}, the map gives {found}")


def _served_at(plan: ExpertsPlan, place: npt.NDArray[np.int64], count: int) -> list[Array]:
    """Per layer with load, [E, places] share of each expert's tokens served at each place."""
    found = []
    for layer, serves in zip(_loaded_layers(plan), _even(plan), strict=True):
        at = np.zeros((plan.spec.shape[1], count))
        np.add.at(at, (np.array(plan.physical_to_logical_map[layer]), place), serves)
        found.append(at)
    return found


def _hops(plan: ExpertsPlan, place: npt.NDArray[np.int64], count: int) -> float:
    at = _served_at(plan, place, count)
    layers = _loaded_layers(plan)
    weights, shares = _weights(plan), _shares(plan)
    hops = 0.0
    for i in range(len(layers) - 1):
        meets = at[i] @ at[i + 1].T  # [E, E] chance that the two experts' copies are in one place
        tokens = _pairs(plan, layers[i], layers[i + 1])
        if tokens is None:
            left, right = (sum(w * s[j] for w, s in zip(weights, shares, strict=True)) for j in (i, i + 1))
            tokens = np.outer(left, right)
        if tokens.sum():
            hops += 1 - float((tokens * meets).sum() / tokens.sum())
    return hops


def _pairs(plan: ExpertsPlan, layer: int, following: int) -> Array | None:
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


def _fan_out(plan: ExpertsPlan, node: npt.NDArray[np.int64], num_nodes: int) -> float:
    ids = plan.spec.known_trace()
    total = 0.0
    layers = _loaded_layers(plan)
    for layer, at in zip(layers, _served_at(plan, node, num_nodes), strict=True):
        unvisited = np.ones((len(ids), num_nodes))
        for k in range(ids.shape[2]):
            unvisited *= 1 - at[ids[:, layer, k]]
        total += num_nodes - float(unvisited.sum()) / len(ids)
    return total / len(layers)


def _time(plan: ExpertsPlan) -> Iterator[Violation]:
    """Seconds per step: the hottest GPU's computation and the slowest link, layer by layer."""
    topology, costs, layers = plan.spec.topology, plan.spec.costs, _loaded_layers(plan)
    visits = costs.tokens_per_step * (plan.spec.trace.shape[2] if plan.spec.trace is not None else 1)
    weights, shares = _weights(plan), _shares(plan)
    hottest = sum(w * loads.max(axis=1).sum() for w, loads in zip(weights, _gpu_loads(plan, _even(plan)), strict=True))
    seconds = float(hottest) / topology.gpus * visits * costs.ns_per_token_and_expert * 1e-9
    slot_gpu = np.arange(topology.gpus * topology.slots_per_gpu) // topology.slots_per_gpu
    at = _served_at(plan, slot_gpu, topology.gpus)
    for i in range(len(layers) - 1):
        tokens = _pairs(plan, layers[i], layers[i + 1])
        if tokens is None or not tokens.sum():
            left, right = (sum(w * s[j] for w, s in zip(weights, shares, strict=True)) for j in (i, i + 1))
            tokens = np.outer(left, right)
        sent = at[i].T @ (tokens / tokens.sum()) @ at[i + 1] * visits * costs.bytes_per_token / 1e9
        seconds += _slowest_link(plan, sent)
    if _differs(plan.seconds_per_step, seconds):
        yield _broken("seconds_per_step", f"says {plan.seconds_per_step}, the map gives {seconds}")


def _slowest_link(plan: ExpertsPlan, gigabytes: Array) -> float:
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


def _dispatch(plan: ExpertsPlan) -> Iterator[Violation]:
    """Shares are of replicated experts, are not negative, add up to 1, and give the balance that is claimed."""
    for dispatch in plan.dispatch:
        row = plan.physical_to_logical_map[dispatch.layer]
        served: Counter[int] = Counter()
        for slot, expert, share in zip(dispatch.slot, dispatch.expert, dispatch.share, strict=True):
            if row[slot] != expert:
                yield _broken("dispatch", f"layer {dispatch.layer}: slot {slot} holds {row[slot]}, not {expert}")
            if not 0 <= share <= 1 + _RELATIVE:
                yield _broken("dispatch", f"layer {dispatch.layer}, slot {slot}: share {share}")
            served[expert] += share  # type: ignore[assignment]  # Counter of floats
        for expert, copies in Counter(row).items():
            if copies > 1 and abs(served[expert] - 1) > 1e-6:
                yield _broken(
                    "dispatch", f"layer {dispatch.layer}: shares of expert {expert} add up to {served[expert]}"
                )
    if plan.dispatch:
        yield from _balance_dispatched(plan)


def _balance_dispatched(plan: ExpertsPlan) -> Iterator[Violation]:
    each = _balancedness(plan, _weighted(plan))
    overall = sum(weight * value for weight, value in zip(_weights(plan), each, strict=True))
    if _differs(plan.balancedness_dispatched, overall):
        yield _broken("dispatch", f"says {plan.balancedness_dispatched} balancedness, the shares give {overall}")
    for result, value in zip(plan.workloads, each, strict=True):
        said = result.balancedness_dispatched
        if _differs(said, value):
            yield _broken("dispatch", f"{result.name}: says {said} balancedness, the shares give {value}")


def _homes(plan: ExpertsPlan) -> Iterator[Violation]:
    """Nodes are home to equally many groups, experts have a copy at home, and few tokens are served off it."""
    spec = plan.spec
    if spec.groups is None or spec.max_moves is not None:
        return
    per_node = spec.topology.gpus // spec.topology.nodes * spec.topology.slots_per_gpu
    group_size = spec.shape[1] // spec.groups
    for layer in _loaded_layers(plan):
        homes = plan.home_nodes[layer]
        if any(n != spec.groups // spec.topology.nodes for n in Counter(homes).values()):
            yield _broken("groups", f"layer {layer}: nodes are home to unequal numbers of groups: {homes}")
        row = plan.physical_to_logical_map[layer]
        at_home = {expert for slot, expert in enumerate(row) if slot // per_node == homes[expert // group_size]}
        if len(at_home) < spec.shape[1]:
            absent = min(set(range(spec.shape[1])) - at_home)
            yield _broken("groups", f"layer {layer}: expert {absent} has no copy on its home node")
    said = [("off_home_share", plan.off_home_share, _even(plan))]
    if plan.dispatch:
        said.append(("off_home_share_dispatched", plan.off_home_share_dispatched, _weighted(plan)))
    for name, share, serves in said:
        found = _off_home(plan, serves, per_node, group_size)
        if _differs(share, found):
            yield _broken(name, f"says {share}, the map gives {found}")
        if spec.max_off_home is not None and found > spec.max_off_home + 1e-6:
            yield _broken(
                "max_off_home", f"{found:.4f} of the tokens are served off home, {spec.max_off_home:g} may be"
            )


def _off_home(plan: ExpertsPlan, serves: Array, per_node: int, group_size: int) -> float:
    """Share of the tokens that slots off their expert's home node serve, mean over layers."""
    weights, shares = _weights(plan), _shares(plan)
    total = 0.0
    for row, layer in enumerate(_loaded_layers(plan)):
        for slot, expert in enumerate(plan.physical_to_logical_map[layer]):
            if slot // per_node != plan.home_nodes[layer][expert // group_size]:
                total += serves[row, slot] * sum(w * s[row][expert] for w, s in zip(weights, shares, strict=True))
    return total / len(serves)


def _moves(plan: ExpertsPlan) -> Iterator[Violation]:
    """Slots that change, and the budget."""
    spec = plan.spec
    if spec.current is None:
        return
    size = spec.topology.slots_per_gpu
    found = []
    for layer in _loaded_layers(plan):
        old, new = spec.current.physical_to_logical_map[layer], plan.physical_to_logical_map[layer]
        found.append(
            sum((Counter(new[i : i + size]) - Counter(old[i : i + size])).total() for i in range(0, len(new), size))
        )
    if tuple(found) != plan.moves_per_layer:
        yield _broken("moves_per_layer", "is not what the map and the current placement give")
    if _differs(plan.moved_gib, sum(found) * spec.costs.expert_gib):
        yield _broken("moved_gib", f"says {plan.moved_gib}, {sum(found)} slots of {spec.costs.expert_gib:g} GiB change")
    if spec.max_moves is not None and max(found) > spec.max_moves:
        yield _broken("max_moves", f"{max(found)} slots change in one layer, {spec.max_moves} may")


def _objective(plan: ExpertsPlan) -> Iterator[Violation]:
    """The objective is one of the plan's figures, on the right side of its bound."""
    figures = (plan.balancedness, plan.cross_gpu_hops_per_token, plan.cross_node_hops_per_token, plan.node_fan_out,
               plan.seconds_per_step, min(w.balancedness for w in plan.workloads))  # fmt: skip
    if plan.objective is None or all(_differs(plan.objective, figure) for figure in figures):
        yield _broken("objective", f"{plan.objective} is none of the plan's figures")
    elif plan.bound is not None:
        grows = any(
            not _differs(plan.objective, w) for w in (plan.balancedness, *(w.balancedness for w in plan.workloads))
        )
        beyond = plan.objective - plan.bound if grows else plan.bound - plan.objective
        if beyond > _RELATIVE * max(1.0, abs(plan.bound)):
            yield _broken("bound", f"objective {plan.objective} is better than its proven bound {plan.bound}")
    if plan.objective and plan.bound is not None:
        gap = abs(plan.objective - plan.bound) / abs(plan.objective)
        if plan.gap is None or abs(plan.gap - gap) > _RELATIVE:
            yield _broken("gap", f"says {plan.gap}, objective and bound give {gap}")
    elif plan.bound is None and (plan.gap is not None or plan.outcome == "optimal"):
        yield _broken("gap", "a gap is claimed, or that the plan is optimal, but no bound")
