"""Proof that a serving plan holds, re-derived from its spec and the facts alone.

Shares no code with the formulation: demand, capacity, latencies, memory, packing, prices, limits and sums are worked
out again here, the plain way, replica by replica where that is plainest.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator

from planner.serving.check_split import split_layouts, split_route
from planner.serving.plan import HOURS_PER_MONTH, Allocation, Rental, Route, ServingPlan
from planner.serving.spec import RateUnit, Service
from planner.types import Check, Violation, broken
from profiles.names import KnownNames
from profiles.performance import PerformanceModel, performance_of
from profiles.rates import sustained
from profiles.types import Facts, Market

_RELATIVE = 1e-5
"""Sums of solver results are compared to this relative accuracy."""


def check(plan: ServingPlan, facts: Facts) -> Check:
    """Every constraint of ``plan.spec`` that ``plan`` breaks. A plan without a mix passes if it rents nothing."""
    if plan.outcome in ("infeasible", "no_solution"):
        rented = [Violation(constraint="outcome", detail=f"{plan.outcome}, yet it rents {r.instance_type}")
                  for r in plan.rentals]  # fmt: skip
        return Check(passed=not rented, violations=tuple(rented))
    names = KnownNames.of(facts)
    violations = (
        *_demand(plan),
        *_capacity(plan),
        *_profiles(plan, facts, names),
        *_replica_rules(plan),
        *split_layouts(plan),
        *_places(plan, facts, names),
        *_packing(plan),
        *_limits(plan),
        *_sums(plan, names),
    )
    return Check(passed=not violations, violations=violations)


def _differs(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return (a is None) != (b is None)
    return not math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=1e-6)


def _exceeds(value: float, limit: float) -> bool:
    return value > limit * (1 + _RELATIVE) + 1e-9


def _services(plan: ServingPlan) -> Iterator[tuple[Service, list[Allocation], list[Route]]]:
    for service in plan.spec.services:
        yield (
            service,
            [a for a in plan.allocation if a.service == service.name],
            [r for r in plan.routing if r.service == service.name],
        )


def _scale(plan: ServingPlan) -> float:
    """All traffic times this is served: 1 except when goodput is maximised."""
    demand = sum(b.requests_per_s for s in plan.spec.services for b in s.workload.all_buckets())
    return plan.requests_per_s / demand if demand and plan.spec.objective == "goodput" else 1.0


def _demand(plan: ServingPlan) -> Iterator[Violation]:
    """Every request size is routed, once in sum, to units that exist."""
    scale = _scale(plan)
    if plan.spec.objective == "goodput" and _differs(plan.requests_per_s, plan.objective):
        yield broken("objective", f"serves {plan.requests_per_s} requests/s but claims {plan.objective}")
    for service, allocation, routes in _services(plan):
        units = {a.unit for a in allocation}
        served = service.workload.all_buckets() if scale else ()
        expected = {(b.input_tokens, b.output_tokens): b for b in served}
        routed: dict[object, float] = defaultdict(float)
        for route in routes:
            size = (route.input_tokens, route.output_tokens)
            bucket = expected.get(size)
            if bucket is None or (route.mean_input_tokens, route.mean_output_tokens) != bucket.size:
                yield broken("demand", f"{service.name}: routes a size that is not in the workload: {size}")
                continue
            for unit in {route.unit, route.decode_unit or route.unit} - units:
                yield broken("demand", f"{service.name}: routes {bucket.label} to {unit}, which does not run")
            if not 0 <= route.fraction <= 1 + _RELATIVE:
                yield broken("demand", f"{service.name}: {route.fraction} is not a fraction of {bucket.label}")
            if _differs(route.requests_per_s, route.fraction * bucket.requests_per_s * scale):
                yield broken("demand", f"{service.name}: {bucket.label}: rate and fraction do not agree")
            routed[size] += route.fraction
        for size, bucket in expected.items():
            if _differs(routed[size], 1.0):
                yield broken("demand", f"{service.name}: {routed[size]:.6g} of {bucket.label} is served, not all of it")


def _pools(allocation: list[Allocation]) -> dict[object, list[Allocation]]:
    """Replicas that stand in for each other: one layout (or given unit) in one role on one market class; those of a
    split service in one place.
    """
    pools: dict[object, list[Allocation]] = defaultdict(list)
    for a in allocation:
        place = () if a.role == "unified" else (a.role, a.provider, a.region)
        pools[a.layout or a.instance_type, a.market == "spot", place].append(a)
    return pools


def _capacity(plan: ServingPlan) -> Iterator[Violation]:
    """No unit is planned beyond its highest utilisation, its spare replicas standing idle."""
    for service, allocation, routes in _services(plan):
        busy: dict[str, float] = defaultdict(float)
        for route in routes:
            if route.requests_per_s_per_replica <= 0:
                yield broken("capacity", f"{route.unit} cannot serve {route.input_tokens} in {route.output_tokens} out")
                continue
            busy[route.unit] += route.requests_per_s / route.requests_per_s_per_replica
            if route.decode_unit is not None and route.decode_requests_per_s_per_replica:
                busy[route.decode_unit] += route.requests_per_s / route.decode_requests_per_s_per_replica
        for members in _pools(allocation).values():
            replicas = sum(a.replicas for a in members)
            work = sum(busy[a.unit] for a in members)
            usable = (replicas - service.spare_replicas) * service.planned_load
            if _exceeds(work, max(usable, 0.0)):
                yield broken("capacity", f"{members[0].unit}: {work:.6g} busy replicas of {usable:.6g} usable")
            for a in members:
                if a.replicas < 1:
                    yield broken("capacity", f"{a.unit}: {a.replicas} replicas are none")
                elif _differs(a.utilisation, work / replicas):
                    yield broken("capacity", f"{a.unit}: utilisation is {work / replicas:.6g}, not {a.utilisation:.6g}")


def _profiles(plan: ServingPlan, facts: Facts, names: KnownNames) -> Iterator[Violation]:
    """Rates are what the profiles (or the spec) say, meet the SLO, and fit in memory."""
    performance = performance_of(facts)
    for service, allocation, routes in _services(plan):
        by_unit = {a.unit: a for a in allocation if a.replicas > 0}
        for route in routes:
            unit = by_unit.get(route.unit)
            if unit is None:
                continue  # reported by _demand or _capacity
            if service.rate_profiles is not None:
                yield from _profiled_rate(facts, unit, route)
            elif unit.layout is None:
                yield from _given_rate(service, unit, route)
            elif unit.layout.model != names.model(service.model):
                yield broken("model", f"{unit.unit} runs {unit.layout.model}, not {service.model}")
            elif unit.role != "unified":
                yield from split_route(performance, service, unit, by_unit.get(route.decode_unit or ""), route)
            else:
                yield from _predicted_rate(performance, service, unit, route)


def _given_rate(service: Service, unit: Allocation, route: Route) -> Iterator[Violation]:
    given = {u.name: u for u in service.units or ()}.get(unit.instance_type.removeprefix(f"{service.name}/"))
    distribution = service.workload.distribution
    if given is None or distribution is None:
        yield broken("unit", f"{unit.unit} is not in the spec")
        return
    i, j = (
        distribution.input_tokens.index(route.input_tokens[0]),
        distribution.output_tokens.index(route.output_tokens[0]),
    )
    if _differs(given.requests_per_s[i][j], route.requests_per_s_per_replica):
        yield broken("unit", f"{unit.unit} sustains {given.requests_per_s[i][j]} there by the spec")


def _profiled_rate(facts: Facts, unit: Allocation, route: Route) -> Iterator[Violation]:
    name = unit.unit.split("/", 1)[1].split(" @ ")[0].removesuffix(" spot")
    profile = next((p for p in facts.rate_profiles if p.name == name), None)
    if profile is None or (profile.gpu, profile.num_gpus) != (unit.gpu, unit.gpus_per_replica):
        yield broken("unit", f"{unit.unit} is no rate profile in the store")
    elif _exceeds(
        route.requests_per_s_per_replica, sustained(profile, route.mean_input_tokens, route.mean_output_tokens)
    ):
        yield broken(
            "capacity", f"{unit.unit} was not measured to sustain {route.requests_per_s_per_replica} requests/s"
        )


def _predicted_rate(
    performance: PerformanceModel, service: Service, unit: Allocation, route: Route
) -> Iterator[Violation]:
    if unit.layout is None or route.concurrency is None or route.concurrency <= 0:
        yield broken("slo", f"{route.unit}: no concurrency is given")
        return
    size = (route.mean_input_tokens, route.mean_output_tokens)
    at = performance.predict(unit.layout, *size, route.concurrency, service.slo.percentile, serving=True)
    where = f"{unit.unit}, {size[0]:.0f} in {size[1]:.0f} out at concurrency {route.concurrency:.4g}"
    for name in ("ttft_ms", "tpot_ms", "e2e_ms"):
        limit, value = getattr(service.slo, name), float(getattr(at, name))
        if limit is not None and _exceeds(value, limit):
            yield broken("slo", f"{where}: {name} is {value:.5g}, over {limit:g}")
        if _differs(getattr(route, name), value):
            yield broken("slo", f"{where}: {name} is {value:.5g}, not {getattr(route, name)}")
    if _exceeds(route.requests_per_s_per_replica, float(at.requests_per_s)):
        yield broken("capacity", f"{where}: sustains {float(at.requests_per_s):.5g} requests/s, less than planned")
    memory = performance.memory(unit.layout)
    if memory is not None and memory.kv_gib <= 0:
        detail = f"{unit.unit}: {memory.weights_gib:.1f} GiB of weights leave no room for a KV cache"
        yield broken("memory", detail)
    elif memory is not None and _exceeds(max(route.concurrency, 1.0) * size[0], memory.max_tokens):
        yield broken("memory", f"{where}: the KV cache holds {memory.max_tokens:,.0f} tokens")
    watts = float(at.power_w)
    if unit.power_w is not None and math.isfinite(watts) and _exceeds(watts, unit.power_w / unit.replicas):
        yield broken("power", f"{where}: draws {watts:.0f} W, more than was counted")


def _replica_rules(plan: ServingPlan) -> Iterator[Violation]:
    """Minimum replicas, spares, spot share, and the service's own choice of precision, engine, TP and region."""
    for service, allocation, routes in _services(plan):
        replicas = sum(a.replicas for a in allocation)
        if replicas < service.min_replicas:
            yield broken("min_replicas", f"{service.name}: {replicas} replicas, fewer than {service.min_replicas}")
        market = {a.unit: a.market for a in allocation}
        total = sum(r.requests_per_s for r in routes)
        spot = sum(r.requests_per_s for r in routes if market.get(r.unit) == "spot")
        if total and _exceeds(spot / total, service.max_spot_fraction):
            yield broken("max_spot_fraction", f"{service.name}: {spot / total:.4f} of requests are served on spot")
        for a in allocation:
            if service.regions and a.region not in service.regions:
                yield broken("regions", f"{a.unit} runs outside {', '.join(service.regions)}")
            if a.layout is None:
                continue
            engine_allowed = not service.engines or a.layout.engine in (*service.engines, "roofline")
            precision_allowed = not service.precisions or a.layout.precision in service.precisions
            if not engine_allowed or not precision_allowed or (service.tp and a.layout.tp not in service.tp):
                yield broken("layout", f"{a.unit}: the spec does not allow this precision, engine or TP")
            if a.layout.engine == "roofline" and not service.allow_roofline:
                yield broken("layout", f"{a.unit} rests on a datasheet estimate, which the spec does not allow")
            if a.layout.num_gpus != a.gpus_per_replica or a.layout.gpu != a.gpu:
                yield broken("layout", f"{a.unit}: layout and allocation do not agree on GPUs")


