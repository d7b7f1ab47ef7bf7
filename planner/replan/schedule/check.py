"""Proof that a schedule holds, re-derived from its spec, demand, terms and the facts alone.

Shares no code with the formulation. That a fleet carries its traffic within the SLO is the serving planner's check of
the fleet's plan; everything that has to do with time is worked out here, hour by hour.
"""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Iterable, Iterator

from planner.replan.schedule.types import Hour, Instances, Schedule
from planner.serving.check import check as check_plan
from planner.serving.plan import ServingPlan
from planner.serving.spec import Availability, Service, Workload
from planner.types import Check, Violation, broken
from profiles.names import KnownNames
from profiles.types import Facts, Market

_RELATIVE = 1e-5
"""Sums of solver results are compared to this relative accuracy."""

_Place = tuple[str, str, str, Market]
_Machine = tuple[str, str, str, bool]


def check(schedule: Schedule, facts: Facts) -> Check:
    """Every rule that ``schedule`` breaks. One without hours passes if it is said to be infeasible or unfinished."""
    if schedule.outcome in ("infeasible", "no_solution"):
        rented = (broken("outcome", f"{schedule.outcome}, yet it has hours"),) if schedule.hours else ()
        return Check(passed=not rented, violations=rented)
    shape = (*_hours(schedule),)
    if any(violation.constraint in ("hours", "plan") for violation in shape):
        return Check(passed=False, violations=shape)  # hours and plans do not fit together: nothing else has meaning
    prices = _Prices(schedule, facts)
    violations = (
        *shape,
        *_plans(schedule, facts),
        *_reserved(schedule),
        *_changes(schedule),
        *_up_times(schedule),
        *_limits(schedule, facts, prices),
        *_money(schedule, prices),
    )
    return Check(passed=not violations, violations=violations)


