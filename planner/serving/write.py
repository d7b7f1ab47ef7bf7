"""From counts and shares to the plan that people and systems read."""

from __future__ import annotations

import numpy as np

from planner.program import Bools, Floats, Ints
from planner.serving.explain import explain
from planner.serving.offers import Offer
from planner.serving.optimise import Optimum
from planner.serving.plan import (
    HOURS_PER_MONTH,
    Allocation,
    Baseline,
    BindingLimit,
    PoolBaseline,
    Rental,
    Route,
    ServingPlan,
)
from planner.serving.pools import Pool, Question
from planner.serving.problem import Answer, ServiceNumbers
from planner.serving.split import matched
from planner.solver import SOLVER

_NOTHING = 1e-7
"""A share below this is solver noise."""


def write_plan(
    question: Question, optimum: Optimum, baselines: tuple[Baseline, ...], pool_baselines: tuple[PoolBaseline, ...],
    binding: tuple[BindingLimit, ...],
) -> ServingPlan:  # fmt: skip
    """The plan of a solved question."""
    answer, solution, problem = optimum.answer, optimum.solution, question.problem
    if answer is None:
        raise ValueError("write_plan needs an answer")
    if problem.goodput and answer.scale <= _NOTHING and not any(s.min_replicas for s in problem.services):
        answer = _nothing_rented(answer)  # not even all sizes can be served within the limits: a part is of no use
    demand = float(sum(service.rate.sum() for service in problem.services))
    sign = -demand if problem.goodput else 1.0
    objective = None if solution.objective is None else solution.objective * sign + 0.0  # no −0.0
    usd_per_hour = float(answer.instances @ problem.offers.usd_per_hour)
    watts, grams = _power(question, answer)
    allocation, routing = [], []
    usd_per_gpu_hour = _usd_per_used_gpu(question, answer)
    for s in range(len(problem.services)):
        share = _clean(problem.services[s], answer.share[s], answer.scale, answer.replicas[s].sum(axis=1) > 0)
        allocation += _allocations(question, answer, s, share, usd_per_gpu_hour)
        routing += _routes(question, answer, s, share)
    plan = ServingPlan(
        outcome=solution.outcome,
        objective=objective,
        bound=None if solution.bound is None else solution.bound * sign,
        gap=solution.gap,
        solver=SOLVER,
        spec=question.spec,
        usd_per_hour=usd_per_hour,
        usd_per_month=usd_per_hour * HOURS_PER_MONTH,
        usd_per_million_tokens=_usd_per_million_tokens(question, usd_per_hour, answer.scale),
        power_w=watts,
        kg_co2_per_hour=None if grams is None else grams / 1000,
        requests_per_s=demand * answer.scale,
        allocation=tuple(allocation),
        rentals=_rentals(question, answer),
        routing=tuple(routing),
        baselines=baselines,
        pool_baselines=pool_baselines,
        savings_vs_best_single_type=_savings(objective, baselines, goodput=problem.goodput),
        binding_limits=binding,
    )
    return plan.model_copy(update={"explanation": explain(question, plan)})


def _nothing_rented(answer: Answer) -> Answer:
    return Answer(
        tuple(0 * counts for counts in answer.replicas), 0 * answer.instances,
        tuple(0.0 * share for share in answer.share), 0.0,
    )  # fmt: skip


def _clean(service: ServiceNumbers, share: Floats, scale: float, running: Bools) -> Floats:
    """[P, B] shares of each bucket that sum to 1 exactly over the pools where requests arrive, and for decode pools to
    what their group reads; without solver noise: tiny, or on pools [P] not running.
    """
    share = share / (scale or 1.0)
    share = np.where((share > _NOTHING) & running[:, None], share, 0.0)
    for prefill, decode in service.phases:
        share[prefill] *= share[decode].sum(axis=0) > 0
    total = share[service.admits].sum(axis=0)
    share[service.admits] = np.divide(share, total, out=np.zeros_like(share), where=total > 0)[service.admits]
    for prefill, decode in service.phases:
        read, decoded = share[prefill].sum(axis=0), share[decode].sum(axis=0)
        share[decode] *= np.divide(read, decoded, out=np.zeros_like(read), where=decoded > 0)
    return np.asarray(share)


