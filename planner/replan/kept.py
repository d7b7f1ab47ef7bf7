"""Going on with what runs: what it costs tonight, and every reason why it cannot be."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from planner.replan.decide import Force, Kept
from planner.replan.fleets import at_rates, counts_of, place_of, usd_of, within
from planner.replan.fresh import Night
from planner.replan.service import Fleet
from planner.serving.infeasible import unservable
from planner.serving.optimise import optimise
from planner.serving.pools import Question, pose
from planner.types import SolveOptions

ANY_ANSWER_GAP = 1.0
"""Whether there is an answer is asked, not for a good one."""


def kept(night: Night) -> Kept:
    """What it costs to go on, and what forbids it.

    Whether a fleet carries a demand is asked of the serving planner, held to that fleet: so today's profiles, sizes and
    SLOs count, not those of the night when it was planned.
    """
    fleets = night.going_on
    prices = night.prices
    gone = sorted({place for fleet in fleets for place in counts_of(fleet)} - prices.keys())
    if gone:
        return Kept(None, tuple(("availability", f"{'/'.join(place)} is not on offer any more") for place in gone))
    usd = usd_of(fleets, night.before, prices, night.service.terms.schedule)
    forces: list[tuple[Force, str]] = []
    short: list[int] = []
    for fleet in dict.fromkeys(fleets):
        forces += _beyond_limits(night, fleet)
        short += _short_hours(night, fleet, [i for i, other in enumerate(fleets) if other == fleet])
    if short:
        first = night.hours[min(short)]
        forces.append(
            ("slo", f"it carries too little in {len(short)} of {len(fleets)} hours, first at {first:%a %H:%M}")
        )
    return Kept(usd, tuple(forces))


def _beyond_limits(night: Night, fleet: Fleet) -> Iterator[tuple[Force, str]]:
    """Budget and availability limits that a fleet exceeds as it is."""
    limits, counts = night.service.spec.limits, counts_of(fleet)
    offers = {place_of(offer): offer for offer in night.offers}
    usd_per_hour = sum(night.prices[place] * instances for place, instances in counts.items())
    budget = limits.budget_usd_per_hour
    if budget is not None and usd_per_hour > budget * (1 + 1e-9):
        yield "price", f"it costs {usd_per_hour:.2f} USD/h at today's prices, {budget:g} are allowed"
    for i, rule in enumerate(limits.availability):
        matching = [
            (offers[place], n) for place, n in counts.items() if place in offers and offers[place].matches(rule)
        ]
        instances, gpus = sum(n for _, n in matching), sum(offer.num_gpus * n for offer, n in matching)
        if rule.max_instances is not None and instances > rule.max_instances:
            yield "availability", f"it runs {instances} instances, limits.availability[{i}] allows {rule.max_instances}"
        if rule.max_gpus is not None and gpus > rule.max_gpus:
            yield "availability", f"it runs {gpus} GPUs, limits.availability[{i}] allows {rule.max_gpus}"


def _short_hours(night: Night, fleet: Fleet, hours: Sequence[int]) -> list[int]:
    """Those of ``hours`` whose demand the fleet does not carry."""
    peak, highest = night.planned.highest(), night.planned.highest
    spec = at_rates(night.service.spec, peak)
    if not counts_of(fleet) and any(service.units is None for service in spec.services):
        return [i for i in hours if any(rate > 0 for rate in highest([i]).values())]
    question = pose(within(spec, fleet, night.prices), night.facts)
    if unservable(question):
        return list(hours)

    def carries(some_hours: Sequence[int]) -> bool:
        return _carries(question, {name: rate / peak[name] for name, rate in highest(some_hours).items() if rate > 0},
                        night.options)  # fmt: skip

    if carries(hours):
        return []
    if len(spec.services) > 1:
        return [i for i in hours if not carries([i])]
    by_demand = sorted(hours, key=lambda i: sum(highest([i]).values()))  # of one service, more demand needs more
    return by_demand[bisect.bisect_left(by_demand, True, key=lambda i: not carries([i])) :]


def _carries(question: Question, factors: Mapping[str, float], options: SolveOptions) -> bool:
    """Whether there is an answer with every service at this multiple of its rates (0 where none is named)."""
    services = tuple(
        replace(numbers, rate=numbers.rate * factors.get(service.name, 0.0))
        for service, numbers in zip(question.spec.services, question.problem.services, strict=True)
    )
    any_answer = options.model_copy(update={"gap": ANY_ANSWER_GAP})
    return optimise(replace(question.problem, services=services), any_answer).answer is not None
