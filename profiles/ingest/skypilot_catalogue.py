"""One cloud's table in the SkyPilot catalogue: instance types and their prices in USD per hour.

The order of columns differs per cloud and the cloud is not named: ``--provider`` does. Zones of a region are folded
into the cheapest. Google's host and GPU rows are summed, in the same zone. Blank regions become ``global``.

Left out, and counted: machines without GPUs, GPUs that are not known, rows without a price, and spot prices of
exactly 10% or 100% of on-demand (placeholders) or above it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from profiles.errors import UnknownName
from profiles.ingest.files import modified_on
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.google_hosts import host_machine
from profiles.ingest.problems import build, counted
from profiles.ingest.table import Row, Skip, read_rows
from profiles.names import KnownNames
from profiles.types import Batch, InstanceType, Price

REQUIRED = ("InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "Region", "SpotPrice")


@dataclass(frozen=True)
class Offer:
    """One row: a machine, or a part of one (a host without GPUs, GPUs without a host), in one zone."""

    instance: str
    gpu: str
    num_gpus: int
    vcpus: float
    memory_gib: float
    region: str
    zone: str
    usd_per_hour: float
    spot_usd_per_hour: float
    """0 when there is none."""


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Instance types and prices in ``path``; raises ``InvalidInput`` listing the rows that cannot be meant."""
    provider = options.required("provider", "SkyPilot tables do not name the cloud").lower()
    offers, notes = read_rows(path, REQUIRED, lambda row: _offer(row, known), reference=FORMAT.name)
    source = options.source or "SkyPilot catalogue"
    as_of = options.as_of or modified_on(path)
    left_out: Counter[str] = Counter()
    machines = _cheapest_zone(_machines(offers, left_out))
    instances = {
        machine.instance: build(
            InstanceType,
            {
                "provider": provider,
                "name": machine.instance,
                "gpu": machine.gpu,
                "num_gpus": machine.num_gpus,
                "vcpus": machine.vcpus or None,
                "memory_gib": machine.memory_gib or None,
                "source": source,
                "as_of": as_of,
            },
            {},
            f"{path.name}: {machine.instance}",
        )
        for machine in machines
    }
    prices = []
    for machine in machines:
        markets = {"on_demand": machine.usd_per_hour, "spot": _spot(machine, left_out)}
        prices += [
            build(
                Price,
                {
                    "provider": provider,
                    "instance_type": machine.instance,
                    "region": machine.region,
                    "market": market,
                    "usd_per_hour": usd_per_hour,
                    "source": source,
                    "as_of": as_of,
                },
                {},
                f"{path.name}: {machine.instance}",
            )
            for market, usd_per_hour in markets.items()
            if usd_per_hour
        ]
    notes += [f"{counted(count, what)} left out" for what, count in sorted(left_out.items())]
    return Ingested(Batch(instances=tuple(instances.values()), prices=tuple(prices)), tuple(notes))


def _offer(row: Row, known: KnownNames) -> Offer:
    gpu = row["AcceleratorName"]
    if gpu:
        try:
            gpu = known.gpu(gpu)
        except UnknownName:
            raise Skip(f"GPU {gpu} is not in the catalogue") from None
    elif not host_machine(row["InstanceType"]):
        raise Skip("no GPU")
    usd_per_hour, spot_usd_per_hour = row.positive_or_zero("Price"), row.positive_or_zero("SpotPrice")
    if not usd_per_hour:
        raise Skip("no on-demand price")
    return Offer(
        instance=row["InstanceType"],
        gpu=gpu,
        num_gpus=row.count("AcceleratorCount") if gpu else 0,
        vcpus=row.positive_or_zero("vCPUs"),
        memory_gib=row.positive_or_zero("MemoryGiB"),
        region=row["Region"] or "global",
        zone=row["AvailabilityZone"],
        usd_per_hour=usd_per_hour,
        spot_usd_per_hour=spot_usd_per_hour,
    )


def _machines(offers: Iterable[Offer], left_out: Counter[str]) -> list[Offer]:
    """Whole machines: those given whole, and Google's hosts with the price of their GPUs in the same zone added."""
    offers = list(offers)
    whole = [offer for offer in offers if offer.instance and offer.gpu]
    parts = {(part.gpu, part.num_gpus, part.zone or part.region): part for part in offers if not part.instance}
    for host in offers:
        if host.gpu:
            continue
        machine = host_machine(host.instance)
        part = parts.get((*machine, host.zone or host.region)) if machine else None
        if part is None:
            left_out["unpriced Google host"] += 1
            continue
        both_spot = host.spot_usd_per_hour and part.spot_usd_per_hour
        whole.append(
            replace(
                host,
                gpu=part.gpu,
                num_gpus=part.num_gpus,
                usd_per_hour=round(host.usd_per_hour + part.usd_per_hour, 6),
                spot_usd_per_hour=round(host.spot_usd_per_hour + part.spot_usd_per_hour, 6) if both_spot else 0.0,
            )
        )
    return whole


def _cheapest_zone(machines: Iterable[Offer]) -> list[Offer]:
    """Per machine and region the lowest on-demand price and, on its own, the lowest spot price."""
    best: dict[tuple[str, str], Offer] = {}
    for machine in machines:
        key = (machine.instance, machine.region)
        other = best.get(key, machine)
        spots = [price for price in (machine.spot_usd_per_hour, other.spot_usd_per_hour) if price]
        best[key] = replace(
            other,
            usd_per_hour=min(machine.usd_per_hour, other.usd_per_hour),
            spot_usd_per_hour=min(spots, default=0.0),
        )
    return list(best.values())


def _spot(machine: Offer, left_out: Counter[str]) -> float:
    """The spot price of ``machine`` if it is one, else 0."""
    ratio = machine.spot_usd_per_hour / machine.usd_per_hour
    if math.isclose(ratio, 0.1, rel_tol=1e-4) or ratio >= 1 - 1e-9:
        left_out["placeholder spot price"] += 1
        return 0.0
    return machine.spot_usd_per_hour


FORMAT = Format(
    name="skypilot-catalogue",
    description="instance types and prices of one cloud (SkyPilot catalogue): CSV",
    suffixes=(".csv",),
    read=read,
    options=("provider",),
    columns=REQUIRED,
)
