"""What a serving plan says about the pools, routes and link of each of its services."""

from __future__ import annotations

import math
from dataclasses import dataclass

from planner.errors import InvalidInput
from planner.serving.plan import Route, ServingPlan
from planner.serving.spec import Service
from planner.simulate.cluster import Choice, Link, Options, Pool, SizeRoutes
from profiles.names import KnownNames
from profiles.performance import PerformanceModel
from profiles.types import Facts

MOST_REPLICAS = 100_000
"""Of one unit."""

PLAN_AGAIN = "plan again with `gpuplan plan serving`, or undo the change: `gpuplan check` says all that does not hold"


@dataclass(frozen=True)
class PlannedService:
    """All that a replay of one service needs from its plan."""

    service: Service
    pools: tuple[Pool, ...]
    routes: tuple[SizeRoutes, ...]
    link: Link | None
    max_context_tokens: float
    notes: tuple[str, ...]


def planned_services(plan: ServingPlan) -> dict[str, Service]:
    """Services of ``plan`` that have replicas, by name.

    Raises
    ------
    InvalidInput
        The plan found no mix, rents nothing, has units without a layout, whose latency nobody knows, or was changed
        by hand so that nobody can run it.
    """
    if plan.outcome in ("infeasible", "no_solution"):
        raise InvalidInput(f"the plan is {plan.outcome}: there is nothing to replay", field="plan: outcome",
                           fix="plan again with the changes that `gpuplan plan` names")  # fmt: skip
    if not plan.allocation:
        raise InvalidInput("the plan has no replicas: there is nothing to replay", field="plan: allocation",
                           fix="plan for some traffic")  # fmt: skip
    blind = [a.unit for a in plan.allocation if a.layout is None]
    if blind:
        raise InvalidInput(
            f"{blind[0]} has given request rates and no layout, so nobody knows its latency", field="plan: allocation",
            fix="plan from a model and its measurements instead of units or rate_profiles",
        )  # fmt: skip
    used = {a.service for a in plan.allocation}
    services = {service.name: service for service in plan.spec.services if service.name in used}
    for i, a in enumerate(plan.allocation):
        if a.service not in services:
            raise InvalidInput(f"is for service {a.service!r}, which the spec of the plan lacks",
                               field=f"plan: allocation[{i}]", fix=PLAN_AGAIN)  # fmt: skip
        if not 1 <= a.replicas <= MOST_REPLICAS:
            raise InvalidInput(f"{a.replicas} replicas cannot be replayed: only 1 to {MOST_REPLICAS:,}",
                               field=f"plan: allocation[{i}].replicas", fix=PLAN_AGAIN)  # fmt: skip
    return services


def planned(
    plan: ServingPlan, service: Service, performance: PerformanceModel, facts: Facts, options: Options
) -> PlannedService:
    """Pools with their costs, and routes, of one service.

    Raises ``InvalidInput`` where nothing is known about a layout, it is of another model, or shares make no sense.
    """
    names, pools, notes = KnownNames.of(facts), [], []
    for a in plan.allocation:
        if a.service == service.name and a.layout is not None:
            if names.model(a.layout.model) != names.model(service.model):
                raise InvalidInput(
                    f"{a.unit} runs {a.layout.model}, but service {service.name!r} is for {service.model}",
                    field="plan: allocation", fix=PLAN_AGAIN,
                )  # fmt: skip
            host_w = plan.spec.host_w_per_gpu * a.gpus_per_replica
            pools.append(Pool(a.unit, performance.iteration(a.layout), a.replicas, a.role, host_w))
    card = names.model_card(service.model)
    if card is None:
        notes.append(f"{service.name}: the context length of {service.model} is not known, so no request is too long")
    sizes: dict[tuple[tuple[int, int], tuple[int, int]], list[Route]] = {}
    for route in plan.routing:
        if route.service == service.name:
            sizes.setdefault((route.input_tokens, route.output_tokens), []).append(route)
    if not sizes:
        raise InvalidInput(f"routes nothing to service {service.name!r}", field="plan: routing")
    for (tokens_in, tokens_out), choices in sizes.items():
        if min(r.fraction for r in choices) < 0 or not sum(r.fraction for r in choices) > 0:
            raise InvalidInput(f"the shares of requests of {tokens_in} in and {tokens_out} out are not fractions of 1",
                               field="plan: routing", fix=PLAN_AGAIN)  # fmt: skip
    routes = tuple(
        SizeRoutes(*size, tuple(Choice(r.unit, r.decode_unit, r.fraction) for r in choices))
        for size, choices in sizes.items()
    )
    layers = card.num_layers if card is not None and options.overlap_layers else 1
    link = Link(service.kv_link_gb_per_s, options.link_latency_ms, layers)
    return PlannedService(
        service, tuple(pools), routes, link, card.max_context_tokens if card else math.inf, tuple(notes)
    )