def _usd_per_used_gpu(question: Question, answer: Answer) -> Floats:
    """[O] price of an hour of each GPU that is used: instances are paid whole, so idle GPUs weigh on the used ones."""
    used = _gpus_used(question, answer)
    paid = answer.instances * question.problem.offers.usd_per_hour
    return np.asarray(np.divide(paid, used, out=np.zeros(used.shape), where=used > 0))


def _gpus_used(question: Question, answer: Answer) -> Floats:
    used = np.zeros(len(question.offers))
    for service, counts in zip(question.problem.services, answer.replicas, strict=True):
        used += service.gpus @ counts
    return used


def unit_name(question: Question, s: int, pool: Pool, offer: Offer) -> str:
    """Unique over the plan: what runs, and where."""
    service = question.spec.services[s].name
    return f"{service}/{pool.name}" if pool.unit is not None else f"{service}/{pool.name} @ {offer.place}"


def _allocations(
    question: Question, answer: Answer, s: int, share: Floats, usd_per_gpu_hour: Floats
) -> list[Allocation]:
    numbers, counts = question.problem.services[s], answer.replicas[s]
    load = np.where(share > 0, numbers.load, 0.0) * numbers.max_utilisation * answer.scale
    busy = (np.where(share > 0, share, 0.0) * load).sum(axis=1)
    rows = []
    for p, o in zip(*np.nonzero(counts), strict=True):
        pool, offer = question.pools[s][p], question.offers[o]
        known = offer.idle_w is not None
        idle_w = float(question.problem.offers.idle_w[o]) / offer.num_gpus * pool.num_gpus
        rows.append(Allocation(
            unit=unit_name(question, s, pool, offer), service=question.spec.services[s].name, role=pool.role,
            gpu=pool.gpu, gpus_per_replica=pool.num_gpus,
            precision=pool.layout.precision if pool.layout else "as given",
            engine=pool.layout.engine if pool.layout else "as given", layout=pool.layout, provider=offer.provider,
            instance_type=offer.instance_type, region=offer.region, market=offer.market, replicas=int(counts[p, o]),
            utilisation=float(busy[p] / counts[p].sum()),
            usd_per_hour=float(usd_per_gpu_hour[o] * counts[p, o] * pool.num_gpus),
            power_w=float(counts[p, o] * (idle_w + numbers.active_w[p])) if known else None,
        ))  # fmt: skip
    return rows


def _routes(question: Question, answer: Answer, s: int, share: Floats) -> list[Route]:
    """Shares of each bucket by unit; a pool on several offers splits its share by replicas."""
    numbers = question.problem.services[s]
    whole = np.flatnonzero(numbers.groups < 0)
    rows = []
    for b in range(len(question.buckets[s])):
        for unit, fraction in _by_unit(answer, s, b, whole, share):
            rows.append(_route(question, s, b, unit, fraction, answer.scale))
        for prefill, decode in numbers.phases:
            readers, decoders = (_by_unit(answer, s, b, pools, share) for pools in (prefill, decode))
            for reader, decoder, fraction in matched(readers, decoders):
                rows.append(_split_route(question, s, b, reader, decoder, fraction, answer.scale))
    return rows


_Unit = tuple[int, int]
"""A pool on an offer."""


def _by_unit(answer: Answer, s: int, b: int, pools: Ints, share: Floats) -> list[tuple[_Unit, float]]:
    """Units of ``pools`` that take a part of bucket b, with the part."""
    counts = answer.replicas[s]
    return [
        ((int(p), int(o)), float(share[p, b] * counts[p, o] / counts[p].sum()))
        for p in pools[share[pools, b] > 0]
        for o in np.flatnonzero(counts[p])
    ]


