"""What a schedule is made from and what it says: demand by hour, terms of renting, and what to rent in each hour."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from typing import Annotated, Literal, Protocol

from pydantic import AwareDatetime, Field, model_validator

from planner.serving.plan import ServingPlan
from planner.serving.spec import Number, Rate, ServingSpec
from planner.types import Frozen, Plan
from profiles.fact import Count, Market, Name

MOST_HOURS = 744
"""A month of 31 days: beyond that nobody knows demand by the hour, and one optimisation has no time for it."""


class HourlyDemand(Frozen):
    """Request rates by hour from ``start`` on. A service that is not named keeps the rate that its spec says.

    Rates are of the whole service: its mix of request sizes is that of the spec, in every hour.
    """

    start: AwareDatetime
    services: dict[Name, tuple[Rate, ...]] = Field(min_length=1, description="requests per second by hour")

    @model_validator(mode="after")
    def _as_long_as_each_other(self) -> HourlyDemand:
        lengths = {name: len(rates) for name, rates in self.services.items()}
        if len(set(lengths.values())) > 1:
            listing = ", ".join(f"{name}: {length}" for name, length in lengths.items())
            raise ValueError(f"services must have rates for the same hours; they have ({listing})")
        if not 1 <= self.num_hours <= MOST_HOURS:
            raise ValueError(f"services have rates for {self.num_hours} hours; give 1 to {MOST_HOURS}")
        return self

    @property
    def num_hours(self) -> int:
        """Hours from ``start`` to the end."""
        return len(next(iter(self.services.values())))

    def hour(self, index: int) -> dt.datetime:
        """When an hour begins."""
        return self.start + dt.timedelta(hours=index)


class Terms(Frozen):
    """What it takes to start and stop instances, and what may be reserved.

    An instance is ordered ``start_up_s`` before the first hour that it serves, and is paid from then on. It is used or
    stopped in whole hours. What runs before the first hour may be stopped at any time.
    """

    start_up_s: Annotated[Number, Field(ge=0, le=86_400)] = Field(
        default=600.0, description="from the order until it serves: booting, loading weights, warming up"
    )
    usd_per_start: Annotated[Number, Field(ge=0, le=1e6)] = Field(
        default=0.0, description="for each instance that starts, beside the price of the time that starting takes"
    )
    min_up_hours: Annotated[int, Field(ge=1, le=168)] = Field(
        default=1, description="hours that an instance serves before it may stop"
    )
    lead_s: Annotated[Number, Field(ge=0)] | None = Field(
        default=None, description="from now to the first hour; orders cannot lie before. None: long enough"
    )
    reserve: bool = Field(
        default=True,
        description="whether more may be reserved. What is reserved already stays, and is paid for, in any case",
    )
    reserved_discount: Annotated[Number, Field(ge=0, lt=1)] | None = Field(
        default=None, description="reserved instances cost this fraction less than on demand; 0.3 takes 30% off"
    )

    @property
    def hours_ahead(self) -> int:
        """Hours before its first that an instance is there already, starting."""
        return math.ceil(self.start_up_s / 3600)

    def paid_share(self, hours_before: int) -> float:
        """Share of the hour so many hours before its first (1: the one just before) for which an instance is paid."""
        return min(max(self.start_up_s / 3600 - (hours_before - 1), 0.0), 1.0)


Place = tuple[str, str, str, str]
"""Provider, region, instance type, market."""


class Rented(Protocol):
    """Some instances of one offer, as anything that has these attributes says it."""

    @property
    def provider(self) -> str:
        """Whose cloud."""

    @property
    def instance_type(self) -> str:
        """As the provider calls it."""

    @property
    def region(self) -> str:
        """As the provider calls it."""

    @property
    def market(self) -> Market:
        """How it is billed."""

    @property
    def instances(self) -> int:
        """How many, at least one."""


class Instances(Frozen):
    """Some instances of one offer."""

    provider: Name
    instance_type: Name
    region: Name
    market: Market
    instances: Count


def instances_of(fleet: Sequence[Rented]) -> tuple[Instances, ...]:
    """The same fleet in our words."""
    return tuple(
        Instances(provider=r.provider, instance_type=r.instance_type, region=r.region, market=r.market,
                  instances=r.instances)
        for r in fleet
    )  # fmt: skip


class Hour(Frozen):
    """One hour: which plan runs, and what changes when it begins.

    ``starts`` are ready when the hour begins, so they are ordered a start-up time before.
    """

    start: AwareDatetime
    plan: int = Field(ge=0, description="which of the schedule's plans runs, counted from 0")
    requests_per_s: dict[str, float]
    rentals: tuple[Instances, ...]
    starts: tuple[Instances, ...] = ()
    stops: tuple[Instances, ...] = ()
    usd: float = Field(description="of what serves in this hour, and of the starts that are ready when it begins")


class Schedule(Plan):
    """What to rent in each hour. ``objective`` and ``bound`` are USD over all hours.

    A schedule runs few different fleets. Each is a serving plan of its own, made for the most that the fleet carries of
    the mix of its spec, with routes that also hold for less.
    """

    kind: Literal["schedule"] = "schedule"
    spec: ServingSpec
    demand: HourlyDemand
    terms: Terms
    running: tuple[Instances, ...] = Field(default=(), description="what runs before the first hour")
    usd: float | None = None
    hours: tuple[Hour, ...] = ()
    plans: tuple[ServingPlan, ...] = ()
    reserved: tuple[Instances, ...] = Field(default=(), description="the base that is paid for in every hour")
    notes: tuple[str, ...] = ()

    def carries(self, hour: int) -> dict[str, float]:
        """Requests/s of each service that the fleet of an hour carries within its SLO, at the planned utilisation."""
        spec = self.plans[self.hours[hour].plan].spec
        return {s.name: sum(b.requests_per_s for b in s.workload.all_buckets()) for s in spec.services}

    @property
    def usd_per_hour(self) -> tuple[float, ...]:
        """Cost by hour; sums to ``usd``."""
        return tuple(hour.usd for hour in self.hours)
