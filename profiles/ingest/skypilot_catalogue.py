"""One cloud's table in the SkyPilot catalogue: instance types and their prices in USD per hour.

The order of columns differs per cloud and the cloud is not named: ``--provider`` does. Zones of a region are folded
into the cheapest. Google's host and GPU rows are summed, in the same zone. Blank regions become ``global``.

Left out, and counted: machines without GPUs, GPUs that are not known, rows without a price, and placeholder prices
(``profiles.ingest.offers``), row by row: one zone's placeholder must not hide another's price.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from profiles.errors import UnknownName
from profiles.ingest.files import modified_on
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.google_hosts import host_machine
from profiles.ingest.offers import Offer, cheapest_zones, facts, notes, without_placeholders
from profiles.ingest.table import Row, Skip, read_rows
from profiles.names import KnownNames

REQUIRED = ("InstanceType", "AcceleratorName", "AcceleratorCount", "vCPUs", "MemoryGiB", "Price", "Region", "SpotPrice")


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Instance types and prices in ``path``; raises ``InvalidInput`` listing the rows that cannot be meant."""
    provider = options.required("provider", "SkyPilot tables do not name the cloud").lower()
    offers, told = read_rows(path, REQUIRED, lambda row: _offer(row, known), reference=FORMAT.name)
    source = options.source or "SkyPilot catalogue"
    as_of = options.as_of or modified_on(path)
    left_out: Counter[str] = Counter()
    priced = without_placeholders(offers, left_out)
    machines = cheapest_zones(without_placeholders(_machines(priced, left_out), left_out))
    batch = facts(machines, provider, source, as_of, path.name)
    return Ingested(batch, (*told, *notes(left_out)))


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


FORMAT = Format(
    name="skypilot-catalogue",
    description="instance types and prices of one cloud (SkyPilot catalogue): CSV",
    suffixes=(".csv",),
    read=read,
    options=("provider",),
    columns=REQUIRED,
)
