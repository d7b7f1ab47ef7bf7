"""NCCL all-reduce times inside one node by message size and GPU count, as vTrain (MICRO 2024) publishes them.

They are of A100-80GB with NVLink by its paper; ``--gpu`` names another GPU. The bus bandwidth follows from the time and
is only compared with it.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from profiles.errors import InvalidInput
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.table import Row, read_rows
from profiles.names import KnownNames
from profiles.types import Batch, CollectiveMeasurement

SOURCE = "vTrain (MICRO 2024), NCCL all-reduce profile"
PUBLISHED = dt.date(2024, 11, 2)
GPU = "A100-80GB"

ROUNDING = 0.02
"""Relative: the bus bandwidth is printed with two decimals, the time with one or two."""

COLUMNS = {"num_gpus": "gpus", "num_bytes": "message_bytes", "time_us": "time_us"}
REQUIRED = tuple(COLUMNS.values())


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Times in ``path``; raises ``InvalidInput`` listing the rows that cannot be meant."""

    def parse(row: Row) -> CollectiveMeasurement:
        measured = row.build(
            CollectiveMeasurement,
            COLUMNS,
            gpu=known.gpu(options.gpu or GPU, "--gpu"),
            operation="all_reduce",
            source=options.source or SOURCE,
            as_of=options.as_of or PUBLISHED,
        )
        implied = measured.bus_bandwidth_gb_per_s
        if abs(row.number("bus_bandwidth_gb_s", implied) - implied) > ROUNDING * implied:
            raise InvalidInput(
                f"is {row['bus_bandwidth_gb_s']}, but bytes over time make {implied:.2f}: mixed units?",
                field=row.where("bus_bandwidth_gb_s"),
            )
        return measured

    collectives, notes = read_rows(path, REQUIRED, parse, reference=FORMAT.name)
    return Ingested(Batch(collectives=tuple(collectives)), tuple(notes))


FORMAT = Format(
    name="nccl-allreduce",
    description="NCCL all-reduce times in a node by message size (vTrain): CSV",
    suffixes=(".csv",),
    read=read,
    options=("gpu",),
    columns=REQUIRED,
)
