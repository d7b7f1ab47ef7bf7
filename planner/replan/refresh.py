"""Facts renewed before a night's planning, from the files that a service names."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from planner.errors import GpuplanError
from planner.replan.service import Fleet, Refresh
from profiles.types import Facts

if TYPE_CHECKING:
    from sqlalchemy import Engine

OLD_PRICE_DAYS = 30
"""Spot prices move within days, lists within months: beyond this a report says so."""


def refresh(engine: Engine, sources: Iterable[Refresh]) -> Iterator[str]:
    """Import every source; a sentence for each that cannot be. Old facts are better than no plan."""
    from profiles import store
    from profiles.ingest import read
    from profiles.names import KnownNames

    for source in sources:
        try:
            known = KnownNames.of(store.snapshot(engine))
            store.add(engine, read(source.format, source.file, known, **source.options).batch)
        except GpuplanError as error:
            yield f"{source.file.name} was not imported, older facts are used: {error.detail}"


def old_prices(fleets: Iterable[Fleet], facts: Facts, date: dt.date) -> Iterator[str]:
    """A sentence for each rented offer whose price is old."""
    as_of = {(p.provider, p.region, p.instance_type, p.market): p.as_of for p in facts.prices}
    rented = {(i.provider, i.region, i.instance_type, i.market) for fleet in fleets for i in fleet}
    for place in sorted(rented & as_of.keys()):
        age_days = (date - as_of[place]).days
        if age_days > OLD_PRICE_DAYS:
            yield f"the price of {'/'.join(place)} is {age_days} days old"
