"""From a spec to a plan: place, dispatch, measure, compare."""

from __future__ import annotations

import numpy as np

from planner.clock import Clock
from planner.experts.advice import hops_curve, redundancy_curve, statements
from planner.experts.baselines import baseline_placements
from planner.experts.dispatch import best_dispatch, best_dispatch_near_home
from planner.experts.eplb import default_placement
from planner.experts.grouplocal import away_from
from planner.experts.measure import Measured, balancedness, measure
from planner.experts.place import Placed, objective_of, place
from planner.experts.placement import even_share, held_of, keep_in_place, num_moves, slots_of
from planner.experts.plan import Baseline, CurvePoint, Dispatch, ExpertsPlan, Metrics, WorkloadResult
from planner.experts.problem import Problem, problem_of
from planner.experts.spec import ExpertsSpec
from planner.program import Floats, Ints
from planner.solver import relative_gap
from planner.types import SolveOptions
from profiles.types import Facts

SMALLEST_SHARE = 1e-9
"""Dispatch shares below this are rounding of the linear program."""


def solve(spec: ExpertsSpec, facts: Facts, options: SolveOptions) -> ExpertsPlan:
    """The placement that ``spec`` asks for. No profile matters to it; the digest only says what the store knew."""
    problem = problem_of(spec)
    clock = Clock(options.time_limit_s)
    placed = place(spec, problem, options, clock)
    seconds = clock.elapsed_s
    measured = measure(problem, even_share(placed.held))
    objective = _objective(spec, problem, measured)
    gap = relative_gap(objective, placed.bound)
    share = _dispatch(spec, problem, placed)
    curve = _curve(spec, problem, options, clock)
    slots = _slots(problem, placed)
    return ExpertsPlan(
        outcome="optimal" if gap is not None and gap <= options.gap else "feasible",
        objective=objective, bound=placed.bound, gap=gap, solver="gpuplan", method=placed.method,
        solve_seconds=seconds, profile_digest=facts.digest, spec=spec,
        physical_to_logical_map=tuple(map(tuple, slots.tolist())),
        logical_replica_count=tuple(map(tuple, _replicas(slots, problem).tolist())),
        dense_layers=tuple(sorted(set(range(problem.num_model_layers)) - set(problem.layers.tolist()))),
        hops_measured=problem.routes is not None,
        **_metrics(measured).model_dump(),
        hottest_gpu_cap=() if placed.cap is None else tuple(placed.cap.tolist()),
        **_served(spec, problem, placed, share),
        workloads=_results(spec, problem, placed.held, share),
        baselines=_baselines(spec, problem),
        **_moves(spec, problem, placed.held),
        curve=curve,
        advice=(*placed.notes, *statements(problem, measured.balancedness)),
    )  # fmt: skip


def _objective(spec: ExpertsSpec, problem: Problem, measured: Measured) -> float:
    objective = objective_of(spec)
    if objective == "hops":
        return measured.cross_node_hops if problem.topology.nodes > 1 else measured.cross_gpu_hops
    if objective == "fan_out":
        return measured.fan_out or 0.0
    if objective == "time":
        return measured.seconds
    return measured.worst_balancedness if spec.over_workloads == "worst" else measured.balancedness


def _metrics(measured: Measured) -> Metrics:
    return Metrics(
        balancedness=measured.balancedness,
        cross_gpu_hops_per_token=measured.cross_gpu_hops,
        cross_node_hops_per_token=measured.cross_node_hops,
        node_fan_out=measured.fan_out,
        seconds_per_step=measured.seconds,
    )


def _slots(problem: Problem, placed: Placed) -> Ints:
    """[all layers, S] with dense layers passed through: experts in order."""
    slots = slots_of(placed.held)
    if problem.start is not None:
        slots = keep_in_place(slots, problem.start, problem.topology.gpus)
    every = default_placement(problem.num_model_layers, problem.num_experts, problem.topology.num_slots)
    every[problem.layers] = slots
    return every


def _replicas(slots: Ints, problem: Problem) -> Ints:
    """[all layers, E] copies of each expert."""
    copies: Ints = held_of(slots, problem.num_experts, problem.topology.gpus).sum(axis=2)
    return copies


