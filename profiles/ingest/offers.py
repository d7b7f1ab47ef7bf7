"""Offers of price lists, and the guards that keep placeholders among them from becoming facts."""

from __future__ import annotations

import datetime as dt
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from profiles.ingest.problems import build, counted
from profiles.types import Batch, InstanceType, Price

PLACEHOLDER_RATIO = 0.1
"""Spot prices of exactly a tenth of on-demand stand for "not known" in lists of AWS prices; those of real markets
start just above (Azure's discounts end at 89%)."""

ROUNDED_USD = 5.1e-5
"""Lists round to four digits after the point."""

LEAST_USD_PER_GPU_HOUR, MOST_USD_PER_GPU_HOUR = 0.01, 1000.0
"""Old GPUs on marketplaces rent for some cents, the dearest for some tens of dollars: beyond is a placeholder or
another unit."""


@dataclass(frozen=True)
class Offer:
    """One row: a machine, or a part of one (a host without GPUs, GPUs without a host), in one zone.

    Prices are in USD per hour, 0 where there is none.
    """

    instance: str
    gpu: str
    num_gpus: int
    vcpus: float
    memory_gib: float
    region: str
    zone: str
    usd_per_hour: float
    spot_usd_per_hour: float


def without_placeholders(offers: Iterable[Offer], left_out: Counter[str]) -> Iterator[Offer]:
    """The offers with the prices that can be meant; the others are counted in ``left_out``.

    Left out are spot prices of a tenth, of all or of more than on-demand, and whole machines whose price per GPU no
    market has.
    """
    for offer in offers:
        on_demand, spot = (
            _possible(offer, usd_per_hour, left_out) for usd_per_hour in (offer.usd_per_hour, offer.spot_usd_per_hour)
        )
        if on_demand and spot and _is_placeholder(spot, on_demand):
            left_out["placeholder spot price"] += 1
            spot = 0.0
        yield replace(offer, usd_per_hour=on_demand, spot_usd_per_hour=spot)


def _possible(offer: Offer, usd_per_hour: float, left_out: Counter[str]) -> float:
    """The price, or 0 where no market has it. Parts of machines pass: only their sum is a price of GPUs."""
    is_whole = offer.gpu and offer.instance
    per_gpu = usd_per_hour / max(offer.num_gpus, 1)
    if is_whole and usd_per_hour and not LEAST_USD_PER_GPU_HOUR <= per_gpu <= MOST_USD_PER_GPU_HOUR:
        left_out["price that no GPU has"] += 1
        return 0.0
    return usd_per_hour


def _is_placeholder(spot: float, on_demand: float) -> bool:
    is_tenth = math.isclose(spot, PLACEHOLDER_RATIO * on_demand, rel_tol=1e-4, abs_tol=ROUNDED_USD)
    return is_tenth or spot >= on_demand * (1 - 1e-9)


def cheapest_zones(machines: Iterable[Offer]) -> list[Offer]:
    """Per machine and region the lowest on-demand price and, on its own, the lowest spot price."""
    best: dict[tuple[str, str], Offer] = {}
    for machine in machines:
        other = best.setdefault((machine.instance, machine.region), machine)
        best[machine.instance, machine.region] = replace(
            other,
            usd_per_hour=_lowest(machine.usd_per_hour, other.usd_per_hour),
            spot_usd_per_hour=_lowest(machine.spot_usd_per_hour, other.spot_usd_per_hour),
        )
    return list(best.values())


def _lowest(*usd_per_hour: float) -> float:
    """Of the prices that there are; 0 where there is none."""
    return min((price for price in usd_per_hour if price), default=0.0)


def facts(machines: Iterable[Offer], provider: str, source: str, as_of: dt.date, file: str) -> Batch:
    """Instance types and prices of whole machines that have any; raises ``InvalidInput`` where one cannot be meant."""
    instances: dict[str, InstanceType] = {}
    prices: list[Price] = []
    cited = {"provider": provider, "source": source, "as_of": as_of}
    for machine in machines:
        place = f"{file}: {machine.instance}"
        markets = {"on_demand": machine.usd_per_hour, "spot": machine.spot_usd_per_hour}
        priced = {market: price for market, price in markets.items() if price}
        if priced:
            shape = {
                "name": machine.instance, "gpu": machine.gpu, "num_gpus": machine.num_gpus,
                "vcpus": machine.vcpus or None, "memory_gib": machine.memory_gib or None,
            }  # fmt: skip
            instances.setdefault(machine.instance, build(InstanceType, cited | shape, {}, place))
        for market, usd_per_hour in priced.items():
            offered = {"instance_type": machine.instance, "region": machine.region, "market": market}
            prices.append(build(Price, cited | offered | {"usd_per_hour": usd_per_hour}, {}, place))
    return Batch(instances=tuple(instances.values()), prices=tuple(prices))


def notes(left_out: Counter[str]) -> list[str]:
    """Sentences that count what was left out."""
    return [f"{counted(count, what)} left out" for what, count in sorted(left_out.items())]
