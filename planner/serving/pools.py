"""From spec and facts to numbers: which pools each service may use, where they run, and what they sustain."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planner.errors import InvalidInput, MissingProfile, UnknownName
from planner.program import Bools, Floats, Ints
from planner.serving.offers import Offer, given, rentable
from planner.serving.plan import Role
from planner.serving.problem import DECODE, PREFILL, UNIFIED, Cap, OfferNumbers, Problem, ServiceNumbers, prices
from planner.serving.spec import Bucket, RateUnit, Service, ServingSpec
from planner.serving.split import Half, halves, hand_over_groups, useful_places
from profiles.names import KnownNames
from profiles.performance import Capacity, PerformanceModel, Slo, performance_of
from profiles.rates import sustained
from profiles.types import Facts, Layout, RateProfile

MOST_REPLICAS = 100_000


@dataclass(frozen=True)
class Pool:
    """Replicas of one layout on one market class, at rates that are predicted (``layout`` and ``capacity``), given by
    the spec (``unit``), or measured as rates (``profile``). With a ``half`` it does one phase of requests only.
    """

    name: str
    gpu: str
    num_gpus: int
    spot: bool
    layout: Layout | None
    capacity: Capacity | None = None
    unit: RateUnit | None = None
    profile: RateProfile | None = None
    half: Half | None = None

    @property
    def role(self) -> Role:
        """Which phases of a request it does."""
        return "unified" if self.half is None else self.half.role


@dataclass(frozen=True)
class Question:
    """A problem in numbers with the meaning of its indices."""

    spec: ServingSpec
    problem: Problem
    offers: tuple[Offer, ...]
    buckets: tuple[tuple[Bucket, ...], ...]
    pools: tuple[tuple[Pool, ...], ...]


def pose(spec: ServingSpec, facts: Facts) -> Question:
    """Turn a spec into numbers.

    Raises
    ------
    UnknownName, InvalidInput
        The spec names something that is not known, or leaves nothing to choose from.
    MissingProfile
        Nothing is measured for a service's model on any GPU on offer, and the service does not allow estimates.
    """
    names = KnownNames.of(facts)
    performance = performance_of(facts)
    offers = list(rentable(spec, facts, names)) if any(service.units is None for service in spec.services) else []
    buckets = tuple(service.workload.all_buckets() for service in spec.services)
    pools = []
    for index, service in enumerate(spec.services):
        if service.units is not None:
            pools.append(tuple(Pool(u.name, u.gpu, u.gpus_per_replica, False, None, unit=u) for u in service.units))
            offers += [given(service.name, unit) for unit in service.units]
        elif service.rate_profiles is not None:
            pools.append(_profiled_pools(index, service.rate_profiles, offers, facts))
        else:
            pools.append(_measured_pools(spec, index, buckets[index], offers, performance, facts, names))
    numbers = tuple(
        _service_numbers(service, sizes, members, offers, names)
        for service, sizes, members in zip(spec.services, buckets, pools, strict=True)
    )
    table = _offer_numbers(spec, offers)
    per_instance, per_active_w = prices(spec.objective, table)
    problem = Problem(
        services=numbers,
        offers=table,
        per_instance=per_instance,
        per_active_w=per_active_w,
        goodput=spec.objective == "goodput",
        caps=_caps(spec, offers),
        budget_usd_per_hour=spec.limits.budget_usd_per_hour,
        power_w=spec.limits.power_w,
        max_gpu_types=spec.limits.max_gpu_types,
    )
    if problem.goodput:
        _check_goodput_bounded(problem)
    for index, posed in enumerate(problem.services):
        _check_not_absurd(index, posed)
    return Question(spec, problem, tuple(offers), buckets, tuple(pools))


def _check_not_absurd(index: int, service: ServiceNumbers) -> None:
    """Refuse traffic that would take more replicas than anyone runs: a slip in a rate or a unit."""
    best = service.least_load
    needed = float(best[np.isfinite(best)].sum())
    if needed > MOST_REPLICAS:
        raise InvalidInput(
            f"needs {needed:,.0f} replicas of the most capable units on offer; at most {MOST_REPLICAS:,} are planned",
            field=f"services[{index}].workload",
            fix="check the rates; requests a unit can hardly serve are better given a rate of 0 there",
        )


def _check_goodput_bounded(problem: Problem) -> None:
    """Goodput needs traffic to scale, and limits that every offer runs into."""
    if not any(service.rate.sum() > 0 for service in problem.services):
        raise InvalidInput("goodput needs traffic: every service has a rate of 0", field="services")
    limited = np.zeros(problem.offers.gpus.size, bool)
    if problem.budget_usd_per_hour is not None:
        limited |= problem.offers.usd_per_hour > 0
    if problem.power_w is not None:
        limited |= problem.offers.idle_w > 0
    for cap in problem.caps:
        limited |= cap.weight > 0
    if not limited.all():
        raise InvalidInput(
            "nothing limits how much could be served", field="limits",
            fix="set limits.budget_usd_per_hour or limits.power_w, or cap the availability of every offer",
        )  # fmt: skip


def slo_of(service: Service) -> Slo:
    """The service's SLO in the words of the performance model."""
    slo = service.slo
    return Slo(slo.ttft_ms, slo.tpot_ms, slo.e2e_ms, slo.percentile)


