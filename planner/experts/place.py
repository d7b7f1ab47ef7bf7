"""Which algorithm answers which request, and what it proves.

Shapes: W workloads, L layers with load, E experts, G GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from planner.clock import Clock
from planner.experts import exhaust, model
from planner.experts.advice import LOAD_EXCESSES
from planner.experts.balance import Balanced, balance
from planner.experts.eplb import default_placement
from planner.experts.grouplocal import place_group_local
from planner.experts.holdout import cross_validate, is_thin
from planner.experts.measure import by_node, hops, seconds_per_layer
from planner.experts.near import place_near
from planner.experts.placement import even_share, held_of
from planner.experts.problem import Problem
from planner.experts.replan import relabelled, replan
from planner.experts.robust import place_robustly
from planner.experts.spec import ExpertsSpec
from planner.program import Floats, Ints
from planner.types import SolveOptions

REDUNDANCY_HEADROOM = 1.2
"""Tokens off home, as a multiple of the share of redundant slots, when the spec names no cap: redundant copies are of
hot experts, so they serve somewhat more than their share of tokens."""

PROGRAM_LIMIT_S = 1.0
"""Seconds per layer that the mixed-integer program may take."""

WORTH_A_PROGRAM = 5e-3
"""Excess over the bound from which the mixed-integer program is tried; less than that cannot be felt."""

ROUNDING = 1e-9

CUT_SHORT = (
    "The time limit cut the search short: more time may give a better placement, and only a search that ends by itself "
    "gives the same one again."
)


@dataclass(frozen=True)
class Placed:
    """A placement ``held`` [L, E, G] and what is known of it.

    ``bound``: proven limit of the spec's objective (from above for balance, from below otherwise), None if unknown.
    ``cap`` [L]: load that no GPU exceeds, where the spec limits it.
    """

    held: Ints
    method: str
    bound: float | None
    home: Ints | None = None
    off_home_cap: float = 1.0
    cap: Floats | None = None
    notes: tuple[str, ...] = field(default=())


def place(spec: ExpertsSpec, problem: Problem, options: SolveOptions, clock: Clock) -> Placed:
    """The placement that ``spec`` asks for, within ``clock``."""
    start = None
    if problem.start is not None:
        start = held_of(problem.start, problem.num_experts, problem.topology.gpus)
    if start is not None and spec.max_moves is not None:
        held = replan(problem.load, start, spec.max_moves, clock)
        late = ("The time limit came before every layer was re-planned; the others keep their placement.",)
        return Placed(held, "incremental", _balance_bound(problem), notes=late if clock.is_over() else ())
    placed = _fresh(spec, problem, options, clock)
    if clock.is_over():
        placed = replace(placed, notes=(*placed.notes, CUT_SHORT))
    if start is None or placed.home is not None:
        return placed
    return replace(placed, held=relabelled(placed.held, start, problem.topology.nodes))


def objective_of(spec: ExpertsSpec) -> str:
    """The objective in force: what the spec says, else hops where routing is known and nothing else was asked for."""
    if spec.objective is not None:
        return spec.objective
    routed = spec.trace is not None or spec.transitions is not None
    free = spec.groups is None and spec.max_moves is None and spec.shape[0] > 1
    return "hops" if routed and free else "balance"


def _fresh(spec: ExpertsSpec, problem: Problem, options: SolveOptions, clock: Clock) -> Placed:
    objective = objective_of(spec)
    if objective == "time":
        return _fastest(problem, options, clock)
    if objective == "fan_out":
        near = place_near(problem, spec.max_load_excess, fan_out=True, seed=options.seed, clock=clock)
        return Placed(near.held, "fan-out swaps", 1.0, cap=_asked(near.cap))
    if objective == "hops":
        return _nearest(spec, problem, options, clock)
    if spec.groups is not None:
        return _group_local(spec, problem, spec.groups, clock)
    topology = problem.topology
    if len(problem.load) > 1 and spec.dispatch == "even":
        best = balance(problem.mean_load, topology.gpus, topology.num_slots, seed=options.seed)
        mean = held_of(best.expert, problem.num_experts, topology.gpus)
        held = replan(problem.load, mean, topology.num_slots, clock)
        return Placed(held, "local search over workloads", _balance_bound(problem))
    if len(problem.load) > 1:
        slots = place_robustly(
            problem.load, problem.weight, topology.gpus, topology.num_slots, seed=options.seed, clock=clock
        )
        return Placed(held_of(slots, problem.num_experts, topology.gpus), "robust swaps", _balance_bound(problem))
    return _balanced(problem, options, clock)


def _balanced(problem: Problem, options: SolveOptions, clock: Clock) -> Placed:
    topology = problem.topology
    best = balance(problem.load[0], topology.gpus, topology.num_slots, seed=options.seed)
    held = held_of(best.expert, problem.num_experts, topology.gpus)
    method, bound = "water-filling, packing, swaps", best.bound.copy()
    if exhaust.is_small(problem.num_experts, topology.gpus, topology.num_slots):
        method = _enumerate(problem, best, held, bound, clock) or method
    elif model.is_small(problem.num_experts, topology.gpus, topology.num_slots):
        method = _solve_program(problem, best, held, bound, options, clock) or method
    return Placed(held, method, float((1 / bound).mean()))


def _enumerate(problem: Problem, best: Balanced, held: Ints, bound: Floats, clock: Clock) -> str | None:
    """Prove or improve, in place, the layers that are above their bound; returns the method's name if any were."""
    open_layers = np.flatnonzero(best.hottest > bound * (1 + ROUNDING))
    for layer in open_layers.tolist():
        held[layer], proven = exhaust.best_layer(problem.load[0, layer], held[layer], clock)
        if proven:
            bound[layer] = ((problem.load[0, layer] / held[layer].sum(axis=1)) @ held[layer]).max()
    return "enumeration" if open_layers.size else None


