"""Instances that do not come: what was observed, and the next best plan without them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Engine

from planner.provision.driver import UnitState
from planner.service import answer
from planner.serving.plan import Allocation, Rental, ServingPlan
from planner.serving.spec import Availability
from planner.types import SolveOptions
from profiles.types import Market


@dataclass(frozen=True)
class Shortage:
    """Of ``wanted`` instances of one offer only ``came`` came up."""

    provider: str
    instance_type: str
    region: str
    market: Market
    wanted: int
    came: int
    reason: str

    def __str__(self) -> str:
        """In words."""
        return (f"{self.came} of {self.wanted} {self.instance_type} ({self.provider}/{self.region}/{self.market}) "
                f"came up: {self.reason}")  # fmt: skip


def rental_of(plan: ServingPlan, row: Allocation) -> Rental | None:
    """The instances that a unit runs on; None where a spec gave its rates and it is rented by itself."""
    return next((rental for rental in plan.rentals if _offer(rental) == _offer(row)), None)


def shortages(plan: ServingPlan, units: Iterable[UnitState]) -> tuple[Shortage, ...]:
    """Which offers of ``plan`` are short, from the units that are not ready for lack of instances."""
    states = {state.unit: state for state in units}
    by_offer: dict[tuple[str, str, str, str], list[Allocation]] = defaultdict(list)
    for row in plan.allocation:
        by_offer[_offer(row)].append(row)
    found = []
    for rows in by_offer.values():
        reasons = [states[row.unit].reason for row in rows if row.unit in states and states[row.unit].short]
        if reasons:
            gpus = {row.unit: row.gpus_per_replica for row in rows}
            rental = rental_of(plan, rows[0])
            per_instance = rental.gpus_per_instance if rental else rows[0].gpus_per_replica
            wanted = rental.instances if rental else sum(row.replicas for row in rows)
            ready = sum(states[unit].ready * gpus[unit] for unit in gpus if unit in states)
            # Of all that were wanted at least one is missing, even where what came up fills as many in part.
            came = min(math.ceil(ready / per_instance), wanted - 1)
            row = rows[0]
            found.append(Shortage(row.provider, row.instance_type, row.region, row.market, wanted, came, reasons[0]))
    return tuple(found)


def next_best(plan: ServingPlan, short: Iterable[Shortage], engine: Engine, options: SolveOptions) -> ServingPlan:
    """The best plan for the same request where no more of the short offers can be had than came up.

    Its outcome is ``infeasible`` where nothing else serves the request. Raises what ``planner.service.answer`` raises.
    """
    observed = tuple(Availability(max_instances=s.came, provider=s.provider, region=s.region, market=s.market,
                                  instance_type=s.instance_type) for s in short)  # fmt: skip
    limits = plan.spec.limits.model_copy(update={"availability": (*plan.spec.limits.availability, *observed)})
    found = answer("serving", plan.spec.model_copy(update={"limits": limits}), engine, options)
    if not isinstance(found, ServingPlan):
        raise TypeError("the serving planner made another kind of plan")
    return found


def _offer(row: Allocation | Rental) -> tuple[str, str, str, str]:
    return (row.provider, row.instance_type, row.region, row.market)
