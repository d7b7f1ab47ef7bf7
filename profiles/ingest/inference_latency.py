"""TTFT and TPOT of real engines, as InferenceX results are released with NVIDIA's AIConfigurator.

Times are in milliseconds and the load is a closed loop: ``concurrency`` requests are kept in flight, so TTFT
includes queueing. Blank or ``unknown`` precision stays ``unknown``; blank or zero degrees are 1.

Two readings of the file:

- ``attention_dp`` > 1 stands beside ``tp`` = 1: the replica has that many GPUs, each with its own attention.
- Where ``attention_dp`` is given and ``moe_tp`` equals ``moe_ep`` (8 and 8, say), the record counts GPUs twice:
  ``tp`` (or ``attention_dp``) is their product, 64, on machines of 8. The same timings also appear with 8 GPUs
  and ``moe_tp`` = 1, so such rows are read as ``moe_ep`` GPUs.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.problems import counted
from profiles.ingest.table import Row, read_rows
from profiles.names import KnownNames
from profiles.types import Batch, Measurement

SOURCE = "InferenceX via NVIDIA AIConfigurator, Apache-2.0"
RELEASED = dt.date(2026, 3, 27)
"""Date of rows without ``measured_on``: the latest in the release."""

COLUMNS = {
    "model": "model",
    "gpu": "gpu_system",
    "engine": "engine",
    "engine_version": "engine_version",
    "precision": "precision",
    "pp": "pp",
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "concurrency": "concurrency",
    "ttft_ms": "ttft_ms",
    "tpot_ms": "tpot_ms",
    "as_of": "measured_on",
}
REQUIRED = ("model", "gpu_system", "tp", "input_tokens", "output_tokens", "concurrency", "ttft_ms", "tpot_ms")


def parse(row: Row, known: KnownNames, options: Options) -> Measurement:
    """The measurement in one row; raises ``InvalidInput`` where it cannot be meant."""
    tp, attention_dp, ep = (row.count(name) for name in ("tp", "attention_dp", "moe_ep"))
    if _counts_gpus_twice(row):
        tp, attention_dp = (ep, 1) if attention_dp == 1 else (1, ep)
    return row.build(
        Measurement,
        COLUMNS,
        model=known.model(row["model"]),
        gpu=known.gpu(row["gpu_system"], row.where("gpu_system")),
        tp=tp,
        pp=row.count("pp"),
        dp=attention_dp,
        ep=ep,
        source=options.source or SOURCE,
        as_of=row["measured_on"] or options.as_of or RELEASED,
    )


def _counts_gpus_twice(row: Row) -> bool:
    tp, attention_dp, moe_tp, ep = (row.count(name) for name in ("tp", "attention_dp", "moe_tp", "moe_ep"))
    return bool(row["attention_dp"]) and moe_tp == ep > 1 and tp * attention_dp == moe_tp * ep


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Measurements in ``path``; raises ``InvalidInput`` listing the rows that cannot be meant."""
    num_recounted = 0

    def parse_and_count(row: Row) -> Measurement:
        nonlocal num_recounted
        measured = parse(row, known, options)
        num_recounted += _counts_gpus_twice(row)
        return measured

    measurements, notes = read_rows(path, REQUIRED, parse_and_count, reference=FORMAT.name)
    if num_recounted:
        notes.append(f"{counted(num_recounted, 'row')} with a GPU count of moe_tp × moe_ep read as moe_ep GPUs")
    return Ingested(Batch(measurements=tuple(measurements)), tuple(notes))


FORMAT = Format(
    name="inference-latency",
    description="TTFT and TPOT per layout, lengths and concurrency (InferenceX, AIConfigurator): CSV",
    suffixes=(".csv",),
    read=read,
    columns=REQUIRED,
    parse=parse,
)
