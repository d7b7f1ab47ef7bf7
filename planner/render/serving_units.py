"""The units of a serving plan, ready to be written for any system; plans that cannot be run are refused here. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from planner.errors import FailedCheck, InvalidInput
from planner.render.serving_engines import Engine, Options, Run, engine_of, needs_checkpoint
from planner.render.serving_names import dns_name
from planner.render.serving_nodes import is_amd
from planner.serving.plan import Allocation, Rental, Route, ServingPlan

START_S = 1800
"""Loading a model may take so long: half an hour for the largest ones over a slow link. An assumption."""


@dataclass(frozen=True)
class Unit:
    """One row of a plan's allocation. ``id`` is a DNS label, unique in the plan and the same in every plan of it."""

    id: str
    row: Allocation
    rental: Rental
    engine: Engine
    image: str
    run: Run

    @property
    def command(self) -> tuple[str, ...]:
        """Arguments of the process that serves one replica, the program first."""
        return self.engine.command(self.run)

    @property
    def options(self) -> Options:
        """What the process reads from ``OPTIONS_FILE``; empty where flags say it all."""
        return self.engine.options(self.run)


def units(plan: ServingPlan, name: str | None = None) -> tuple[Unit, ...]:
    """Every unit of ``plan``, deployed as ``name`` (by default its spec's).

    Raises
    ------
    InvalidInput
        Nothing is rented, or a unit cannot be run: its layout or engine is not known, or a replica spans instances.
    FailedCheck
        The plan contradicts itself: it was changed since it was made.
    """
    if not plan.allocation:
        raise InvalidInput("rents nothing: there is nothing to render", field="PLAN")
    _contradicts_itself(plan)
    return tuple(_unit(plan, row, name or plan.spec.name) for row in plan.allocation)


def remarks(made: Iterable[Unit]) -> tuple[str, ...]:
    """What a person must see to before the files can work, one line each; names are quoted as in JSON."""
    wanted = dict.fromkeys(
        (unit.run.model, unit.run.layout.precision)
        for unit in made
        if needs_checkpoint(unit.run.model, unit.run.layout)
    )
    return tuple(
        f"Put a checkpoint quantised to {precision} in place of {json.dumps(model)}: its own weights are not."
        for model, precision in wanted
    )


def _contradicts_itself(plan: ServingPlan) -> None:
    counts = Counter(row.unit for row in plan.allocation)
    twice = next((unit for unit, count in counts.items() if count > 1), None)
    if twice is not None:
        raise FailedCheck(f"unit {twice!r} appears twice: the plan is not rendered")
    services = {service.name for service in plan.spec.services}
    for row in plan.allocation:
        if row.service not in services:
            raise FailedCheck(f"unit {row.unit!r} is of no service of the spec: the plan is not rendered")
        if row.replicas < 1 or row.gpus_per_replica < 1:
            raise FailedCheck(f"unit {row.unit!r} has no replicas or no GPUs: the plan is not rendered")
        if row.layout is not None and row.layout.num_gpus != row.gpus_per_replica:
            raise FailedCheck(f"unit {row.unit!r} has degrees that do not make its GPUs: the plan is not rendered")
    for route in plan.routing:
        for unit in (route.unit, route.decode_unit):
            if unit is not None and unit not in counts:
                raise FailedCheck(f"requests are routed to {unit!r}, which does not run: the plan is not rendered")


def _unit(plan: ServingPlan, row: Allocation, name: str) -> Unit:
    if row.layout is None:
        raise InvalidInput(
            f"{row.unit!r} has rates that were given, and no layout: what would run is not known", field="PLAN",
            fix="name a model to plan from profiles, in place of units or rate_profiles",
        )  # fmt: skip
    engine = engine_of(row.layout)
    image = engine.amd_image if is_amd(row.gpu) else engine.image
    if not image:
        raise InvalidInput(f"{row.unit!r}: {engine.name} does not run on {row.gpu}", field="PLAN",
                           fix="plan with another of services.engines")  # fmt: skip
    model = next(service.model for service in plan.spec.services if service.name == row.service)
    if model.startswith("-") or "\0" in model:
        raise InvalidInput(f"{model!r} is no model that an engine can be told to load", field="services.model")
    rental = _rental(plan, row)
    routes = [route for route in plan.routing if row.unit in (route.unit, route.decode_unit)]
    run = Run(model, row.layout, row.role, _max_tokens(plan, row, routes), _concurrency(row, routes))
    identity = dns_name(name, row.service, row.gpu, "" if row.role == "unified" else row.role, of=(name, row.unit))
    return Unit(identity, row, rental, engine, image, run)


def _rental(plan: ServingPlan, row: Allocation) -> Rental:
    """The instances that the unit runs on, of which one must hold a replica."""
    place = (row.provider, row.instance_type, row.region, row.market)
    for rental in plan.rentals:
        if (rental.provider, rental.instance_type, rental.region, rental.market) == place:
            if row.gpus_per_replica > rental.gpus_per_instance:
                raise InvalidInput(
                    f"a replica of {row.unit!r} spans {row.gpus_per_replica // rental.gpus_per_instance} instances, "
                    "which no target here starts together", field="PLAN",
                    fix=f"plan with services.tp up to {rental.gpus_per_instance}",
                )  # fmt: skip
            return rental
    raise FailedCheck(f"unit {row.unit!r} runs on instances that the plan does not rent: the plan is not rendered")


def _max_tokens(plan: ServingPlan, row: Allocation, routes: list[Route]) -> int | None:
    """Input and output of the longest request that the unit serves; of its service where none is routed to it."""
    longest = [route.input_tokens[1] + route.output_tokens[1] for route in routes] or [
        bucket.input_tokens[1] + bucket.output_tokens[1]
        for service in plan.spec.services
        if service.name == row.service
        for bucket in service.workload.all_buckets()
    ]
    return max(longest, default=None)


def _concurrency(row: Allocation, routes: list[Route]) -> float | None:
    """Most requests in flight at which the plan has the SLO hold; a prefill replica's is not the route's."""
    known = [route.concurrency for route in routes if route.concurrency is not None]
    return None if row.role == "prefill" else max(known, default=None)
