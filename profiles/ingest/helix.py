"""Time of one transformer layer by phase and batch, as in Helix's simulator (FP16).

``batch_tokens_or_requests`` counts prompt tokens in the prompt phase and requests in the decode phase; times are in
milliseconds. A GPU written ``t4x4`` is four of them sharing the layer. The A100 is the 40 GB one. Rows that say
0 ms for 0 tokens anchor Helix's interpolation, measure nothing, and are left out.
"""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path

from profiles.errors import InvalidInput
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.table import Row, Skip, read_rows
from profiles.names import KnownNames
from profiles.types import Batch, LayerMeasurement

SOURCE = "Helix (ASPLOS 2025) simulator profiles"
PUBLISHED = dt.date(2025, 3, 30)
SEVERAL = re.compile(r"x(\d+)$", re.IGNORECASE)
PHASES = {"prompt": "prefill", "prefill": "prefill", "decode": "decode"}

COLUMNS = {
    "model": "model",
    "gpu": "gpu",
    "phase": "phase",
    "size": "batch_tokens_or_requests",
    "ms_per_layer": "ms_per_layer",
}
REQUIRED = tuple(COLUMNS.values())


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Layer times in ``path``; raises ``InvalidInput`` listing the rows that cannot be meant."""

    def parse(row: Row) -> LayerMeasurement:
        if row.number("batch_tokens_or_requests") == 0 == row.number("ms_per_layer"):
            raise Skip("0 ms for 0 tokens measures nothing")
        gpu, _, several = SEVERAL.sub(r" \1", row["gpu"]).partition(" ")
        if row["phase"] not in PHASES:
            raise InvalidInput(f"must be prompt or decode, not {row['phase']!r}", field=row.where("phase"))
        return row.build(
            LayerMeasurement,
            COLUMNS,
            model=known.model(row["model"]),
            gpu=known.gpu(gpu, row.where("gpu")),
            num_gpus=int(several or 1),
            phase=PHASES[row["phase"]],
            source=options.source or SOURCE,
            as_of=options.as_of or PUBLISHED,
        )

    layers, notes = read_rows(path, REQUIRED, parse, reference=FORMAT.name)
    return Ingested(Batch(layer_measurements=tuple(layers)), tuple(notes))


FORMAT = Format(
    name="helix",
    description="time of one layer by phase and batch on T4, L4, V100 and A100 (Helix simulator): CSV",
    suffixes=(".csv",),
    read=read,
    columns=REQUIRED,
)