def _split_route(
    question: Question, s: int, b: int, reader: _Unit, decoder: _Unit, fraction: float, scale: float
) -> Route:
    """The route of requests whose prompt one unit reads and that another decodes."""
    read, decode = question.pools[s][reader[0]], question.pools[s][decoder[0]]
    if read.half is None or decode.half is None or read.capacity is None or decode.capacity is None:
        raise ValueError("only halves hand requests over")
    prompt, tokens = read.half.phase, decode.half.phase
    capacities = (read.capacity, decode.capacity)
    guessed = any(str(c.origin[b]) == "roofline" for c in capacities)
    return _route(question, s, b, reader, fraction, scale).model_copy(update={
        "decode_unit": unit_name(question, s, decode, question.offers[decoder[1]]),
        "decode_requests_per_s_per_replica": float(tokens.requests_per_s[b]),
        "kv_transfer_ms": float(tokens.transfer_ms[b]),
        "concurrency": float(tokens.concurrency[b]), "ttft_ms": float(prompt.ttft_ms[b]),
        "tpot_ms": float(tokens.tpot_ms[b]), "e2e_ms": float(prompt.e2e_ms[b] + tokens.e2e_ms[b]),
        # What was measured did both phases: alone, each is a step beyond.
        "origin": "roofline" if guessed else "extrapolated",
        "relative_error": max(float(c.relative_error[b]) for c in capacities),
        "num_measurements": read.capacity.num_rows,
    })  # fmt: skip


def _route(question: Question, s: int, b: int, unit: _Unit, fraction: float, scale: float) -> Route:
    p, pool, offer = unit[0], question.pools[s][unit[0]], question.offers[unit[1]]
    bucket, capacity = question.buckets[s][b], pool.capacity
    predicted = {} if capacity is None else {
        "concurrency": float(capacity.concurrency[b]), "ttft_ms": float(capacity.ttft_ms[b]),
        "tpot_ms": float(capacity.tpot_ms[b]), "e2e_ms": float(capacity.e2e_ms[b]),
        "relative_error": float(capacity.relative_error[b]), "num_measurements": capacity.num_rows,
    }  # fmt: skip
    return Route(
        service=question.spec.services[s].name, input_tokens=bucket.input_tokens, output_tokens=bucket.output_tokens,
        mean_input_tokens=bucket.size[0], mean_output_tokens=bucket.size[1],
        unit=unit_name(question, s, pool, offer), fraction=fraction,
        requests_per_s=fraction * bucket.requests_per_s * scale,
        requests_per_s_per_replica=float(question.problem.services[s].capacity[p, b]),
        origin="given" if capacity is None else str(capacity.origin[b]), **predicted,
    )  # fmt: skip


def _rentals(question: Question, answer: Answer) -> tuple[Rental, ...]:
    used = _gpus_used(question, answer)
    return tuple(
        Rental(
            provider=offer.provider, instance_type=offer.instance_type, region=offer.region, market=offer.market,
            gpu=offer.gpu, gpus_per_instance=offer.num_gpus, instances=int(count), gpus_used=int(gpus),
            usd_per_instance_hour=offer.usd_per_hour, usd_per_hour=float(count * offer.usd_per_hour),
        )
        for offer, count, gpus in zip(question.offers, answer.instances, used, strict=True)
        if count
    )  # fmt: skip


def _power(question: Question, answer: Answer) -> tuple[float | None, float | None]:
    """(W, g CO2/h) of the mix with every replica busy; None where a rented offer's power or grid is not known."""
    rented = [offer for offer, count in zip(question.offers, answer.instances, strict=True) if count]
    if any(offer.idle_w is None for offer in rented):
        return None, None
    watts = question.problem.watts(answer)
    grams = None
    if all(offer.g_co2_per_kwh is not None for offer in rented):
        grams = float(watts @ question.problem.offers.g_co2_per_kwh) / 1000
    return float(watts.sum()), grams


def _usd_per_million_tokens(question: Question, usd_per_hour: float, scale: float) -> float | None:
    """Price per million tokens, input and output together; None where ranges do not say how long requests are."""
    if any(pool.unit is not None for pools in question.pools for pool in pools):
        return None
    tokens_per_s = scale * sum(b.requests_per_s * sum(b.size) for buckets in question.buckets for b in buckets)
    return usd_per_hour / (tokens_per_s * 3600 / 1e6) if tokens_per_s else None


def _savings(objective: float | None, baselines: tuple[Baseline, ...], *, goodput: bool) -> float | None:
    """Share of the best single type's objective that the mix saves (goodput: share of the mix's that it lacks)."""
    alone = [b.objective for b in baselines if b.objective is not None]
    if objective is None or not alone:
        return None
    if goodput:
        return max(1 - max(alone) / objective, 0.0) if objective else None
    return max(1 - objective / min(alone), 0.0) if min(alone) else None
