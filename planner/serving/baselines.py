"""What else could have been rented: one GPU type alone, unified pools alone, split pools alone.

Each is the same question with fewer choices. Where the plan itself is unproven, one of them may be better: it is then
the plan, under the bound of the whole question.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from planner.program import Bools
from planner.serving.optimise import Optimum, optimise
from planner.serving.plan import Baseline, PoolBaseline
from planner.serving.pools import Question
from planner.serving.problem import UNIFIED, Problem, ServiceNumbers
from planner.solver import relative_gap
from planner.types import Outcome, SolveOptions


def single_types(
    question: Question, optimum: Optimum, options: SolveOptions, until: float
) -> tuple[tuple[Baseline, ...], Optimum]:
    """The best plan of each single GPU type, and the best plan of all."""
    problem = question.problem
    baselines, best = [], optimum
    for gpu_type in np.unique(problem.offers.gpu_type):
        gpu = next(o.gpu for o, t in zip(question.offers, problem.offers.gpu_type, strict=True) if t == gpu_type)
        hosts = tuple(s.hosts & (problem.offers.gpu_type == gpu_type) for s in problem.services)
        found = _not_offered(question, hosts) or _restricted(problem, optimum, hosts, options, until)
        best = found.better(best)
        baselines.append(
            Baseline(gpu=gpu, usd_per_hour=found.usd_per_hour, objective=found.objective, detail=found.detail)
        )
    return tuple(baselines), best


def unified_or_split(
    question: Question, optimum: Optimum, options: SolveOptions, until: float
) -> tuple[tuple[PoolBaseline, ...], Optimum]:
    """The best plans with unified pools only and with split pools only, where both are there, and the best of all.

    A service that may be either stays within each; one that may only be unified, or only split, stays as it is.
    """
    problem = question.problem
    either = [bool((s.roles == UNIFIED).any() and (s.roles != UNIFIED).any()) for s in problem.services]
    if not any(either):
        return (), optimum
    baselines, best = [], optimum
    kinds: tuple[Literal["unified", "split"], ...] = ("unified", "split")
    for pools in kinds:
        hosts = tuple(
            s.hosts & ((s.roles == UNIFIED) == (pools == "unified"))[:, None] if free else s.hosts
            for s, free in zip(problem.services, either, strict=True)
        )
        found = _restricted(problem, optimum, hosts, options, until)
        best = found.better(best)
        baselines.append(
            PoolBaseline(pools=pools, usd_per_hour=found.usd_per_hour, objective=found.objective, detail=found.detail)
        )
    return tuple(baselines), best


@dataclass(frozen=True)
class _Found:
    """The best of a restricted question; ``detail`` says why there is none."""

    usd_per_hour: float | None = None
    objective: float | None = None
    detail: str = ""
    optimum: Optimum | None = None

    def better(self, than: Optimum) -> Optimum:
        """The optimum found where it beats ``than``, else ``than``."""
        if self.optimum is None or self.optimum.solution.objective is None or than.solution.objective is None:
            return than
        return self.optimum if self.optimum.solution.objective < than.solution.objective - 1e-9 else than


def _not_offered(question: Question, hosts: tuple[Bools, ...]) -> _Found | None:
    """Why a service has no pool at all under these hosts, where that is so."""
    for service, hosted, numbers in zip(question.spec.services, hosts, question.problem.services, strict=True):
        if numbers.rate.size and not hosted.any():
            estimate = "" if service.allow_roofline else "; allow_roofline: true would estimate it"
            return _Found(detail=f"not measured with {service.model}, or holds no replica of it{estimate}")
    return None


def _restricted(
    problem: Problem, optimum: Optimum, hosts: tuple[Bools, ...], options: SolveOptions, until: float
) -> _Found:
    alone = problem.with_hosts(hosts)
    lost = [_sizes_lost(service) for service in alone.services]
    if any(lost):
        total = sum(service.rate.size for service in alone.services)
        return _Found(detail=f"cannot serve {sum(lost)} of {total} sizes")
    remaining = until - time.perf_counter()
    if remaining <= 0:
        return _Found(detail="not computed: time limit")
    found = optimise(alone, options.model_copy(update={"time_limit_s": remaining}))
    if found.answer is None:
        why = {"infeasible": "cannot meet the limits alone"}.get(found.solution.outcome, "not found in time")
        return _Found(detail=why)
    usd = float(found.answer.instances @ problem.offers.usd_per_hour)
    return _Found(usd, _objective(problem, found), optimum=_adopted(optimum, found, options))


def _sizes_lost(service: ServiceNumbers) -> int:
    """How many request sizes no pool can serve."""
    return int(np.isinf(service.least_load).sum())


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