def _measured_pools(
    spec: ServingSpec, index: int, buckets: tuple[Bucket, ...], offers: list[Offer], performance: PerformanceModel,
    facts: Facts, names: KnownNames,
) -> tuple[Pool, ...]:  # fmt: skip
    service = spec.services[index]
    allowed = [offer for offer in offers if not service.regions or offer.region in service.regions]
    gpus = sorted({offer.gpu for offer in allowed})
    if not gpus:
        there = ", ".join(sorted({offer.region for offer in offers}))
        raise InvalidInput(
            f"nothing is on offer in {', '.join(service.regions or ())}", field=f"services[{index}].regions",
            fix=f"choose among the regions on offer ({there}), or widen offers",
        )  # fmt: skip
    model = names.model(service.model)
    layouts = performance.layouts(
        model, gpus=gpus, precisions=service.precisions, engines=service.engines, tp=service.tp,
        allow_roofline=service.allow_roofline,
    )  # fmt: skip
    if not layouts:
        raise _nothing_measured(index, service, model, gpus, performance, facts, names)
    sizes = np.array([bucket.size for bucket in buckets], dtype=np.float64).reshape(-1, 2)
    markets = sorted({offer.market == "spot" for offer in offers})
    only_prices_differ = spec.objective == "cost" and not spec.limits.availability
    places = useful_places(allowed, comparable=only_prices_differ) if service.split != "never" else ()
    pools = []
    for layout in layouts:
        slo = slo_of(service)
        capacity = performance.capacity(layout, sizes[:, 0], sizes[:, 1], slo)
        power = performance.power(layout)
        capacity = replace(capacity, power_w=np.fmax(capacity.power_w, np.nan if power is None else power.prompt_w()))
        for spot in markets:
            name = layout.label + (" spot" if spot else "")
            if service.split != "always":
                pools.append(Pool(name, layout.gpu, layout.num_gpus, spot, layout, capacity))
            if service.split != "never":
                iteration = performance.iteration(layout)
                pools += [
                    Pool(f"{name} {half.role}", layout.gpu, layout.num_gpus, spot, layout, capacity, half=half)
                    for half in halves(service, layout, iteration, capacity, slo, sizes, places, spot=spot)
                ]
    return tuple(pools)


def _profiled_pools(index: int, wanted: tuple[str, ...], offers: list[Offer], facts: Facts) -> tuple[Pool, ...]:
    known = {profile.name: profile for profile in facts.rate_profiles}
    for i, name in enumerate(wanted):
        if name not in known:
            fix = "import it with `gpuplan profiles import melange FILE` or `aibrix FILE`"
            raise UnknownName("rate profile", name, known, field=f"services[{index}].rate_profiles[{i}]", fix=fix)
    markets = sorted({offer.market == "spot" for offer in offers})
    return tuple(
        Pool(name + (" spot" if spot else ""), known[name].gpu, known[name].num_gpus, spot, None, profile=known[name])
        for name in wanted
        for spot in markets
    )