def _places(plan: ServingPlan, facts: Facts, names: KnownNames) -> Iterator[Violation]:
    """Rentals exist, are allowed by the filters, and cost what the price list (or the spec) says."""
    wanted = plan.spec.offers
    own: dict[tuple[str, ...], float] = {
        (p.provider, p.instance_type, p.region, p.market): p.usd_per_hour for p in wanted.prices
    }
    listed: dict[tuple[str, ...], float] = {
        (p.provider, p.instance_type, p.region, p.market): p.usd_per_hour for p in facts.prices
    }
    instances = {(i.provider, i.name): i for i in facts.instances}
    given = {f"{s.name}/{u.name}": u for s in plan.spec.services for u in s.units or ()}
    gpus = {names.gpu(gpu) for gpu in wanted.gpus or ()}
    for rental in plan.rentals:
        place = f"{rental.provider}/{rental.region}/{rental.instance_type}/{rental.market}"
        if rental.provider == "given":
            yield from _given_place(given.get(rental.instance_type), rental, place)
            continue
        key: tuple[str, ...] = (rental.provider, rental.instance_type, rental.region, rental.market)
        instance = instances.get((rental.provider, rental.instance_type))
        price = own.get(key, listed.get(key))
        if instance is None or price is None:
            yield broken("offer", f"{place} has no price in the store")
            continue
        if (instance.gpu, instance.num_gpus) != (rental.gpu, rental.gpus_per_instance):
            yield broken("offer", f"{place} has {instance.num_gpus} × {instance.gpu}")
        for d in wanted.discounts:
            fields = ((d.provider, rental.provider), (d.region, rental.region), (d.gpu, rental.gpu),
                      (d.instance_type, rental.instance_type), (d.market, rental.market))  # fmt: skip
            if key not in own and all(rule in (None, value) for rule, value in fields):
                price *= 1 - d.fraction
        if _differs(price, rental.usd_per_instance_hour):
            yield broken("price", f"{place} costs {price:g} $/h, not {rental.usd_per_instance_hour:g}")
        filters = (
            (wanted.providers, rental.provider),
            (wanted.regions, rental.region),
            (wanted.instance_types, rental.instance_type),
            (gpus, rental.gpu),
            (wanted.markets, rental.market),
        )
        if any(allowed and value not in allowed for allowed, value in filters):
            yield broken("offer", f"{place} is not among the offers that the spec allows")