def _dispatch(spec: ExpertsSpec, problem: Problem, placed: Placed) -> Floats | None:
    """[L, E, G] shares from the linear program: where asked for, and where groups or several workloads need them."""
    wanted = spec.dispatch or ("weighted" if len(problem.load) > 1 or spec.groups is not None else "even")
    if wanted == "even":
        return None
    worst = spec.over_workloads == "worst"
    if placed.home is None:
        return best_dispatch(problem.load, problem.weight, placed.held, worst=worst)
    away = away_from(placed.home, problem.topology.gpus, problem.topology.nodes)
    return best_dispatch_near_home(problem.load, problem.weight, placed.held, away, placed.off_home_cap, worst=worst)


def _served(spec: ExpertsSpec, problem: Problem, placed: Placed, share: Floats | None) -> dict[str, object]:
    """What depends on dispatch: weights, balance with them, and tokens off home."""
    found: dict[str, object] = {}
    if share is not None:
        found["balancedness_dispatched"] = float(problem.weight @ balancedness(problem.load, share))
        found["dispatch"] = _listed(problem, placed.held, share)
    if placed.home is not None and spec.groups is not None:
        away = away_from(placed.home, problem.topology.gpus, problem.topology.nodes)
        for name, served in (("off_home_share", even_share(placed.held)), ("off_home_share_dispatched", share)):
            if served is not None:
                tokens = np.einsum("le,leg->", problem.mean_load, served * away)
                found[name] = float(tokens / problem.mean_load.sum())
        per_group = placed.home[:, :: problem.num_experts // spec.groups]
        every = np.zeros((problem.num_model_layers, spec.groups), dtype=np.int64)
        every[problem.layers] = per_group
        found["home_nodes"] = tuple(map(tuple, every.tolist()))
    return found


def _listed(problem: Problem, held: Ints, share: Floats) -> tuple[Dispatch, ...]:
    """Shares of replicated experts by slot; copies of one expert on one GPU serve equally much."""
    slots = slots_of(held)
    if problem.start is not None:
        slots = keep_in_place(slots, problem.start, problem.topology.gpus)
    found = []
    for row, layer in enumerate(problem.layers.tolist()):
        slot = np.flatnonzero(held[row].sum(axis=1)[slots[row]] > 1)
        expert, gpu = slots[row, slot], slot // problem.topology.slots_per_gpu
        part = share[row, expert, gpu] / held[row][expert, gpu]
        part = np.where(part < SMALLEST_SHARE, 0.0, part)
        found.append(
            Dispatch(layer=layer, slot=tuple(slot.tolist()), expert=tuple(expert.tolist()), share=tuple(part.tolist()))
        )
    return tuple(found)


def _results(spec: ExpertsSpec, problem: Problem, held: Ints, share: Floats | None) -> tuple[WorkloadResult, ...]:
    names = [w.name for w in spec.workloads] or ["trace"]
    even = balancedness(problem.load, even_share(held))
    if share is None:
        return tuple(WorkloadResult(name=n, balancedness=float(b)) for n, b in zip(names, even, strict=True))
    with_plan = balancedness(problem.load, share)
    results = []
    for i, name in enumerate(names):
        own = with_plan[i]
        if len(names) > 1:
            load = problem.load[i : i + 1]
            own = balancedness(load, best_dispatch(load, np.ones(1), held))[0]
        results.append(
            WorkloadResult(name=name, balancedness=float(even[i]), balancedness_dispatched=float(with_plan[i]),
                           balancedness_best_dispatch=float(own))
        )  # fmt: skip
    return tuple(results)


def _baselines(spec: ExpertsSpec, problem: Problem) -> dict[str, Baseline]:
    found = {}
    for name, slots in baseline_placements(spec, problem).items():
        measured = measure(problem, even_share(held_of(slots, problem.num_experts, problem.topology.gpus)))
        found[name] = Baseline.model_validate({"name": name, **_metrics(measured).model_dump()})
    return found


def _moves(spec: ExpertsSpec, problem: Problem, held: Ints) -> dict[str, object]:
    if problem.start is None:
        return {}
    moves = num_moves(held, held_of(problem.start, problem.num_experts, problem.topology.gpus))
    return {"moves_per_layer": tuple(moves.tolist()), "moved_gib": float(moves.sum()) * spec.costs.expert_gib}


def _curve(spec: ExpertsSpec, problem: Problem, options: SolveOptions, clock: Clock) -> tuple[CurvePoint, ...]:
    if not spec.curves:
        return ()
    points = redundancy_curve(problem, seed=options.seed, clock=clock)
    if problem.routes is not None:
        points += hops_curve(problem, seed=options.seed, clock=clock)
    return points
