"""Prompt and token times and power of Llama-2-70B and BLOOM-176B, as in Splitwise's simulator.

Times are in milliseconds. Power is a fraction of one GPU's TDP, averaged over the replica's GPUs (peaks reach 1.0
at every degree of tensor parallelism), so watts are fraction × TDP × tensor parallelism; 0 means not measured.

Left out: ``-pcap`` hardware, whose rows are synthetic (prompt time × 1.30), and the end-to-end time of runs that
stopped before ``token_size`` tokens (it is then not TTFT + TPOT × the rest).
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from profiles.errors import InvalidInput
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.table import Row, Skip, read_rows
from profiles.names import KnownNames
from profiles.types import Batch, Measurement

SOURCE = "Splitwise (ISCA 2024) simulator profiles"
PUBLISHED = dt.date(2024, 6, 29)
SYNTHETIC = "-pcap"

COLUMNS = {
    "model": "model",
    "gpu": "hardware",
    "tp": "tensor_parallel",
    "input_tokens": "prompt_size",
    "output_tokens": "token_size",
    "concurrency": "batch_size",
    "ttft_ms": "prompt_time",
    "tpot_ms": "token_time",
    "e2e_ms": "e2e_time",
    "peak_power_w": "peak_power",
    "mean_power_w": "average_power",
}
REQUIRED = tuple(COLUMNS.values())


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Measurements in ``path``, repeats kept apart; raises ``InvalidInput`` listing the rows that cannot be meant."""

    def parse(row: Row) -> Measurement:
        if row["hardware"].endswith(SYNTHETIC):
            raise Skip("synthetic power-capped hardware (-pcap), not measured")
        gpu = known.gpu_type(row["hardware"], row.where("hardware"))
        tp = row.count("tensor_parallel")
        return row.build(
            Measurement,
            COLUMNS,
            model=known.model(row["model"]),
            gpu=gpu.name,
            tp=tp,
            precision="fp16",
            engine="vllm",
            load="static_batch",
            e2e_ms=_e2e_ms(row),
            peak_power_w=_watts(row, "peak_power", gpu.tdp_w * tp),
            mean_power_w=_watts(row, "average_power", gpu.tdp_w * tp),
            source=options.source or SOURCE,
            as_of=options.as_of or PUBLISHED,
        )

    measurements, notes = read_rows(path, REQUIRED, parse, reference=FORMAT.name)
    return Ingested(Batch(measurements=tuple(measurements)), tuple(notes))


def _watts(row: Row, column: str, replica_tdp_w: float) -> float | None:
    fraction = row.number(column)
    if not 0 <= fraction <= 2:
        raise InvalidInput(
            f"{fraction:g} is no fraction of a GPU's TDP",
            field=row.where(column),
            fix="divide watts of one GPU by its TDP; 0 means not measured",
        )
    return fraction * replica_tdp_w or None


def _e2e_ms(row: Row) -> float | None:
    e2e_ms = row.number("e2e_time")
    expected_ms = row.number("prompt_time") + row.number("token_time") * (row.number("token_size") - 1)
    return e2e_ms if abs(expected_ms - e2e_ms) <= 0.05 * e2e_ms else None


FORMAT = Format(
    name="splitwise",
    description="prompt and token times and power of whole replicas (Splitwise simulator): CSV",
    suffixes=(".csv",),
    read=read,
    columns=REQUIRED,
)