def _differs(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return (a is None) != (b is None)
    return not math.isclose(a, b, rel_tol=_RELATIVE, abs_tol=1e-6)


def _exceeds(value: float, limit: float) -> bool:
    return value > limit * (1 + _RELATIVE) + 1e-9


def _place(rented: Instances) -> _Place:
    return (rented.provider, rented.region, rented.instance_type, rented.market)


def _counts(rented: Iterable[Instances]) -> Counter[_Place]:
    counts: Counter[_Place] = Counter()
    for some in rented:
        counts[_place(some)] += some.instances
    return counts


def _machines(rented: Iterable[Instances]) -> Counter[_Machine]:
    """Instances by what they are, however they are billed: reserved and on demand are the same machines."""
    counts: Counter[_Machine] = Counter()
    for some in rented:
        counts[some.provider, some.region, some.instance_type, some.market == "spot"] += some.instances
    return counts


class _Prices:
    """USD per hour of a place, from the spec and the price list."""

    def __init__(self, schedule: Schedule, facts: Facts) -> None:
        self._terms, self._offers = schedule.terms, schedule.spec.offers
        self._own: dict[_Place, float] = {
            (p.provider, p.region, p.instance_type, p.market): p.usd_per_hour for p in self._offers.prices
        }
        self._listed: dict[_Place, float] = {
            (p.provider, p.region, p.instance_type, p.market): p.usd_per_hour for p in facts.prices
        }
        self._given = {
            f"{service.name}/{unit.name}": unit.usd_per_hour
            for service in schedule.spec.services for unit in service.units or ()
        }  # fmt: skip
        self._gpu = {(i.provider, i.name): i.gpu for i in facts.instances}

    def usd(self, place: _Place) -> float | None:
        """None where the place has no price."""
        provider, region, instance_type, market = place
        if provider == "given":
            return self._given.get(instance_type)
        if place in self._own:
            return self._own[place]
        price = self._listed.get(place)
        if price is not None:
            return price * self._left(place)
        if market == "reserved" and self._terms.reserved_discount is not None:
            on_demand = self.usd((provider, region, instance_type, "on_demand"))
            return None if on_demand is None else on_demand * (1 - self._terms.reserved_discount)
        return None

    def start_usd(self, machine: _Machine) -> float:
        """What one start costs: its own price, and the time until it serves, at the price without a reservation."""
        provider, region, instance_type, spot = machine
        markets: tuple[Market, ...] = ("spot",) if spot else ("on_demand", "reserved")
        wanted: list[Market] = [market for market in markets if market == "reserved" or market in self._offers.markets]
        if provider == "given":
            wanted = ["on_demand"]
        known = [self.usd((provider, region, instance_type, market)) for market in wanted]
        price = next((usd for usd in known if usd is not None), math.nan)
        return self._terms.usd_per_start + price * self._terms.start_up_s / 3600

    def _left(self, place: _Place) -> float:
        provider, region, instance_type, market = place
        left = 1.0
        for d in self._offers.discounts:
            pairs = ((d.provider, provider), (d.region, region), (d.instance_type, instance_type),
                     (d.market, market), (d.gpu, self._gpu.get((provider, instance_type))))  # fmt: skip
            if all(wanted in (None, own) for wanted, own in pairs):
                left *= 1 - d.fraction
        return left


def _rates(workload: Workload) -> dict[object, float]:
    return {(b.input_tokens, b.output_tokens, b.size): b.requests_per_s for b in workload.all_buckets()}


def _wanted(schedule: Schedule, service: Service, hour: int) -> float:
    rates = schedule.demand.services.get(service.name)
    return rates[hour] if rates is not None else sum(_rates(service.workload).values())


def _hours(schedule: Schedule) -> Iterator[Violation]:
    """Every hour is there, in order, with its demand, and runs a plan that is made for as much."""
    if len(schedule.hours) != schedule.demand.num_hours:
        yield broken("hours", f"{len(schedule.hours)} are planned, {schedule.demand.num_hours} were asked for")
        return
    made_for = [{s.name: sum(_rates(s.workload).values()) for s in plan.spec.services} for plan in schedule.plans]
    for h, hour in enumerate(schedule.hours):
        if hour.start != schedule.demand.start + dt.timedelta(hours=h):
            yield broken("hours", f"hour {h} does not begin at {hour.start.isoformat()}")
        if hour.plan >= len(schedule.plans):
            yield broken("plan", f"hour {h} runs plan {hour.plan}, which does not exist")
            continue
        rentals = schedule.plans[hour.plan].rentals
        if _counts(hour.rentals) != Counter({
            (r.provider, r.region, r.instance_type, r.market): r.instances for r in rentals
        }):  # fmt: skip
            yield broken("plan", f"hour {h} rents other instances than its plan")
        for service in schedule.spec.services:
            rate = _wanted(schedule, service, h)
            if _differs(hour.requests_per_s.get(service.name), rate):
                yield broken("demand", f"hour {h}: {service.name} has {rate:g} requests/s")
            if _exceeds(rate, made_for[hour.plan].get(service.name, 0.0)):
                yield broken("demand", f"hour {h}: {service.name} has {rate:g} requests/s, more than its plan is for")


def _plans(schedule: Schedule, facts: Facts) -> Iterator[Violation]:
    """Each plan carries its traffic within the SLO and all limits, and is one of the spec that was asked for."""
    for k, plan in enumerate(schedule.plans):
        yield from (broken(v.constraint, f"plan {k}: {v.detail}") for v in check_plan(plan, facts).violations)
        if _without_traffic(plan) != _without_traffic(plan.model_copy(update={"spec": schedule.spec})):
            yield broken("spec", f"plan {k} answers another spec")
        for asked, planned in zip(schedule.spec.services, plan.spec.services, strict=False):
            yield from _same_mix(k, asked, planned)


def _without_traffic(plan: ServingPlan) -> object:
    """The spec of a plan without what a schedule may change: rates, and reserved offers."""
    offers = plan.spec.offers
    offers = offers.model_copy(update={
        "prices": tuple(p for p in offers.prices if p.market != "reserved"),
        "markets": tuple(m for m in offers.markets if m != "reserved"),
    })  # fmt: skip
    services = tuple(s.model_copy(update={"workload": Workload(requests_per_s=0.0)}) for s in plan.spec.services)
    return plan.spec.model_copy(update={"offers": offers, "services": services})


def _same_mix(k: int, asked: Service, planned: Service) -> Iterator[Violation]:
    wanted, found = _rates(asked.workload), _rates(planned.workload)
    total, planned_total = sum(wanted.values()), sum(found.values())
    if not planned_total:
        return
    if wanted.keys() != found.keys() or any(
        _differs(found[size] / planned_total, rate / total) for size, rate in wanted.items()
    ):
        yield broken("demand", f"plan {k}: {asked.name} has another mix of sizes")


def _reserved(schedule: Schedule) -> Iterator[Violation]:
    """The base is the same in every hour, holds what was reserved before, and grows only where it may."""
    base = _counts(schedule.reserved)
    for h, hour in enumerate(schedule.hours):
        if _counts(r for r in hour.rentals if r.market == "reserved") != base:
            yield broken("reserved", f"hour {h} has another base than the schedule")
    before = _counts(r for r in schedule.running if r.market == "reserved")
    for place in base.keys() | before.keys():
        if base[place] < before[place]:
            yield broken("reserved", f"{'/'.join(place)}: {before[place]} are reserved already and stay")
    terms = schedule.terms
    may = terms.reserve and (terms.reserved_discount is not None or "reserved" in schedule.spec.offers.markets)
    if not may and base != before:
        yield broken("reserved", "nothing more may be reserved")


def _changes(schedule: Schedule) -> Iterator[Violation]:
    """Starts and stops are the differences between hours, and none is ordered before now."""
    before = _machines(schedule.running)
    for h, hour in enumerate(schedule.hours):
        now = _machines(hour.rentals)
        if _machines(hour.starts) != now - before or _machines(hour.stops) != before - now:
            yield broken("starts", f"hour {h}: starts and stops are not what changes")
        lead_s = schedule.terms.lead_s
        if lead_s is not None and hour.starts and schedule.terms.start_up_s > lead_s + 3600 * h + 1e-6:
            yield broken("lead_s", f"hour {h}: what starts would have to be ordered before now")
        before = now


def _up_times(schedule: Schedule) -> Iterator[Violation]:
    """Machines are followed one by one: the oldest stops first, and must have served long enough."""
    born: dict[_Machine, list[int]] = {m: [-(10**6)] * count for m, count in _machines(schedule.running).items()}
    for h, hour in enumerate(schedule.hours):
        for machine, count in _machines(hour.stops).items():
            ages = sorted(born.get(machine, []))
            if any(h - start < schedule.terms.min_up_hours for start in ages[:count]):
                yield broken("min_up_hours", f"hour {h}: {machine[2]} stops too soon")
            born[machine] = ages[count:]
        for machine, count in _machines(hour.starts).items():
            born.setdefault(machine, []).extend([h] * count)


def _starting(schedule: Schedule, h: int) -> Iterator[Instances]:
    """What is there in hour h, and starts to serve in a later one."""
    for later, hour in enumerate(schedule.hours[h + 1 :], start=1):
        if schedule.terms.start_up_s <= 3600 * (later - 1):
            return
        yield from hour.starts


def _limits(schedule: Schedule, facts: Facts, prices: _Prices) -> Iterator[Violation]:
    """Quotas, budget and power hold in every hour for all that is there, what starts included."""
    limits, names = schedule.spec.limits, KnownNames.of(facts)
    known = {(i.provider, i.name): (i.gpu, i.num_gpus) for i in facts.instances}
    known |= {
        ("given", f"{s.name}/{u.name}"): (u.gpu, u.gpus_per_replica)
        for s in schedule.spec.services for u in s.units or ()
    }  # fmt: skip
    units = {f"{s.name}/{u.name}": u.max_replicas for s in schedule.spec.services for u in s.units or ()}
    for h, hour in enumerate(schedule.hours):
        there = _counts((*hour.rentals, *_starting(schedule, h)))
        for i, rule in enumerate(limits.availability):
            used = sum(
                count * (1 if rule.max_gpus is None else known[place[0], place[2]][1])
                for place, count in there.items() if _matches(rule, place, known[place[0], place[2]][0])
            )  # fmt: skip
            allowed = rule.max_gpus if rule.max_gpus is not None else rule.max_instances
            if allowed is not None and used > allowed:
                yield broken(f"limits.availability[{i}]", f"hour {h}: {used} are there, {allowed} allowed")
        for place, count in there.items():
            most = units.get(place[2]) if place[0] == "given" else None
            if most is not None and count > most:
                yield broken("max_replicas", f"hour {h}: {count} of {place[2]} are there, {most} exist")
        spent = sum(count * (prices.usd(place) or 0.0) for place, count in there.items())
        if limits.budget_usd_per_hour is not None and _exceeds(spent, limits.budget_usd_per_hour):
            detail = f"hour {h}: {spent:.4f} $/h, {limits.budget_usd_per_hour:g} allowed"
            yield broken("limits.budget_usd_per_hour", detail)
        if limits.power_w is not None:
            yield from _power(schedule, h, hour, limits.power_w, known, names)


def _power(
    schedule: Schedule, h: int, hour: Hour, most_w: float, known: dict[tuple[str, str], tuple[str, int]],
    names: KnownNames,
) -> Iterator[Violation]:  # fmt: skip
    watts = schedule.plans[hour.plan].power_w or 0.0
    for some in _starting(schedule, h):
        gpu, num_gpus = known[some.provider, some.instance_type]
        watts += some.instances * num_gpus * (names.gpu_type(gpu).idle_w + schedule.spec.host_w_per_gpu)
    if _exceeds(watts, most_w):
        yield broken("limits.power_w", f"hour {h}: {watts:.0f} W, {most_w:g} allowed")


def _matches(rule: Availability, place: _Place, gpu: str) -> bool:
    pairs = ((rule.provider, place[0]), (rule.region, place[1]), (rule.instance_type, place[2]),
             (rule.market, place[3]), (rule.gpu, gpu))  # fmt: skip
    return all(wanted in (None, own) for wanted, own in pairs)


def _money(schedule: Schedule, prices: _Prices) -> Iterator[Violation]:
    """The arithmetic of cost, bound and gap."""
    total = 0.0
    for h, hour in enumerate(schedule.hours):
        usd = 0.0
        for place, count in _counts(hour.rentals).items():
            price = prices.usd(place)
            if price is None:
                yield broken("price", f"hour {h}: {'/'.join(place)} has no price")
            usd += count * (price or 0.0)
        usd += sum(count * prices.start_usd(machine) for machine, count in _machines(hour.starts).items())
        if _differs(hour.usd, usd):
            yield broken("cost", f"hour {h} costs {usd:.6f} $, not {hour.usd:.6f}")
        total += usd
    if _differs(schedule.usd, total) or _differs(schedule.objective, total):
        yield broken("cost", f"the hours cost {total:.6f} $; the schedule says {schedule.usd}")
    if schedule.bound is not None and schedule.bound > total * (1 + 1e-6) + 1e-6:
        yield broken("bound", f"the cost {total} is below its bound {schedule.bound}")
    if schedule.bound is not None:
        gap = (total - schedule.bound) / max(total, 1e-9) if total - schedule.bound > 1e-9 else 0.0
        if schedule.gap is None or abs(schedule.gap - gap) > 1e-5:
            yield broken("gap", f"is {gap:.3g}, not {schedule.gap}")