def _given_place(unit: RateUnit | None, rental: Rental, place: str) -> Iterator[Violation]:
    if unit is None or (unit.gpu, unit.gpus_per_replica) != (rental.gpu, rental.gpus_per_instance):
        yield broken("offer", f"{place} is not a unit of the spec")
    elif _differs(unit.usd_per_hour, rental.usd_per_instance_hour):
        yield broken("price", f"{place} costs {unit.usd_per_hour:g} $/h, not {rental.usd_per_instance_hour:g}")
    elif unit.max_replicas is not None and rental.instances > unit.max_replicas:
        yield broken("max_replicas", f"{place}: {rental.instances} rented, at most {unit.max_replicas} are there")


def _packing(plan: ServingPlan) -> Iterator[Violation]:
    """Replicas really fit on the rented machines: placed largest first, never split over instances."""
    rented = {(r.provider, r.instance_type, r.region, r.market): r for r in plan.rentals}
    hosted: dict[tuple[str, str, str, Market], Counter[int]] = defaultdict(Counter)
    for a in plan.allocation:
        hosted[a.provider, a.instance_type, a.region, a.market][a.gpus_per_replica] += a.replicas
    for place in rented.keys() | hosted.keys():
        rental, replicas = rented.get(place), hosted.get(place, Counter())
        if rental is None:
            yield broken("packing", f"replicas run on {'/'.join(place)}, which is not rented")
            continue
        used = sum(size * count for size, count in replicas.items())
        if used != rental.gpus_used:
            yield broken("packing", f"{'/'.join(place)}: {used} GPUs are used, not {rental.gpus_used}")
        free = Counter({rental.gpus_per_instance: rental.instances})
        for size, count in sorted(replicas.items(), reverse=True):
            if not _place(free, size, count, rental.gpus_per_instance):
                yield broken("packing", f"{'/'.join(place)}: a replica of {size} GPUs finds no room")
                break