def _nothing_measured(
    index: int, service: Service, model: str, gpus: list[str], performance: PerformanceModel, facts: Facts,
    names: KnownNames,
) -> Exception:  # fmt: skip
    """Why there is no layout: an unknown model, filters that exclude every measured one, or nothing measured."""
    field = f"services[{index}].model"
    measured = {m.model for m in facts.measurements}
    if names.model_card(model) is None and model not in measured:
        known = {card.name for card in facts.models} | measured
        return UnknownName("model", service.model, known, field=field, fix=(
            "a new model: `gpuplan profiles import hf-config config.json --model NAME`"
        ))  # fmt: skip
    everywhere = performance.layouts(model, gpus=gpus)
    if everywhere:
        options = sorted({f"{x.gpu} TP{x.tp} {x.precision} {x.engine}" for x in everywhere})
        return MissingProfile(
            f"{model} is measured on the GPUs on offer, but not with the wanted precisions, engines and TP",
            field=field, fix=f"allow one of: {'; '.join(options[:12])}",
        )  # fmt: skip
    card = names.model_card(model)
    if card is not None and service.allow_roofline:
        largest = max((names.gpu_type(gpu) for gpu in gpus), key=lambda gpu: gpu.memory_gib)
        return InvalidInput(
            f"{model} fits no GPU on offer: its weights take {card.weight_gib(card.native_precision):,.0f} GiB in "
            f"{card.native_precision}; the largest on offer is {largest.name} with {largest.memory_gib:g} GiB "
            "(at most 8 per replica)",
            field=field, fix="offer larger GPUs, or allow a smaller precision",
        )  # fmt: skip
    elsewhere = sorted({x.gpu for x in performance.layouts(model)})
    hint = f" (it is on {', '.join(elsewhere)})" if elsewhere else ""
    return MissingProfile(
        f"nothing is measured for {model} on any GPU on offer: {', '.join(gpus)}{hint}",
        field=field,
        fix=f"measure it and `gpuplan profiles import`, widen offers, or set services[{index}].allow_roofline: true "
        "to plan from datasheets",
    )


def _service_numbers(
    service: Service, buckets: tuple[Bucket, ...], pools: tuple[Pool, ...], offers: list[Offer], names: KnownNames
) -> ServiceNumbers:
    capacity = np.array([_rates(pool, service, buckets) for pool in pools]).reshape(len(pools), len(buckets))
    return ServiceNumbers(
        name=service.name,
        rate=np.array([bucket.requests_per_s for bucket in buckets]),
        capacity=capacity,
        gpus=np.array([pool.num_gpus for pool in pools], dtype=np.int64),
        active_w=np.array([_active_w(pool, names) for pool in pools]),
        spot=np.array([pool.spot for pool in pools]),
        hosts=_hosts(service, pools, offers),
        max_utilisation=service.planned_load,
        min_replicas=service.min_replicas,
        spare_replicas=service.spare_replicas,
        max_spot_fraction=service.max_spot_fraction,
        role=np.array([{"unified": UNIFIED, "prefill": PREFILL, "decode": DECODE}[pool.role] for pool in pools]),
        group=hand_over_groups([pool.half for pool in pools]),
    )


def _rates(pool: Pool, service: Service, buckets: tuple[Bucket, ...]) -> Floats:
    if pool.half is not None:
        return pool.half.phase.requests_per_s
    if pool.capacity is not None:
        return pool.capacity.requests_per_s
    if pool.profile is not None:
        return np.array([sustained(pool.profile, *bucket.size) for bucket in buckets])
    if pool.unit is None or service.workload.distribution is None:
        raise ValueError("a pool has a capacity, a profile, or a unit of a workload with a distribution")
    shares = np.array(service.workload.distribution.fractions)
    rates = np.array(pool.unit.requests_per_s)[shares * (service.workload.requests_per_s or 0.0) > 0]
    return np.asarray(rates.reshape(len(buckets)))


