"""Answer a serving spec: pose it in numbers, optimise, write the plan, and say what else would be worth knowing."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np

from planner.serving.balance import balanced
from planner.serving.infeasible import conflicting_limits, unservable
from planner.serving.optimise import Optimum, optimise
from planner.serving.plan import Baseline, BindingLimit, ServingPlan
from planner.serving.pools import Question, pose
from planner.serving.problem import Problem, ServiceNumbers
from planner.serving.spec import ServingSpec
from planner.serving.write import write_plan
from planner.solver import SOLVER, relative_gap
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
    baselines, best = _baselines(question, optimum, options, extras_until)
    binding = _binding_limits(question, best, options, extras_until)
    if best.answer is not None:
        best = replace(best, answer=balanced(question.problem, best.answer, options))
    plan = write_plan(question, best, baselines, binding)
    return plan.model_copy(update={"profile_digest": facts.digest, "solve_seconds": time.perf_counter() - started})


def _without_mix(
    question: Question, facts: Facts, outcome: Outcome, conflicts: tuple[Conflict, ...], started: float
) -> ServingPlan:
    return ServingPlan(
        outcome=outcome, solver=SOLVER, spec=question.spec, conflicts=conflicts, profile_digest=facts.digest,
        solve_seconds=time.perf_counter() - started,
        explanation=tuple(conflict.detail for conflict in conflicts),
    )  # fmt: skip


def _baselines(
    question: Question, optimum: Optimum, options: SolveOptions, until: float
) -> tuple[tuple[Baseline, ...], Optimum]:
    """The cheapest plan of each single GPU type. Should one beat an unproven plan, it becomes the plan."""
    problem = question.problem
    baselines, best = [], optimum
    for gpu_type in np.unique(problem.offers.gpu_type):
        gpu = next(o.gpu for o, t in zip(question.offers, problem.offers.gpu_type, strict=True) if t == gpu_type)
        alone = problem.with_hosts(tuple(s.hosts & (problem.offers.gpu_type == gpu_type) for s in problem.services))
        lost = [_sizes_lost(service) for service in alone.services]
        if any(lost):
            total = sum(service.rate.size for service in alone.services)
            baselines.append(
                Baseline(
                    gpu=gpu, usd_per_hour=None, objective=None, detail=f"cannot serve {sum(lost)} of {total} sizes"
                )
            )
            continue
        remaining = until - time.perf_counter()
        if remaining <= 0:
            baselines.append(Baseline(gpu=gpu, usd_per_hour=None, objective=None, detail="not computed: time limit"))
            continue
        single = optimise(alone, options.model_copy(update={"time_limit_s": remaining}))
        if single.answer is None:
            why = {"infeasible": "cannot meet the limits alone"}.get(single.solution.outcome, "not found in time")
            baselines.append(Baseline(gpu=gpu, usd_per_hour=None, objective=None, detail=why))
            continue
        value = _objective(problem, single)
        usd = float(single.answer.instances @ problem.offers.usd_per_hour)
        baselines.append(Baseline(gpu=gpu, usd_per_hour=usd, objective=value))
        if (
            single.solution.objective is not None
            and single.solution.objective < (best.solution.objective or 0.0) - 1e-9
        ):
            best = _adopted(optimum, single, options)
    return tuple(baselines), best


def _sizes_lost(service: ServiceNumbers) -> int:
    """How many request sizes no pool can serve."""
    return int((service.reachable <= 0).all(axis=0).sum())


def _adopted(proven: Optimum, better: Optimum, options: SolveOptions) -> Optimum:
    """``better``'s mix under ``proven``'s bound: its own holds for one GPU type only."""
    gap = relative_gap(better.solution.objective, proven.solution.bound)
    outcome: Outcome = "optimal" if gap is not None and gap <= options.gap else "feasible"
    return replace(better, solution=replace(better.solution, bound=proven.solution.bound, outcome=outcome))


def _objective(problem: Problem, optimum: Optimum) -> float | None:
    """The objective as people read it: goodput in requests/s, everything else as minimised."""
    value = optimum.solution.objective
    if value is None or not problem.goodput:
        return value
    return abs(value) * float(sum(service.rate.sum() for service in problem.services))


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