def _place(free: Counter[int], size: int, count: int, whole: int) -> bool:
    """Take room for ``count`` replicas out of ``free`` (instances by GPUs left): on whole instances where one is too
    small, else on the fullest that still fit. Counted, not one by one: there may be a million of them.
    """
    if size > whole:
        needed = count * (size // whole)
        free[whole] -= needed
        return size % whole == 0 and free[whole] >= 0
    while count > 0:
        room = min((left for left, instances in free.items() if instances and left >= size), default=0)
        if not room or size < 1:
            return False
        each = min(room // size, count)
        instances = min(count // each, free[room])
        free[room] -= instances
        free[room - each * size] += instances
        count -= each * instances
    return True


def _limits(plan: ServingPlan) -> Iterator[Violation]:
    limits = plan.spec.limits
    for i, rule in enumerate(limits.availability):
        matched = [
            r for r in plan.rentals
            if all(wanted in (None, own) for wanted, own in (
                (rule.provider, r.provider), (rule.region, r.region), (rule.gpu, r.gpu),
                (rule.instance_type, r.instance_type), (rule.market, r.market),
            ))
        ]  # fmt: skip
        instances, gpus = sum(r.instances for r in matched), sum(r.instances * r.gpus_per_instance for r in matched)
        if rule.max_instances is not None and instances > rule.max_instances:
            yield broken(f"limits.availability[{i}]", f"{instances} instances, {rule.max_instances} allowed")
        if rule.max_gpus is not None and gpus > rule.max_gpus:
            yield broken(f"limits.availability[{i}]", f"{gpus} GPUs, {rule.max_gpus} allowed")
    spent = sum(r.instances * r.usd_per_instance_hour for r in plan.rentals)
    if limits.budget_usd_per_hour is not None and _exceeds(spent, limits.budget_usd_per_hour):
        yield broken("limits.budget_usd_per_hour", f"{spent:.4f} $/h, {limits.budget_usd_per_hour:g} allowed")
    if limits.power_w is not None and (plan.power_w is None or _exceeds(plan.power_w, limits.power_w)):
        yield broken("limits.power_w", f"{plan.power_w} W, {limits.power_w:g} allowed")
    types = {r.gpu for r in plan.rentals if r.instances}
    if limits.max_gpu_types is not None and len(types) > limits.max_gpu_types:
        yield broken("limits.max_gpu_types", f"{len(types)} GPU types, {limits.max_gpu_types} allowed")


def _sums(plan: ServingPlan, names: KnownNames) -> Iterator[Violation]:
    """The arithmetic of money, power, bound and gap."""
    usd = sum(r.instances * r.usd_per_instance_hour for r in plan.rentals)
    if any(_differs(r.usd_per_hour, r.instances * r.usd_per_instance_hour) for r in plan.rentals):
        yield broken("cost", "a rental's cost is not its price times its instances")
    if _differs(plan.usd_per_hour, usd):
        yield broken("cost", f"rentals cost {usd:.6f} $/h; the plan says {plan.usd_per_hour}")
    yield from _shared_out(plan)
    if _differs(plan.usd_per_month, usd * HOURS_PER_MONTH):
        yield broken("cost", f"a month costs {usd * HOURS_PER_MONTH:.2f} $, not {plan.usd_per_month}")
    if plan.usd_per_million_tokens is not None:
        tokens = sum(r.requests_per_s * (r.mean_input_tokens + r.mean_output_tokens) for r in plan.routing)
        if tokens and _differs(plan.usd_per_million_tokens, usd / (tokens * 3600 / 1e6)):
            yield broken("cost", f"a million tokens cost {usd / (tokens * 3600 / 1e6):.6f} $")
    if plan.power_w is not None:
        idle = sum(
            (names.gpu_type(r.gpu).idle_w + plan.spec.host_w_per_gpu)
            * (r.instances * r.gpus_per_instance - r.gpus_used)
            for r in plan.rentals
        )
        watts = idle + sum(a.power_w or 0.0 for a in plan.allocation)
        if _differs(plan.power_w, watts):
            yield broken("power", f"replicas and idle GPUs draw {watts:.1f} W, not {plan.power_w:.1f}")
    expected = {"cost": usd, "power": plan.power_w, "goodput": plan.requests_per_s}.get(plan.spec.objective)
    if plan.spec.objective == "carbon":
        expected = None if plan.kg_co2_per_hour is None else plan.kg_co2_per_hour * 1000
    if _differs(plan.objective, expected):
        yield broken("objective", f"is {expected}, not {plan.objective}")
    yield from _proof(plan)


def _shared_out(plan: ServingPlan) -> Iterator[Violation]:
    """What runs on an instance shares its cost. One that stands by, as in a schedule, is shared by nobody."""
    shared = sum(a.usd_per_hour for a in plan.allocation)
    used = sum(r.usd_per_hour for r in plan.rentals if r.gpus_used)
    if _differs(shared, used):
        yield broken("cost", f"instances in use cost {used:.6f} $/h; what runs on them shares {shared:.6f}")


def _proof(plan: ServingPlan) -> Iterator[Violation]:
    if plan.objective is None or plan.bound is None:
        return
    ahead = plan.bound - plan.objective if plan.spec.objective == "goodput" else plan.objective - plan.bound
    if ahead < -1e-6 * max(abs(plan.objective), 1.0):
        yield broken("bound", f"the objective {plan.objective} is better than its bound {plan.bound}")
    gap = abs(ahead) / max(abs(plan.objective), 1e-9) if abs(ahead) > 1e-9 else 0.0
    if plan.gap is None or abs(plan.gap - gap) > 1e-6:
        yield broken("gap", f"is {gap:.3g}, not {plan.gap}")