def _active_w(pool: Pool, names: KnownNames) -> float:
    """Power of a busy replica above its idle power: the most it draws, reading prompts or decoding any size that it
    serves; 0 where unknown.
    """
    if pool.capacity is None:
        return 0.0
    busy = pool.half.phase if pool.half is not None else pool.capacity
    watts = busy.power_w[(busy.requests_per_s > 0) & np.isfinite(busy.power_w)]
    if not watts.size:
        return 0.0
    return max(float(watts.max()) - names.gpu_type(pool.gpu).idle_w * pool.num_gpus, 0.0)


def _hosts(service: Service, pools: tuple[Pool, ...], offers: list[Offer]) -> Bools:
    """[P, O] where each pool may run: same GPU and market class, allowed region, and whole slots or whole instances."""

    def fits(pool: Pool, offer: Offer) -> bool:
        if pool.unit is not None or offer.provider == "given":
            return pool.unit is not None and offer.instance_type == f"{service.name}/{pool.unit.name}"
        power_of_two = pool.num_gpus & (pool.num_gpus - 1) == 0 and pool.num_gpus <= offer.num_gpus
        return (
            pool.gpu == offer.gpu
            and pool.spot == (offer.market == "spot")
            and (not service.regions or offer.region in service.regions)
            and (pool.half is None or pool.half.place == (offer.provider, offer.region))
            and (power_of_two or (pool.num_gpus % offer.num_gpus == 0 and offer.num_gpus >= 8))
        )

    return np.array([[fits(pool, offer) for offer in offers] for pool in pools]).reshape(len(pools), len(offers))


def _offer_numbers(spec: ServingSpec, offers: list[Offer]) -> OfferNumbers:
    kinds: Ints = (
        np.unique([offer.gpu for offer in offers], return_inverse=True)[1] if offers else np.zeros(0, np.int64)
    )
    if any(offer.idle_w is None for offer in offers):
        counted = "objective" if spec.objective in ("power", "carbon") else "limits.power_w"
        if counted == "objective" or spec.limits.power_w is not None:
            raise InvalidInput(
                "needs the power of every unit, and units with given rates do not say theirs",
                field=counted, fix="plan for cost, or name models to be planned from profiles",
            )  # fmt: skip
    if spec.objective == "carbon":
        offers_without = sorted({f"{o.provider}/{o.region}" for o in offers if o.g_co2_per_kwh is None})
        if offers_without:
            raise InvalidInput(
                f"no grid intensity is known for {', '.join(offers_without)}", field="objective",
                fix="leave these regions out of offers.regions, or import their grid intensity",
            )  # fmt: skip
    return OfferNumbers(
        usd_per_hour=np.array([offer.usd_per_hour for offer in offers]),
        gpus=np.array([offer.num_gpus for offer in offers], dtype=np.int64),
        idle_w=np.array([offer.idle_w or 0.0 for offer in offers]),
        g_co2_per_kwh=np.array([offer.g_co2_per_kwh or 0.0 for offer in offers]),
        gpu_type=kinds,
    )


def _caps(spec: ServingSpec, offers: list[Offer]) -> tuple[Cap, ...]:
    caps = []
    for i, rule in enumerate(spec.limits.availability):
        matched = np.array([offer.matches(rule) for offer in offers], dtype=float)
        if rule.max_gpus is not None:
            weight = matched * np.array([offer.num_gpus for offer in offers])
            caps.append(Cap(f"limits.availability[{i}].max_gpus", weight, float(rule.max_gpus)))
        else:
            caps.append(Cap(f"limits.availability[{i}].max_instances", matched, float(rule.max_instances or 0)))
    for s, service in enumerate(spec.services):
        for u, unit in enumerate(service.units or ()):
            if unit.max_replicas is not None:
                weight = np.array([float(o.instance_type == f"{service.name}/{unit.name}") for o in offers])
                caps.append(Cap(f"services[{s}].units[{u}].max_replicas", weight, float(unit.max_replicas)))
    return tuple(caps)