def _solve_program(
    problem: Problem, best: Balanced, held: Ints, bound: Floats, options: SolveOptions, clock: Clock
) -> str | None:
    """The same by mixed-integer program, for layers well above their bound."""
    method = None
    for layer in np.flatnonzero(best.hottest > bound * (1 + max(options.gap, WORTH_A_PROGRAM))).tolist():
        budget = min(clock.left_s, PROGRAM_LIMIT_S)
        if budget < PROGRAM_LIMIT_S / 20:
            break
        exact = model.solve_layer(
            problem.load[:, layer], np.ones(1), problem.topology.gpus, problem.topology.num_slots,
            SolveOptions(time_limit_s=budget, seed=options.seed, gap=options.gap),
        )  # fmt: skip
        if exact is None:
            continue
        method = "mixed-integer program"
        bound[layer] = max(bound[layer], exact.bound)
        if exact.hottest < best.hottest[layer] - ROUNDING:
            held[layer] = exact.held
    return method


def _group_local(spec: ExpertsSpec, problem: Problem, num_groups: int, clock: Clock) -> Placed:
    topology = problem.topology
    redundancy = 1 - problem.num_experts / topology.num_slots
    cap = spec.max_off_home if spec.max_off_home is not None else min(1.0, REDUNDANCY_HEADROOM * redundancy)
    local = place_group_local(problem.load, problem.weight, topology.nodes, topology.num_slots, num_groups, cap, clock)
    return Placed(local.held, "group-local hybrid", _balance_bound(problem), home=local.home, off_home_cap=cap)


def _nearest(spec: ExpertsSpec, problem: Problem, options: SolveOptions, clock: Clock) -> Placed:
    near = place_near(problem, spec.max_load_excess, seed=options.seed, clock=clock)
    bound = hops_between(problem, near.held) if near.proven else None
    method = "exact chain of partitions" if near.proven else "assignment sweeps, capped swaps"
    if spec.transitions is not None or not is_thin(problem):
        return Placed(near.held, method, bound, cap=_asked(near.cap))
    verdict = cross_validate(
        problem,
        lambda part: place_near(part, spec.max_load_excess, max_sweeps=2, seed=options.seed, clock=clock).held,
        num_folds=4 if near.proven else 2, top=spec.hops_top, seed=options.seed,
    )  # fmt: skip
    tokens = 0 if problem.trace is None else len(problem.trace)
    seen = f"on tokens held out of the {tokens} in the trace: {verdict.fitted:.2f} hops, default {verdict.default:.2f}"
    if verdict.holds:
        return Placed(near.held, method, bound, cap=_asked(near.cap), notes=(f"Cross-validated {seen}.",))
    default = default_placement(len(problem.layers), problem.num_experts, problem.topology.num_slots)
    held = held_of(default, problem.num_experts, problem.topology.gpus)
    note = f"The trace is too thin to place by ({seen}): kept the default placement; record more tokens."
    return Placed(held, "default, for want of data", bound, notes=(note,))


def _asked(cap: Floats) -> Floats | None:
    """The cap, where there is one."""
    return cap if np.isfinite(cap).all() else None


def _fastest(problem: Problem, options: SolveOptions, clock: Clock) -> Placed:
    """The placement with the least time per step along the trade-off between balance and hops."""
    topology = problem.topology
    best = balance(problem.mean_load, topology.gpus, topology.num_slots, seed=options.seed)
    candidates = [("balanced", held_of(best.expert, problem.num_experts, topology.gpus))]
    for excess in LOAD_EXCESSES if problem.routes is not None else ():
        if clock.is_over():
            break
        near = place_near(problem, excess, max_sweeps=3, seed=options.seed, clock=clock)
        name = "load ignored" if excess is None else f"load within {excess:.0%} of the best balance"
        candidates.append((f"near, {name}", near.held))
    seconds = [float(seconds_per_layer(problem, even_share(held)).sum()) for _, held in candidates]
    name, held = candidates[int(np.argmin(seconds))]
    return Placed(held, f"fastest of {len(candidates)}: {name}", _least_seconds(problem))


def _least_seconds(problem: Problem) -> float:
    """No placement computes faster than perfect balance without any traffic."""
    visits = problem.costs.tokens_per_step * problem.top_k
    per_layer = visits / problem.topology.gpus * problem.costs.ns_per_token_and_expert * 1e-9
    return per_layer * len(problem.layers)


def _balance_bound(problem: Problem) -> float:
    """Balancedness that no placement with even dispatch can exceed, averaged over workloads."""
    topology = problem.topology
    bounds = [1 / balance(load, topology.gpus, topology.num_slots).bound for load in problem.load]
    return float(problem.weight @ np.array(bounds).mean(axis=1))


def hops_between(problem: Problem, held: Ints) -> float:
    """Hops of ``held``: between nodes if there are several, else between GPUs."""
    share = even_share(held)
    return hops(problem, by_node(share, problem.topology.nodes) if problem.topology.nodes > 1 else share)
