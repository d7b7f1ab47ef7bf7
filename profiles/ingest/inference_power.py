"""Throughput, mean power and inter-token latency by batch size, as the ML.ENERGY benchmark reports them.

Power is in watts of all GPUs together, ITL in milliseconds. ``concurrency`` is the mean batch that ran. The engine
is vLLM, whose expert parallelism spreads attention over the same GPUs: rows with more ``gpus`` than ``tp × dp``
have the rest as tensor parallelism. ITL p95 and joules per token have no field of their own (the latter is power
over throughput) and are left out.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from profiles.errors import InvalidInput
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.table import Row, read_rows
from profiles.names import KnownNames
from profiles.types import Batch, Measurement

SOURCE = "ML.ENERGY benchmark v3, Apache-2.0"
RELEASED = dt.date(2025, 12, 1)
"""About when version 3 was published; the file has no dates."""

COLUMNS = {
    "model": "model",
    "gpu": "gpu",
    "tp": "tp",
    "ep": "ep",
    "dp": "dp",
    "precision": "precision",
    "task": "task",
    "concurrency": "mean_batch",
    "output_tokens": "mean_output_tokens",
    "output_tokens_per_s": "output_tokens_per_s",
    "mean_power_w": "mean_power_w",
    "itl_p50_ms": "itl_p50_ms",
    "itl_p90_ms": "itl_p90_ms",
    "itl_p99_ms": "itl_p99_ms",
}
REQUIRED = ("model", "gpu", "gpus", "tp", "mean_batch", "output_tokens_per_s", "mean_power_w")


def parse(row: Row, known: KnownNames, options: Options) -> Measurement:
    """The measurement in one row; raises ``InvalidInput`` where it cannot be meant."""
    gpus, tp, dp = (row.count(name) for name in ("gpus", "tp", "dp"))
    if gpus % dp or (gpus // dp) % tp:
        raise InvalidInput(f"{gpus} GPUs do not divide into tp {tp} × dp {dp}", field=row.where("gpus"))
    return row.build(
        Measurement,
        COLUMNS,
        model=known.model(row["model"]),
        gpu=known.gpu(row["gpu"], row.where("gpu")),
        tp=gpus // dp,
        ep=row.count("ep"),
        dp=dp,
        engine="vllm",
        source=options.source or SOURCE,
        as_of=options.as_of or RELEASED,
    )


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Measurements in ``path``; raises ``InvalidInput`` listing the rows that cannot be meant."""
    measurements, notes = read_rows(path, REQUIRED, lambda row: parse(row, known, options), reference=FORMAT.name)
    return Ingested(Batch(measurements=tuple(measurements)), tuple(notes))


FORMAT = Format(
    name="inference-power",
    description="throughput, mean power and ITL by batch size (ML.ENERGY benchmark): CSV",
    suffixes=(".csv",),
    read=read,
    columns=REQUIRED,
    parse=parse,
)
