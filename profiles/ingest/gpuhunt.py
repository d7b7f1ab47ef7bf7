"""A catalogue of gpuhunt (dstack): the offers of one cloud, on-demand and spot in separate rows, in USD per hour.

The CSV as ``gpuhunt`` publishes it, one file per cloud: its name says which (``aws.csv``), or ``--provider`` does.
Where the package is installed, ``offers`` asks it for the cloud's offers of today. Zones of a region are folded into
the cheapest. A GPU is known by its name and memory: gpuhunt calls both an A100 of 40 and of 80 GB an A100.

Left out, and counted: machines without GPUs, GPUs that are not known or of another memory, and placeholder prices
(``profiles.ingest.offers``).
"""

from __future__ import annotations

import datetime as dt
import os
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from profiles.errors import InvalidInput, UnknownName
from profiles.ingest.files import modified_on
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.offers import Offer, cheapest_zones, facts, notes, without_placeholders
from profiles.ingest.problems import counted
from profiles.ingest.table import Row, Skip, read_rows
from profiles.names import KnownNames

REQUIRED = ("instance_name", "location", "price", "cpu", "memory", "gpu_count", "gpu_name", "gpu_memory", "spot")

CLOUDS = ("aws", "azure", "cloudrift", "crusoe", "digitalocean", "gcp", "hotaisle", "jarvislabs", "lambdalabs",
          "nebius", "oci", "runpod", "seeweb", "verda", "vultr")  # fmt: skip
"""That gpuhunt has and that rent by type. Marketplaces (vastai, lium) offer single machines, which come and go."""

GOOGLES_ZONE = re.compile(r"([a-z]+-[a-z]+\d+)-[a-z]")

