"""Facts renewed before a night's planning, from the sources that a service names."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from planner.errors import GpuplanError, InvalidInput
from planner.replan.service import Fleet, Refresh
from profiles.types import Facts

if TYPE_CHECKING:
    from sqlalchemy import Engine

OLD_PRICE_DAYS = 30
"""Spot prices move within days, lists within months: beyond this a report says so."""


def check(sources: Sequence[Refresh]) -> None:
    """Raise ``InvalidInput`` for a format or an option that does not exist, or a source without its file."""
    from profiles.ingest import options_of

    for i, source in enumerate(sources):
        try:
            takes_no_file = options_of(source.format, source.options)[0].ask is not None
        except InvalidInput as error:
            raise InvalidInput(error.detail, field=f"refresh[{i}]: {error.field or 'format'}", fix=error.fix) from None
        if source.file is None and not takes_no_file:
            raise InvalidInput("is missing", field=f"refresh[{i}].file", fix=f"name a file of {source.format}")


def refresh(engine: Engine, sources: Iterable[Refresh]) -> Iterator[str]:
    """Import every source; a sentence for each that cannot be. Old facts are better than no plan."""
    from profiles import store
    from profiles.ingest import read
    from profiles.names import KnownNames

    for source in sources:
        try:
            known = KnownNames.of(store.snapshot(engine))
            store.add(engine, read(source.format, source.file, known, **source.options).batch)
            continue
        except GpuplanError as error:
            why = f"{error.field}: {error.detail}" if error.field else error.detail
        except Exception:  # a defect in a reader must not cost a night
            logging.getLogger(__name__).exception("import of %s failed", source.format)
            why = "a defect in gpuplan; the log has it"
        name = source.format if source.file is None else source.file.name
        yield f"{name} was not imported, older facts are used: {why}"


def old_prices(fleets: Iterable[Fleet], facts: Facts, date: dt.date) -> Iterator[str]:
    """A sentence for each rented offer whose price is old."""
    as_of = {(p.provider, p.region, p.instance_type, p.market): p.as_of for p in facts.prices}
    rented = {(i.provider, i.region, i.instance_type, i.market) for fleet in fleets for i in fleet}
    for place in sorted(rented & as_of.keys()):
        age_days = (date - as_of[place]).days
        if age_days > OLD_PRICE_DAYS:
            yield f"the price of {'/'.join(place)} is {age_days} days old"
