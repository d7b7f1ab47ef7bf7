"""Why the mix is what it is, in sentences."""

from __future__ import annotations

import numpy as np

from planner.figures import figure
from planner.program import Floats
from planner.serving.plan import Allocation, Route, ServingPlan
from planner.serving.pools import Question
from planner.serving.problem import UNIFIED


def explain(question: Question, plan: ServingPlan) -> tuple[str, ...]:
    """What each unit is for, how much the mix saves, what limits it, and how far its numbers can be trusted."""
    if not plan.allocation and question.problem.goodput:
        return ("Within the limits no mix serves all request sizes: nothing is worth renting. Loosen a limit.",)
    if not plan.allocation:
        return ("There is no traffic and no minimum of replicas: nothing needs to run.",)
    sentences = [_role(question, plan, unit) for unit in plan.allocation]
    sentences += _against_single_types(plan)
    sentences += _unified_or_split(plan)
    sentences += [
        f"{limit.limit} is used up ({limit.used:,.6g} of {limit.value:,.6g}); one {limit.unit} more would save "
        f"{figure(limit.saving_per_unit)} per hour."
        for limit in plan.binding_limits
        if limit.saving_per_unit and not question.problem.goodput
    ]
    sentences += _idle(plan)
    sentences += _trust(plan)
    return tuple(sentences)


def _role(question: Question, plan: ServingPlan, unit: Allocation) -> str:
    routes = [route for route in plan.routing if unit.unit in (route.unit, route.decode_unit)]
    total = sum(route.requests_per_s for route in plan.routing if route.service == unit.service)
    what = f"{unit.replicas} × {unit.gpu} ({unit.gpus_per_replica} GPU{'s' * (unit.gpus_per_replica > 1)} each)"
    carried = sum(route.requests_per_s for route in routes)
    if not carried:
        return f"{what} stands by for {unit.service}: a minimum of replicas asks for it."
    average_in = sum(r.requests_per_s * r.mean_input_tokens for r in routes) / carried
    average_out = sum(r.requests_per_s * r.mean_output_tokens for r in routes) / carried
    sizes = f", on average {average_in:,.0f} in and {average_out:,.0f} out" if unit.layout else ""
    does = {"unified": "carries", "prefill": "reads the prompts of", "decode": "decodes"}[unit.role]
    sentence = f"{what} {does} {carried / total:.0%} of {unit.service}'s requests{sizes}, {unit.utilisation:.0%} loaded"
    return f"{sentence}{_cost_against_others(question, unit, routes) if unit.role == 'unified' else ''}."


def _cost_against_others(question: Question, unit: Allocation, routes: list[Route]) -> str:
    """'; these cost $x per 1,000 requests here, $y on the next best GPU type', at full use of a replica."""
    s = [service.name for service in question.spec.services].index(unit.service)
    cost = _usd_per_request(question, s)
    if cost.size == 0:
        return ""
    pools, unified = question.pools[s], question.problem.services[s].roles == UNIFIED
    at = {(b.input_tokens, b.output_tokens): i for i, b in enumerate(question.buckets[s])}
    buckets = [at[route.input_tokens, route.output_tokens] for route in routes]
    weight = np.array([route.requests_per_s for route in routes])
    by_gpu = {
        gpu: float(cost[[i for i in np.flatnonzero(unified) if pools[i].gpu == gpu]].min(axis=0)[buckets] @ weight)
        for gpu in {pools[i].gpu for i in np.flatnonzero(unified)}
    }
    here = by_gpu.pop(unit.gpu)
    others = {gpu: usd for gpu, usd in by_gpu.items() if np.isfinite(usd)}
    per_thousand = 1000 / weight.sum()
    if not np.isfinite(here):
        return ""
    text = f"; at full use they cost ${here * per_thousand:.3g} per 1,000 requests here"
    if others:
        gpu = min(others, key=lambda name: (others[name], name))
        text += f", ${others[gpu] * per_thousand:.3g} on {gpu}"
        step, other_step = (_smallest_step(question, s, name) for name in (unit.gpu, gpu))
        if others[gpu] < here and other_step > step:
            text += f", whose smallest step is ${other_step:,.2f}/h against ${step:,.2f}/h"
    elif by_gpu:
        text += ", and no other GPU type on offer serves them all within the SLO"
    return text


