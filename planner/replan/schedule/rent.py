"""What may be rented over time: offers with their reserved twins, and the machines that they are all names for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.errors import InvalidInput
from planner.program import Bools, Floats, Ints
from planner.replan.schedule.types import Instances, Place, Terms
from planner.serving.offers import Offer, rentable
from planner.serving.spec import OwnPrice, ServingSpec
from profiles.names import KnownNames
from profiles.types import Facts


def place_of(rented: Instances) -> Place:
    """What is rented, without how many."""
    return (rented.provider, rented.region, rented.instance_type, rented.market)


def with_reserved(spec: ServingSpec, facts: Facts, terms: Terms, running: Sequence[Instances]) -> ServingSpec:
    """The spec with reserved instances among its offers, at ``terms.reserved_discount`` below on demand where neither
    the spec nor the store has a price for them.
    """
    held = any(rented.market == "reserved" for rented in running)
    if terms.reserved_discount is None and not held:
        return spec
    prices = list(spec.offers.prices)
    if terms.reserved_discount is not None:
        priced = {(p.provider, p.instance_type, p.region) for p in prices if p.market == "reserved"}
        priced |= {(p.provider, p.instance_type, p.region) for p in facts.prices if p.market == "reserved"}
        measured = any(service.units is None for service in spec.services)
        prices += [
            OwnPrice(
                provider=offer.provider, instance_type=offer.instance_type, region=offer.region, market="reserved",
                usd_per_hour=offer.usd_per_hour * (1 - terms.reserved_discount),
            )
            for offer in (rentable(spec, facts, KnownNames.of(facts)) if measured else ())
            if offer.market == "on_demand" and (offer.provider, offer.instance_type, offer.region) not in priced
        ]  # fmt: skip
    markets = tuple(dict.fromkeys((*spec.offers.markets, "reserved")))
    return spec.model_copy(
        update={"offers": spec.offers.model_copy(update={"prices": tuple(prices), "markets": markets})}
    )


@dataclass(frozen=True)
class Rent:
    """How offers behave over time, O of them. A *machine* is an instance type in a region, on spot or not: an instance
    that is on demand in one hour may be billed as reserved in the next, and does not start again for that.
    """

    reserved: Bools  # [O] rented over all hours or not at all
    least_reserved: Floats  # [O] reserved already
    most: Floats  # [O] instances; inf where only limits say
    machine: Ints  # [O] which machine an offer rents
    running: Floats  # [M] instances of each machine before the first hour

    @property
    def num_machines(self) -> int:
        """M."""
        return self.running.size


def rent_of(spec: ServingSpec, offers: tuple[Offer, ...], terms: Terms, running: Sequence[Instances]) -> Rent:
    """How ``offers`` behave over time. ``spec`` is the one that was asked for, without what ``with_reserved`` adds.

    What runs and is not on offer any more stops before the first hour; ``InvalidInput`` if that is reserved.
    """
    count = {place_of(rented): 0 for rented in running}
    for rented in running:
        count[place_of(rented)] += rented.instances
    reserved = np.array([offer.market == "reserved" for offer in offers], dtype=bool)
    machines = [(offer.provider, offer.region, offer.instance_type, offer.market == "spot") for offer in offers]
    index = {machine: i for i, machine in enumerate(dict.fromkeys(machines))}
    before = np.zeros(len(index))
    for (provider, region, instance_type, market), instances in count.items():
        machine = index.get((provider, region, instance_type, market == "spot"))
        if machine is not None:
            before[machine] += instances
    places = [(offer.provider, offer.region, offer.instance_type, offer.market) for offer in offers]
    least = np.array([float(count.get(place, 0)) for place in places]) * reserved
    for place in count:
        if place[3] == "reserved" and place not in places:
            raise InvalidInput(
                f"{'/'.join(place)} is reserved and runs, but has no price among the offers", field="running",
                fix="give its price in offers.prices, or terms.reserved_discount",
            )  # fmt: skip
    free = terms.reserve and (terms.reserved_discount is not None or "reserved" in spec.offers.markets)
    most = np.where(reserved & (not free), least, np.inf)
    return Rent(reserved, least, most, np.array([index[machine] for machine in machines], dtype=np.int64), before)
