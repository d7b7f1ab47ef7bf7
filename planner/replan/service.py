"""What a saved service is: what is served, where its demand is written down, the terms of change, and what runs."""

from __future__ import annotations

import datetime as dt
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from planner.replan.schedule.types import Instances
from planner.replan.schedule.types import Terms as ScheduleTerms
from planner.serving.spec import Number, Rate, ServingSpec
from planner.types import Frozen
from profiles.fact import Name

Mode = Literal["hourly", "static"]
"""``hourly``: other instances in other hours of the day. ``static``: one plan, made for the busiest hour."""

ServiceName = Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")]
"""Small letters, digits and dashes: it names files and objects of Kubernetes (RFC 1123)."""


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _known_time_zone(name: str) -> str:
    if name not in _time_zones():
        raise ValueError(f"{name!r} is no time zone: write one as Europe/Berlin, or UTC")
    return name


EARLIEST, LATEST = dt.datetime(1973, 1, 1, tzinfo=dt.UTC), dt.datetime(3000, 1, 1, tzinfo=dt.UTC)
"""Of what was observed: clocks and calendars are sure to have room around it."""


class Observed(Frozen):
    """Request rates by hour from ``start`` on; null where nobody knows."""

    start: Annotated[AwareDatetime, Field(ge=EARLIEST, lt=LATEST)]
    requests_per_s: tuple[Rate | None, ...] = Field(min_length=1, max_length=20_000)


class Demand(Frozen):
    """Where the request rates of one service of the spec are written down: files, numbers, or both.

    Files hold rates (``time, requests_per_s``) or counts (``time, requests``) of every hour or less, as CSV, JSONL or
    Parquet, or requests one by one, as ``planner.trace_file`` reads them. Later files win where two speak of the same
    hour, and ``observed`` over all.
    """

    service: Name
    files: tuple[Path, ...] = Field(default=(), max_length=1000)
    observed: Observed | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Demand:
        if not self.files and self.observed is None:
            raise ValueError("give files, or observed rates")
        return self


class Refresh(Frozen):
    """Facts that are imported before each planning, such as a price catalogue that something else renews."""

    format: Name = Field(description="as `gpuplan profiles formats` lists them")
    file: Path | None = Field(default=None, description="None: asks the installed package (gpuhunt)")
    options: dict[str, str] = Field(default={}, max_length=20, description="as those of `gpuplan profiles import`")


class Terms(Frozen):
    """When a change is worth it, and how far ahead is looked."""

    mode: Mode = "hourly"
    quantile: Annotated[Number, Field(gt=0, lt=1)] = Field(
        default=0.95, description="of the forecast of each hour: the demand that is planned for"
    )
    horizon_days: Annotated[int, Field(ge=1, le=7)] = Field(
        default=1, description="planned, and compared in money, together"
    )
    least_saving_fraction: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.03, description="of what keeping costs: a smaller saving changes nothing"
    )
    least_saving_usd: Annotated[Number, Field(ge=0)] = Field(default=0.0, description="over the horizon, likewise")
    schedule: ScheduleTerms = Field(
        default=ScheduleTerms(), description="start-up time, cost of a start, minimum up time, reserved base"
    )


class SavedService(Frozen):
    """A service that is planned again every night.

    ``spec`` says what is served, under which SLO and from which offers; the request rates in it count as the mix of
    sizes, and its total only for services without ``demand``.
    """

    name: ServiceName
    spec: ServingSpec
    demand: tuple[Demand, ...] = Field(default=(), max_length=200)
    terms: Terms = Terms()
    refresh: tuple[Refresh, ...] = Field(default=(), max_length=50)
    time_zone: Annotated[str, AfterValidator(_known_time_zone)] = Field(
        default="UTC", description="of the people who use it: days begin and seasons repeat by their clocks"
    )

    @model_validator(mode="after")
    def _consistent(self) -> SavedService:
        known = {service.name for service in self.spec.services}
        named = [demand.service for demand in self.demand]
        for name in named:
            if name not in known:
                raise ValueError(f"demand: the spec has no service {name!r}; it has {', '.join(sorted(known))}")
        twice = next((a for a, b in pairwise(sorted(named)) if a == b), None)
        if twice is not None:
            raise ValueError(f"demand: {twice!r} appears twice; put its files into one list")
        still = next((s.name for s in self.spec.services if s.name in named and not s.workload.all_buckets()), None)
        if still is not None:
            raise ValueError(
                f"spec: {still!r} needs traffic of its own, however little: the forecast is split over its sizes"
            )
        if self.spec.objective != "cost":
            raise ValueError(
                f"spec.objective is {self.spec.objective!r}: re-planning weighs savings in money, so write cost"
            )
        return self

    def zone(self) -> ZoneInfo:
        """The clock of the people who use the service."""
        return ZoneInfo(self.time_zone)


Fleet = tuple[Instances, ...]
"""What is rented at one moment: every offer once."""


class RunningPlan(Frozen):
    """A fleet, and the saved serving plan that it runs (None: nobody said)."""

    fleet: Fleet
    plan_id: str | None = None


class Running(Frozen):
    """What runs: ``hours`` name one of ``plans`` each. One hour stands for all; else they are the hours of the local
    days from ``since`` on, over and over.
    """

    since: dt.date
    plans: tuple[RunningPlan, ...] = Field(min_length=1)
    hours: tuple[Annotated[int, Field(ge=0)], ...] = Field(default=(0,), min_length=1, max_length=7 * 24)

    @model_validator(mode="after")
    def _consistent(self) -> Running:
        if len(self.hours) != 1 and len(self.hours) % 24:
            raise ValueError(f"hours: {len(self.hours)} are no whole days")
        if max(self.hours) >= len(self.plans):
            raise ValueError(f"hours: there is no plan {max(self.hours)}; plans count from 0")
        return self

    def at(self, local: dt.datetime) -> RunningPlan:
        """What runs in an hour, by the local clock."""
        days = (local.date() - self.since).days
        return self.plans[self.hours[(days * 24 + local.hour) % len(self.hours)]]