def _smallest_step(question: Question, s: int, gpu: str) -> float:
    """Price of the cheapest instance with this GPU that holds a replica of the service."""
    held = np.flatnonzero(question.problem.services[s].hosts.any(axis=0))
    return min(question.offers[o].usd_per_hour for o in held if question.offers[o].gpu == gpu)


def _usd_per_request(question: Question, s: int) -> Floats:
    """[P, B] price of one request at full use, on the cheapest offer of each pool."""
    numbers, offers = question.problem.services[s], question.problem.offers
    per_gpu_hour = np.where(numbers.hosts, offers.usd_per_hour / offers.gpus, np.inf).min(axis=1, initial=np.inf)
    hourly = per_gpu_hour * numbers.gpus
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(numbers.capacity > 0, hourly[:, None] / (numbers.capacity * 3600), np.inf)


def _against_single_types(plan: ServingPlan) -> list[str]:
    priced = [b for b in plan.baselines if b.objective is not None]
    if not priced:
        return ["No single GPU type could serve this alone."] if len(plan.baselines) > 1 else []
    goodput = plan.spec.objective == "goodput"
    best = (max if goodput else min)(priced, key=lambda b: b.objective or 0.0)
    if len(plan.baselines) < 2 or not plan.savings_vs_best_single_type or plan.savings_vs_best_single_type < 1e-3:
        return []
    verb = "serves more" if goodput else "saves"
    return [f"Against the best single type ({best.gpu}) the mix {verb}: {plan.savings_vs_best_single_type:.0%}."]


def _unified_or_split(plan: ServingPlan) -> list[str]:
    best = {baseline.pools: baseline.objective for baseline in plan.pool_baselines if baseline.objective}
    if len(best) < 2:
        return []
    better = (max if plan.spec.objective == "goodput" else min)(best, key=lambda pools: best[pools])
    worse = "split" if better == "unified" else "unified"
    ratio = max(best.values()) / min(best.values())
    if ratio < 1 + 1e-3:
        return ["Split and unified pools come to the same here."]
    if plan.spec.objective == "goodput":
        return [f"Within the same limits {better} pools alone serve {ratio:.2f} × as much as {worse} pools alone."]
    return [f"For the same traffic {better} pools alone take {1 / ratio:.0%} of what {worse} pools alone take."]


def _idle(plan: ServingPlan) -> list[str]:
    return [
        f"{r.instances} × {r.instance_type} leaves {r.instances * r.gpus_per_instance - r.gpus_used} of "
        f"{r.instances * r.gpus_per_instance} GPUs free: instances are paid whole."
        for r in plan.rentals
        if r.gpus_used < r.instances * r.gpus_per_instance
    ]


def _trust(plan: ServingPlan) -> list[str]:
    """How much of the traffic rests on measurements, and the typical error of its rates."""
    total = sum(route.requests_per_s for route in plan.routing)
    if not total or all(route.origin == "given" for route in plan.routing):
        return []
    share = {
        origin: sum(r.requests_per_s for r in plan.routing if r.origin == origin) / total
        for origin in ("measured", "interpolated", "extrapolated", "roofline")
    }
    error = sum((r.relative_error or 0.0) * r.requests_per_s for r in plan.routing) / total
    parts = ", ".join(f"{value:.0%} {origin}" for origin, value in share.items() if value)
    text = f"Rates are {parts} (by traffic); typical error ±{error:.0%}."
    if share["roofline"] > 0:
        text += " Roofline rates come from datasheets alone: measure those units before relying on them."
    return [text]