MEMORY_TOLERANCE = 0.12
"""Lists round memory their own way: 141 or 144 GB of an H200, 180 or 192 of a B200. 80 and 94 are two GPUs."""


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Instance types and prices in ``path``; raises ``InvalidInput`` listing the rows that cannot be meant."""
    parsed, told = read_rows(path, REQUIRED, lambda row: _of_row(row, known), reference=FORMAT.name)
    provider = path.stem.lower()
    if options.provider is not None or provider not in CLOUDS:
        provider = options.required("provider", "the file is not named for a cloud, as gpuhunt's are").lower()
    return _ingested(parsed, told, provider, options, options.as_of or modified_on(path), path.name)


def offers(known: KnownNames, options: Options) -> Ingested:
    """As ``read``, of what the installed package offers for the cloud ``options.provider``, as of today.

    The package asks its own catalogue, or the folder ``GPUHUNT_CATALOG_DIR``. Raises ``InvalidInput`` where it is not
    installed, does not know the cloud, or cannot reach its catalogue.
    """
    provider = options.required("provider", "gpuhunt is asked for one cloud at a time").lower()
    if provider not in CLOUDS:
        raise UnknownName("cloud", provider, CLOUDS, field="--provider", fix=f"clouds: {', '.join(CLOUDS)}")
    parsed: list[Offer] = []
    skipped: Counter[str] = Counter()
    for item in _asked(provider):
        try:
            parsed.append(_offer(
                known, instance=item.instance_name, location=item.location, usd_per_hour=item.price, vcpus=item.cpu,
                memory_gib=item.memory, num_gpus=item.gpu_count, gpu=item.gpu_name or "",
                gpu_gib=item.gpu_memory or 0.0, spot=item.spot,
            ))  # fmt: skip
        except Skip as reason:
            skipped[str(reason)] += 1
    told = [f"{counted(count, 'offer')} skipped: {reason}" for reason, count in sorted(skipped.items())]
    today = dt.datetime.now(dt.UTC).date()
    return _ingested(parsed, told, provider, options, options.as_of or today, "gpuhunt")


def _asked(provider: str) -> list[Any]:
    try:
        import gpuhunt
    except ModuleNotFoundError:
        raise InvalidInput("is not installed", field="gpuhunt",
                           fix="pip install 'gpuplan[prices]', or give a catalogue file") from None  # fmt: skip
    try:
        own = gpuhunt.Catalog(balance_resources=False, auto_reload="GPUHUNT_CATALOG_DIR" not in os.environ)
        found: list[Any] = own.query(provider=provider, min_gpu_count=1)
    except (gpuhunt.GPUHuntError, OSError, ValueError) as error:
        raise InvalidInput(f"cannot be asked: {error}", field="gpuhunt", fix="give a catalogue file instead") from None
    return found


def _ingested(
    parsed: Iterable[Offer], told: Iterable[str], provider: str, options: Options, as_of: dt.date, file: str
) -> Ingested:
    left_out: Counter[str] = Counter()
    machines = cheapest_zones(without_placeholders(_markets_joined(parsed), left_out))
    batch = facts(machines, provider, options.source or "gpuhunt catalogue", as_of, file)
    return Ingested(batch, (*told, *notes(left_out)))


def _of_row(row: Row, known: KnownNames) -> Offer:
    spot = row["spot"].lower()
    if spot not in ("true", "false"):
        raise InvalidInput(f"must be True or False, not {row['spot']!r:.40}", field=row.where("spot"))
    num_gpus = row.positive_or_zero("gpu_count")
    if num_gpus != int(num_gpus):
        raise InvalidInput(f"must be a whole number, not {row['gpu_count']!r:.40}", field=row.where("gpu_count"))
    for name in ("instance_name", "location"):
        if not row[name]:
            raise InvalidInput("is missing", field=row.where(name))
    return _offer(
        known, instance=row["instance_name"], location=row["location"], usd_per_hour=row.positive_or_zero("price"),
        vcpus=row.positive_or_zero("cpu"), memory_gib=row.positive_or_zero("memory"), num_gpus=int(num_gpus),
        gpu=row["gpu_name"], gpu_gib=row.positive_or_zero("gpu_memory"), spot=spot == "true",
    )  # fmt: skip


def _offer(
    known: KnownNames, *, instance: str, location: str, usd_per_hour: float, vcpus: float, memory_gib: float,
    num_gpus: int, gpu: str, gpu_gib: float, spot: bool,
) -> Offer:  # fmt: skip
    """One row as an offer in one market; ``Skip`` where it is none that planners can use."""
    if not (gpu and num_gpus):
        raise Skip("no GPU")
    if not usd_per_hour:
        raise Skip("no price")
    zone = GOOGLES_ZONE.fullmatch(location)
    return Offer(
        instance=instance, gpu=_gpu(gpu, gpu_gib, known), num_gpus=num_gpus, vcpus=vcpus, memory_gib=memory_gib,
        region=zone[1] if zone else location, zone=location, usd_per_hour=0.0 if spot else usd_per_hour,
        spot_usd_per_hour=usd_per_hour if spot else 0.0,
    )  # fmt: skip


def _gpu(name: str, gib: float, known: KnownNames) -> str:
    """Catalogue name of the GPU of that name and memory."""
    for spelling in (f"{name}-{gib:g}GB", name):
        try:
            card = known.gpu_type(spelling)
        except UnknownName:
            continue
        if not gib or abs(card.memory_gib - gib) <= MEMORY_TOLERANCE * gib:
            return card.name
    raise Skip(f"GPU {name} of {gib:g} GB is not in the catalogue" if gib else f"GPU {name} is not in the catalogue")


def _markets_joined(parsed: Iterable[Offer]) -> Iterable[Offer]:
    """Each machine in each zone once, with both of its prices."""
    joined: dict[tuple[str, str], Offer] = {}
    for offer in parsed:
        other = joined.setdefault((offer.instance, offer.zone), offer)
        joined[offer.instance, offer.zone] = replace(
            other,
            usd_per_hour=offer.usd_per_hour or other.usd_per_hour,
            spot_usd_per_hour=offer.spot_usd_per_hour or other.spot_usd_per_hour,
        )
    return joined.values()


FORMAT = Format(
    name="gpuhunt",
    description="instance types and prices of one cloud (gpuhunt catalogue): CSV",
    suffixes=(".csv",),
    read=read,
    options=("provider",),
    columns=REQUIRED,
    ask=offers,
)
