"""Rented instances by hour: what they cost, what is started on the way, and requests held to what they can serve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product

from planner.errors import InvalidInput
from planner.identity import now
from planner.replan.schedule.types import Instances, Place, Terms
from planner.replan.service import Fleet, Running, RunningPlan
from planner.serving.offers import Offer
from planner.serving.plan import Rental, ServingPlan
from planner.serving.spec import Availability, OwnPrice, Service, ServingSpec, Workload
from planner.types import Plan

GIVEN = "given"
"""Provider of units whose rates and prices the spec itself gives."""


def fleet_of(plan: ServingPlan) -> Fleet:
    """What a serving plan rents."""
    counts: Counter[Place] = Counter()
    for rental in plan.rentals:
        counts[place_of(rental)] += rental.instances
    return as_fleet(counts)


def runnable(plan: Plan, field: str) -> ServingPlan:
    """``plan``; ``InvalidInput`` at ``field`` where it is none that can run."""
    if not isinstance(plan, ServingPlan) or plan.usd_per_hour is None:
        raise InvalidInput("is no serving plan that can run", field=field,
                           fix="give one that `gpuplan plan serving` or POST /v1/plans made")  # fmt: skip
    return plan


def all_day(plan: ServingPlan, plan_id: str) -> Running:
    """A saved plan as what runs from now on, in every hour."""
    return Running(since=now().date(), plans=(RunningPlan(fleet=fleet_of(plan), plan_id=plan_id),))


def as_fleet(counts: Mapping[Place, int]) -> Fleet:
    """A fleet in its one order."""
    return tuple(
        Instances.model_validate(
            {"provider": provider, "region": region, "instance_type": name, "market": market, "instances": instances}
        )
        for (provider, region, name, market), instances in sorted(counts.items())
        if instances > 0
    )


def counts_of(fleet: Fleet) -> dict[Place, int]:
    """Instances by place."""
    return {place_of(rented): rented.instances for rented in fleet}


def place_of(rented: Instances | Rental | Offer) -> Place:
    """What is rented, without how many."""
    return (rented.provider, rented.region, rented.instance_type, rented.market)


def starts(fleets: Sequence[Fleet], before: Fleet) -> Counter[Place]:
    """Instances that are started on the way through ``fleets``, hour by hour, after ``before``."""
    started: Counter[Place] = Counter()
    previous = counts_of(before)
    for fleet in fleets:
        now = counts_of(fleet)
        for place, instances in now.items():
            started[place] += max(0, instances - previous.get(place, 0))
        previous = now
    return +started


def usd_of(fleets: Sequence[Fleet], before: Fleet, prices: Mapping[Place, float], terms: Terms) -> float:
    """What ``fleets``, one an hour, cost: every hour, and every start as ``terms`` has it."""
    hours = sum(prices[place] * instances for fleet in fleets for place, instances in counts_of(fleet).items())
    start_up_hours = terms.start_up_s / 3600
    switching = sum(
        instances * (terms.usd_per_start + prices[place] * start_up_hours)
        for place, instances in starts(fleets, before).items()
    )
    return hours + switching


def at_rates(spec: ServingSpec, requests_per_s: Mapping[str, float]) -> ServingSpec:
    """``spec`` with its services at these total rates, each in its mix of sizes."""
    services = tuple(
        service.model_copy(update={"workload": _scaled(service.workload, requests_per_s[service.name])})
        if service.name in requests_per_s
        else service
        for service in spec.services
    )
    return spec.model_copy(update={"services": services})


def total_rate(service: Service) -> float:
    """Requests/s of a service as its spec says."""
    if service.workload.requests_per_s is not None:
        return service.workload.requests_per_s
    return sum(bucket.requests_per_s for bucket in service.workload.buckets)


def _scaled(workload: Workload, requests_per_s: float) -> Workload:
    if workload.requests_per_s is not None:
        return workload.model_copy(update={"requests_per_s": requests_per_s})
    total = sum(bucket.requests_per_s for bucket in workload.buckets)
    factor = requests_per_s / total if total > 0 else 0.0
    buckets = tuple(b.model_copy(update={"requests_per_s": b.requests_per_s * factor}) for b in workload.buckets)
    return workload.model_copy(update={"buckets": buckets})


def within(spec: ServingSpec, fleet: Fleet, prices: Mapping[Place, float]) -> ServingSpec:
    """``spec`` held to what ``fleet`` rents: its answer says whether the fleet carries the spec's traffic."""
    counts = counts_of(fleet)
    bought = {place: instances for place, instances in counts.items() if place[0] != GIVEN}
    limits, offers = spec.limits, spec.offers
    if bought:
        providers, regions, names, markets = (tuple(sorted(set(values))) for values in zip(*bought, strict=True))
        caps = tuple(
            Availability.model_validate({"max_instances": bought.get((p, r, n, m), 0), "provider": p, "region": r,
                                         "instance_type": n, "market": m})
            for p, r, n, m in product(providers, regions, names, markets)
        )  # fmt: skip
        own = tuple(
            OwnPrice.model_validate({"provider": p, "region": r, "instance_type": n, "market": m,
                                     "usd_per_hour": prices[p, r, n, m]})
            for p, r, n, m in bought
        )  # fmt: skip
        narrowed = {"providers": providers, "regions": regions, "instance_types": names, "markets": markets,
                    "prices": own}  # fmt: skip
        offers = offers.model_copy(update=narrowed)
        limits = limits.model_copy(update={"availability": limits.availability + caps})
    services = tuple(_units_within(service, counts) for service in spec.services)
    return spec.model_copy(update={"services": services, "offers": offers, "limits": limits})


def _units_within(service: Service, counts: Mapping[Place, int]) -> Service:
    if service.units is None:
        return service
    units = tuple(
        unit.model_copy(
            update={"max_replicas": counts.get((GIVEN, GIVEN, f"{service.name}/{unit.name}", "on_demand"), 0)}
        )
        for unit in service.units
    )
    return service.model_copy(update={"units": units})
