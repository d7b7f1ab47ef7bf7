"""Answer a serving spec: pose it in numbers, optimise, write the plan, and say what else would be worth knowing."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from planner.serving.balance import balanced
from planner.serving.baselines import single_types, unified_or_split
from planner.serving.infeasible import conflicting_limits, unservable
from planner.serving.optimise import Optimum, optimise
from planner.serving.plan import BindingLimit, ServingPlan
from planner.serving.pools import Question, pose
from planner.serving.problem import Problem
from planner.serving.spec import ServingSpec
from planner.serving.write import write_plan
from planner.solver import SOLVER
from planner.types import Conflict, Outcome, SolveOptions
from profiles.types import Facts


def solve(spec: ServingSpec, facts: Facts, options: SolveOptions) -> ServingPlan:
    """The best mix for ``spec``. ``options.time_limit_s`` covers the plan itself; baselines get as long again at most.

    Raises
    ------
    InvalidInput, UnknownName, MissingProfile
        As ``planner.serving.pools.pose`` says. Infeasible and unfinished requests are plans that say so.
    """
    started = time.perf_counter()
    question = pose(spec, facts)
    conflicts = unservable(question)
    if conflicts:
        return _without_mix(question, facts, "infeasible", conflicts, started)
    optimum = optimise(question.problem, options)
    if optimum.answer is None:
        if optimum.solution.outcome == "infeasible":
            conflicts = conflicting_limits(question, options)
        return _without_mix(question, facts, optimum.solution.outcome, conflicts, started)
    extras_until = time.perf_counter() + options.time_limit_s
    pool_baselines, best = unified_or_split(question, optimum, options, extras_until)
    baselines, best = single_types(question, best, options, extras_until)
    binding = _binding_limits(question, best, options, extras_until)
    if best.answer is not None:
        best = replace(best, answer=balanced(question.problem, best.answer, options))
    plan = write_plan(question, best, baselines, pool_baselines, binding)
    return plan.model_copy(update={"profile_digest": facts.digest, "solve_seconds": time.perf_counter() - started})


def _without_mix(
    question: Question, facts: Facts, outcome: Outcome, conflicts: tuple[Conflict, ...], started: float
) -> ServingPlan:
    return ServingPlan(
        outcome=outcome, solver=SOLVER, spec=question.spec, conflicts=conflicts, profile_digest=facts.digest,
        solve_seconds=time.perf_counter() - started,
        explanation=tuple(conflict.detail for conflict in conflicts),
    )  # fmt: skip


def _binding_limits(
    question: Question, optimum: Optimum, options: SolveOptions, until: float
) -> tuple[BindingLimit, ...]:
    """Every limit that is used up, or that one unit more of would help, and what that unit is worth.

    Found by solving again with it: whole counts can make a limit cost something while part of it lies idle.
    """
    problem, answer = question.problem, optimum.answer
    if answer is None:
        return ()
    binding = []
    for path, value, used, step, unit, relaxed in _candidates(question, optimum):
        saving = _saving(optimum, relaxed, options, until)
        if used > value - step + 1e-9 or saving:
            if saving is not None and problem.goodput:
                saving *= float(sum(service.rate.sum() for service in problem.services))
            binding.append(BindingLimit(limit=path, value=value, used=used, saving_per_unit=saving, unit=unit))
    return tuple(binding)


def _saving(optimum: Optimum, relaxed: Problem, options: SolveOptions, until: float) -> float | None:
    """How much better the optimum of ``relaxed`` is; 0 within the gap, None where there was no time to find out."""
    remaining, now = until - time.perf_counter(), optimum.solution.objective
    if remaining <= 0 or now is None:
        return None
    looser = optimise(relaxed, options.model_copy(update={"time_limit_s": remaining})).solution.objective
    if looser is None:
        return None
    return now - looser if now - looser > options.gap * abs(now) else 0.0


def _candidates(question: Question, optimum: Optimum) -> list[tuple[str, float, float, float, str, Problem]]:
    """(path, limit, used, one unit, its name, the problem with one unit more) of every limit."""
    problem, answer = question.problem, optimum.answer
    if answer is None:
        return []
    found: list[tuple[str, float, float, float, str, Problem]] = []
    for k, cap in enumerate(problem.caps):
        if not cap.weight.any():
            continue
        step = float(cap.weight[cap.weight > 0].min())
        caps = (*problem.caps[:k], replace(cap, limit=cap.limit + step), *problem.caps[k + 1 :])
        unit = (
            f"{step:g} GPUs" if "max_gpus" in cap.path and step > 1 else "GPU" if "max_gpus" in cap.path else "instance"
        )
        used = float(cap.weight @ answer.instances)
        found.append((cap.path, cap.limit, used, step, unit, replace(problem, caps=caps)))
    if problem.budget_usd_per_hour is not None and problem.goodput:
        used = float(problem.offers.usd_per_hour @ answer.instances)
        budget = problem.budget_usd_per_hour
        more = replace(problem, budget_usd_per_hour=budget + 1)
        found.append(("limits.budget_usd_per_hour", budget, used, 1.0, "$/h", more))
    if problem.power_w is not None:
        used = float(problem.watts(answer).sum())
        more = replace(problem, power_w=problem.power_w + 1000)
        found.append(("limits.power_w", problem.power_w, used, 1000.0, "kW", more))
    if problem.max_gpu_types is not None:
        used = float(np.unique(problem.offers.gpu_type[answer.instances > 0]).size)
        more = replace(problem, max_gpu_types=problem.max_gpu_types + 1)
        found.append(("limits.max_gpu_types", float(problem.max_gpu_types), used, 1.0, "GPU type", more))
    for s, service in enumerate(problem.services):
        total = float(service.rate.sum())
        if service.max_spot_fraction < 1 and service.spot.any() and total:
            share = answer.share[s][service.spot]
            used = float((share @ service.rate).sum()) / total / answer.scale
            services = list(problem.services)
            services[s] = replace(service, max_spot_fraction=min(service.max_spot_fraction + 0.01, 1.0))
            more = replace(problem, services=tuple(services))
            path = f"services[{s}].max_spot_fraction"
            found.append((path, service.max_spot_fraction, used, 0.01, "1% of requests", more))
    return found
