"""Plans tuned by replay: as little headroom as the traffic itself shows to be enough.

A plan's rates are those of replicas at their SLO; how much of them may be planned for depends on how bursty traffic is
and how sizes mix, which a replay knows. So a plan is replayed; where too few requests meet their SLO it is made again
with a lower load per replica, where there is room to spare with a higher one. A lower load never costs less, so the
cheapest that attains is found by stepping until one plan attains and one does not, then halving in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

from planner.serving import ServingPlan, ServingSpec
from planner.serving.plan import Round, Verification
from planner.types import EXIT_CODES

STEP = 0.75
"""Each step down while no plan attains; up, while all do, by its inverse."""

LEAST_LOAD, MOST_LOAD = 0.02, 4.0
"""Of what replicas are predicted to carry at the SLO's percentile: a percentile near 1 can be far too careful."""

CLOSE = 0.02
"""Costs, and limits, that differ by no more are not worth another round."""

NO_HELP = 1e-3
"""Attainment that a step must add; two steps in a row that do not show that capacity is not what is missing."""


@dataclass(frozen=True)
class Attainment:
    """What a replay found."""

    share: float
    stable: bool


@dataclass
class _Search:
    """Rounds so far. ``factor`` multiplies the planned loads of the spec."""

    target: float
    attaining: tuple[float, ServingPlan, Attainment] | None = None
    failing: tuple[float, ServingPlan, Attainment] | None = None
    nearest: tuple[float, ServingPlan, Attainment] | None = None
    rounds: list[Round] = field(default_factory=list)

    def add(self, factor: float, plan: ServingPlan, found: Attainment) -> None:
        """Keep what a round found."""
        loads = {service.name: service.planned_load for service in plan.spec.services}
        self.rounds.append(Round(
            planned_load=loads, objective=plan.objective, usd_per_hour=plan.usd_per_hour,
            slo_attainment=found.share, stable=found.stable,
        ))  # fmt: skip
        if found.stable and found.share >= self.target:
            self.attaining = (factor, plan, found)
        elif self.failing is None or factor < self.failing[0]:
            self.failing = (factor, plan, found)
        if self.nearest is None or found.share > self.nearest[2].share:
            self.nearest = (factor, plan, found)


def verified(
    spec: ServingSpec, traffic: str, target: float, *, make: Callable[[ServingSpec], ServingPlan],
    replay: Callable[[ServingPlan], Attainment], most_rounds: int = 10,
) -> ServingPlan:  # fmt: skip
    """The cheapest plan found of which a replay of ``traffic`` (its description) attains ``target``.

    Where none does, the one that comes nearest, saying so. ``make`` plans a spec and checks the plan, ``replay``
    replays a plan. A plan without a mix is returned as it is. The plan's spec has the loads in use.
    """
    search = _Search(target)
    factor: float | None = 1.0
    stuck, last = 0, -math.inf
    while factor is not None and len(search.rounds) < most_rounds:
        plan = make(with_load(spec, factor))
        if EXIT_CODES[plan.outcome] or not plan.allocation:
            if not search.rounds:
                return plan
            break  # limits of the spec leave no room for more headroom
        found = _same(search, plan) or replay(plan)
        search.add(factor, plan, found)
        stuck = stuck + 1 if found.stable and found.share < last + NO_HELP and search.attaining is None else 0
        last = found.share
        factor = None if stuck >= 2 else _next(search, spec, factor)
    return _finished(search, traffic)


def with_load(spec: ServingSpec, factor: float) -> ServingSpec:
    """The spec with every planned load times ``factor``: up to all of what is predicted as utilisation, and what lies
    beyond as capacity that a replay has to prove.
    """
    services = []
    for service in spec.services:
        load = min(max(service.planned_load * factor, LEAST_LOAD), MOST_LOAD)
        services.append(
            service.model_copy(update={"max_utilisation": min(load, 1.0), "replayed_capacity": max(load, 1.0)})
        )
    return spec.model_copy(update={"services": tuple(services)})


def _same(search: _Search, plan: ServingPlan) -> Attainment | None:
    """What is known already of a plan with the same replicas and routes."""
    for known in (search.attaining, search.failing):
        if known is not None and _mix(known[1]) == _mix(plan):
            return known[2]
    return None


def _mix(plan: ServingPlan) -> tuple[object, ...]:
    counts = tuple((a.unit, a.replicas) for a in plan.allocation)
    return counts, tuple(
        (r.unit, r.decode_unit, r.input_tokens, r.output_tokens, round(r.fraction, 6)) for r in plan.routing
    )


def _next(search: _Search, spec: ServingSpec, factor: float) -> float | None:
    """The factor to try next; None when there is nothing to gain."""
    if search.attaining is None:
        lower = factor * STEP
        return lower if max(s.planned_load for s in spec.services) * lower > LEAST_LOAD else None
    good, plan, _ = search.attaining
    if search.failing is None:
        most = MOST_LOAD / min(service.planned_load for service in spec.services)
        return min(good / STEP, most) if good < most * (1 - 1e-9) else None
    bad, cheaper, _ = search.failing
    saved = abs((plan.objective or 0.0) - (cheaper.objective or 0.0))
    if saved <= CLOSE * abs(plan.objective or 0.0) or bad / good < 1 + CLOSE:
        return None
    return math.sqrt(good * bad)


def _finished(search: _Search, traffic: str) -> ServingPlan:
    best = search.attaining or search.nearest
    if best is None:
        raise ValueError("a search has at least one round")
    _, plan, found = best
    first = search.rounds[0]
    share = math.floor(found.share * 1e4 + 1e-6) / 1e2  # rounded down: 99.999% are not all
    meets = f"{share:.2f}% of requests meet the SLO ({100 * search.target:.6g}% asked)"
    if search.attaining is None:
        reason = "" if found.stable else "; the load is more than the mix can carry"
        detail = f"NOT attained: {meets}{reason}, after {len(search.rounds)} plans with ever more headroom"
    elif len(search.rounds) == 1 or plan.usd_per_hour == first.usd_per_hour:
        detail = f"{meets}, at the cost first planned"
    else:
        how = "trimmed" if (plan.usd_per_hour or 0) < (first.usd_per_hour or 0) else "with more headroom"
        limits = ", ".join(f"{s.name} loaded to {s.planned_load:.0%} of predictions" for s in plan.spec.services)
        detail = f"{meets}; {how} from ${first.usd_per_hour:,.2f}/h ({first.slo_attainment:.2%}): {limits}"
    verification = Verification(
        traffic=traffic, target=search.target, slo_attainment=found.share, attained=search.attaining is not None,
        rounds=tuple(search.rounds), detail=detail,
    )  # fmt: skip
    return plan.model_copy(update={"verification": verification})
