"""Why a request cannot be met, and the smallest change that would make it so.

Two kinds of reason: a request size that no GPU on offer serves within the SLO, found before any solve; and limits
that cannot hold together, found by leaving limits out until the rest can (a deletion filter: what stays is a smallest
set in conflict).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain

import numpy as np

from planner.program import Floats
from planner.serving.optimise import optimise
from planner.serving.pools import Pool, Question
from planner.serving.problem import Problem, prices
from planner.serving.spec import Service
from planner.types import Conflict, Relaxation, SolveOptions

_MOST_BUCKETS_NAMED = 8
_LATENCIES = ("ttft_ms", "tpot_ms", "e2e_ms")


def unservable(question: Question) -> tuple[Conflict, ...]:
    """One conflict per service with request sizes that no pool on offer can serve at any rate."""
    conflicts = []
    for s, (numbers, pools) in enumerate(zip(question.problem.services, question.pools, strict=True)):
        lost = np.flatnonzero(np.isinf(numbers.least_load))
        if lost.size:
            hosted = [pool for pool, runs in zip(pools, numbers.hosted.tolist(), strict=True) if runs]
            conflicts.append(_unservable_conflict(question, s, lost, hosted))
    return tuple(conflicts)


def _unservable_conflict(question: Question, s: int, lost: np.ndarray, pools: list[Pool]) -> Conflict:
    service, buckets = question.spec.services[s], question.buckets[s]
    total = sum(bucket.requests_per_s for bucket in buckets)
    named = [f"{buckets[b].label} ({buckets[b].requests_per_s / total:.2%} of requests)" for b in lost]
    more = f" and {lost.size - _MOST_BUCKETS_NAMED} more" if lost.size > _MOST_BUCKETS_NAMED else ""
    detail = f"no GPU on offer serves these sizes of {service.name!r}: {'; '.join(named[:_MOST_BUCKETS_NAMED])}{more}"
    if not pools:
        detail += "; no instance on offer holds a replica of any measured layout"
    profiles = [pool.profile for pool in pools if pool.profile is not None]
    if profiles and len(profiles) == len(pools):
        most_in, most_out = max(p.input_tokens[-1] for p in profiles), max(p.output_tokens[-1] for p in profiles)
        detail += f"; the rate profiles reach to {most_in:,} in, {most_out:,} out, and may hold 0 below that"
    capacities = [pool.capacity for pool in pools if pool.capacity is not None and pool.half is None]
    if capacities and all((c.binding[lost] == "context").any() for c in capacities):
        detail += "; they are longer than the model's context"
    elif capacities and all((c.binding[lost] == "memory").any() for c in capacities):
        detail += "; their KV cache does not fit beside the weights on any layout on offer"
    fastest = [{name: getattr(capacity, f"best_{name}")[lost] for name in _LATENCIES} for capacity in capacities]
    fastest += _fastest_split(pools, lost)
    relaxations = _nearest_slo(service, s, [buckets[b].label for b in lost], fastest)
    if not relaxations:
        detail += _nearest_together(service, fastest)
    constraints = tuple(relaxation.limit for relaxation in relaxations) or (f"services[{s}].workload",)
    return Conflict(constraints=constraints, detail=detail, relaxations=relaxations)


def _fastest_split(pools: list[Pool], lost: np.ndarray) -> list[dict[str, Floats]]:
    """Latencies of a prompt on the fastest prefill pool of each group, then decoded on its fastest decode pool."""
    halves = [pool.half for pool in pools if pool.half is not None]
    found = []
    for group in dict.fromkeys(half.group for half in halves):
        members = [half for half in halves if half.group == group]
        if {half.role for half in members} == {"prefill", "decode"}:
            best = {
                name: {role: np.min([getattr(h.phase, f"best_{name}")[lost] for h in members if h.role == role], axis=0)
                       for role in ("prefill", "decode")}
                for name in _LATENCIES
            }  # fmt: skip
            found.append({name: best[name]["prefill"] + best[name]["decode"] for name in _LATENCIES})
    return found


def _nearest_slo(service: Service, s: int, labels: list[str], pools: list[dict[str, Floats]]) -> tuple[Relaxation, ...]:
    """For each latency, the limit that alone would do: that of the fastest pool which meets all other limits."""
    limits = {name: getattr(service.slo, name) for name in _LATENCIES}
    relaxations = []
    for name, limit in limits.items():
        if limit is None or not pools:
            continue
        best = np.full(len(labels), np.inf)
        for latency in pools:
            meets = [latency[other] <= most for other, most in limits.items() if most is not None and other != name]
            best = np.minimum(best, np.where(np.all(meets, axis=0) if meets else True, latency[name], np.inf))
        nearest = float(best.max())
        if np.isfinite(nearest) and nearest > limit:
            needed = _just_above(nearest)
            relaxations.append(Relaxation(
                limit=f"services[{s}].slo.{name}", current=limit, needed=needed,
                detail=f"the fastest GPU on offer needs {nearest:,.4g} ms for {labels[int(best.argmax())]}",
            ))  # fmt: skip
    return tuple(relaxations)


def _just_above(latency_ms: float) -> float:
    """A latency limit with four digits that leaves some room: a replica at its very fastest serves next to nothing."""
    digit = 10.0 ** (math.floor(math.log10(latency_ms)) - 3)
    return round(math.ceil(latency_ms * 1.001 / digit) * digit, 6)


def _nearest_together(service: Service, pools: list[dict[str, Floats]]) -> str:
    """In words, the latencies that would do where no limit alone is the cause: those of the pool that is nearest."""
    limits = {name: getattr(service.slo, name) for name in _LATENCIES if getattr(service.slo, name) is not None}
    needed = [{name: float(latency[name].max()) for name in limits} for latency in pools]
    needed = [pool for pool in needed if all(np.isfinite(value) for value in pool.values())]
    if not limits or not needed:
        return ""
    nearest = min(needed, key=lambda pool: max(pool[name] / limits[name] for name in limits))
    if all(nearest[name] <= limits[name] for name in limits):
        return ""  # not the SLO is in the way
    wanted = ", ".join(f"{name}: {max(_just_above(nearest[name]), limits[name]):g}" for name in limits)
    return f"; no change of one latency alone would do, but together these would: {wanted}"


@dataclass(frozen=True)
class _Limit:
    """A limit of the problem: how to drop it, how to set it, and the problem whose objective is its use."""

    path: str
    value: float
    without: Callable[[Problem], Problem]
    least_use: Callable[[Problem], float | None]


def conflicting_limits(question: Question, options: SolveOptions) -> tuple[Conflict, ...]:
    """Smallest sets of limits that cannot hold together, and for each limit the value that alone would resolve its
    set. Sets have no limit in common: with several, one limit of each has to give.
    """
    deadline = time.perf_counter() + options.time_limit_s
    quick = options.model_copy(update={"time_limit_s": min(options.time_limit_s, 10.0), "gap": 1e-3})
    limits = _limits(question, quick)

    def feasible(problem: Problem) -> bool:
        return optimise(problem, quick).solution.outcome != "infeasible"

    cores: list[list[_Limit]] = []
    rest = question.problem
    while not cores or (time.perf_counter() < deadline and not feasible(rest)):
        core = _smallest_conflict(rest, [limit for limit in limits if limit not in chain(*cores)], feasible, deadline)
        cores.append(core)
        rest = _without(core, rest)
        if not core:
            break
    conflicts = []
    for core in cores:
        others = [limit for limit in chain(*cores) if limit not in core]
        conflicts.append(_limits_conflict(core, _without(others, question.problem), deadline))
    return tuple(conflicts)


def _without(limits: Iterable[_Limit], problem: Problem) -> Problem:
    for limit in limits:
        problem = limit.without(problem)
    return problem


def _smallest_conflict(
    problem: Problem, limits: list[_Limit], feasible: Callable[[Problem], bool], deadline: float
) -> list[_Limit]:
    """Limits of an infeasible problem of which none can be left out without making it feasible."""
    core = list(limits)
    for limit in limits:
        if time.perf_counter() > deadline:
            break
        smaller = limit.without(problem)
        if not feasible(smaller):
            problem = smaller
            core.remove(limit)
    return core


def _limits_conflict(core: list[_Limit], problem: Problem, deadline: float) -> Conflict:
    """The conflict of ``core``, with what each of its limits would have to be in ``problem``."""
    relaxations = []
    for limit in core:
        use = limit.least_use(limit.without(problem)) if time.perf_counter() < deadline else None
        if use is not None:
            relaxations.append(Relaxation(
                limit=limit.path, current=limit.value, needed=use,
                detail="the least that any mix within the other limits needs",
            ))  # fmt: skip
    detail = f"these limits cannot hold together: {', '.join(limit.path for limit in core)}"
    if len(core) == 1:
        detail = f"{core[0].path} = {core[0].value:,.6g} is too tight for the traffic and the SLOs"
    if not core:
        detail = "the traffic needs more replicas of a unit than the planner counts: is its rate meant?"
    return Conflict(constraints=tuple(limit.path for limit in core), detail=detail, relaxations=tuple(relaxations))


def _limits(question: Question, options: SolveOptions) -> list[_Limit]:
    problem = question.problem
    nothing = np.zeros(problem.offers.gpus.size)

    def least(per_instance: Floats, per_active_w: Floats) -> Callable[[Problem], float | None]:
        return partial(_least_use, per_instance, per_active_w, options)

    limits = [
        _Limit(cap.path, cap.limit, partial(_without_cap, cap.path), least(cap.weight, nothing)) for cap in problem.caps
    ]
    if problem.budget_usd_per_hour is not None:
        spent = least(*prices("cost", problem.offers))
        without = partial(replace, budget_usd_per_hour=None)
        limits.append(_Limit("limits.budget_usd_per_hour", problem.budget_usd_per_hour, without, spent))
    if problem.power_w is not None:
        drawn = least(*prices("power", problem.offers))
        limits.append(_Limit("limits.power_w", problem.power_w, partial(replace, power_w=None), drawn))
    if problem.max_gpu_types is not None:
        fewest = partial(_fewest_types, options=options)
        without = partial(replace, max_gpu_types=None)
        limits.append(_Limit("limits.max_gpu_types", float(problem.max_gpu_types), without, fewest))
    for s, service in enumerate(problem.services):
        if service.max_spot_fraction < 1 and service.spot.any():
            path = f"services[{s}].max_spot_fraction"
            least_spot = partial(_least_spot, s=s, options=options)
            limits.append(_Limit(path, service.max_spot_fraction, partial(_with_spot, s=s, fraction=1.0), least_spot))
    return limits


def _without_cap(path: str, problem: Problem) -> Problem:
    return replace(problem, caps=tuple(cap for cap in problem.caps if cap.path != path))


def _least_use(per_instance: Floats, per_active_w: Floats, options: SolveOptions, problem: Problem) -> float | None:
    """Least of a resource that a feasible answer needs; None where there is none."""
    target = replace(problem, per_instance=per_instance, per_active_w=per_active_w, goodput=False)
    if problem.goodput:  # any goodput will do, none included
        target = replace(target, services=tuple(replace(s, rate=0.0 * s.rate) for s in problem.services))
    return optimise(target, options).solution.objective


def _fewest_types(problem: Problem, *, options: SolveOptions) -> float | None:
    for count in range(1, int(problem.offers.gpu_type.max(initial=0)) + 2):
        if optimise(replace(problem, max_gpu_types=count), options).answer is not None:
            return float(count)
    return None


def _with_spot(problem: Problem, *, s: int, fraction: float) -> Problem:
    services = list(problem.services)
    services[s] = replace(services[s], max_spot_fraction=fraction)
    return replace(problem, services=tuple(services))


def _least_spot(problem: Problem, *, s: int, options: SolveOptions) -> float | None:
    """Smallest share on spot, to 1%, by bisection: feasibility is monotone in the share."""
    if optimise(problem, options).answer is None:
        return None
    low, high = 0, 100
    while high - low > 1:
        middle = (low + high) // 2
        if optimise(_with_spot(problem, s=s, fraction=middle / 100), options).answer is not None:
            high = middle
        else:
            low = middle
    return high / 100
