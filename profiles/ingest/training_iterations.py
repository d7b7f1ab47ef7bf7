"""Measured training steps of GPT shapes by degree and micro-batch, as vTrain (MICRO 2024) publishes them.

The file has no column for the machine and the software. By its paper they are A100-80GB in nodes of eight with
NVLink, 800 Gb/s between nodes, Megatron-DeepSpeed, 1F1B, full recomputation of activations. That nothing is sharded
(ZeRO 0) is an assumption: of its larger model there is no row that would not fit without. So is the vocabulary,
Megatron's padded GPT-2 one. ``--gpu`` names another GPU.
"""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from profiles.errors import InvalidInput
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.table import Row, read_rows
from profiles.names import KnownNames
from profiles.types import Batch, TrainingMeasurement

SOURCE = "vTrain (MICRO 2024), measured iteration times"
PUBLISHED = dt.date(2024, 11, 2)
GPU = "A100-80GB"
GPUS_PER_NODE = 8
NETWORK_GB_PER_S = 100.0
"""800 Gb/s for each node, one way."""
GPT_VOCABULARY = 51_200
"""50,257 tokens of GPT-2, padded so that it divides by 128 times a tensor-parallel degree of 8 (Megatron, SC 2021)."""

COLUMNS = {
    "num_gpus": "gpus",
    "global_batch": "global_batch",
    "micro_batch": "micro_batch",
    "hidden_size": "hidden_size",
    "num_attention_heads": "attention_heads",
    "num_layers": "layers",
    "sequence_length": "sequence_length",
    "tp": "tensor_parallel",
    "dp": "data_parallel",
    "pp": "pipeline_parallel",
    "step_ms": "iteration_ms",
}
REQUIRED = tuple(COLUMNS.values())


def parse(row: Row, known: KnownNames, options: Options) -> TrainingMeasurement:
    """The step in one row; raises ``InvalidInput`` where it cannot be meant."""
    count = {field: row.whole(column) for field, column in COLUMNS.items() if field != "step_ms"}
    world = count["tp"] * count["dp"] * count["pp"]
    if world != count["num_gpus"]:
        raise InvalidInput(
            f"is {count['num_gpus']}, but tensor × data × pipeline parallel make {world}", field=row.where("gpus")
        )
    if count["global_batch"] % (count["dp"] * count["micro_batch"]):
        raise InvalidInput(
            f"{count['global_batch']} does not divide into {count['dp']} replicas with micro-batches "
            f"of {count['micro_batch']}", field=row.where("global_batch"),
        )  # fmt: skip
    if count["num_attention_heads"] % count["tp"]:
        raise InvalidInput(
            f"{count['tp']} does not divide {count['num_attention_heads']} attention heads",
            field=row.where("tensor_parallel"),
        )
    if count["hidden_size"] % count["num_attention_heads"]:
        raise InvalidInput(
            f"{count['num_attention_heads']} does not divide the hidden size {count['hidden_size']}",
            field=row.where("attention_heads"),
        )
    if count["pp"] > count["num_layers"]:
        raise InvalidInput(f"is more than the {count['num_layers']} layers", field=row.where("pipeline_parallel"))
    return row.build(
        TrainingMeasurement,
        COLUMNS,
        **count,
        model=known.model(gpt_name(count["num_layers"], count["hidden_size"], count["sequence_length"])),
        gpu=known.gpu(options.gpu or GPU, "--gpu"),
        gpus_per_node=GPUS_PER_NODE,
        framework="megatron-deepspeed",
        network_gb_per_s=NETWORK_GB_PER_S,
        recompute="full",
        num_kv_heads=count["num_attention_heads"],
        intermediate_size=4 * count["hidden_size"],
        vocab_size=GPT_VOCABULARY,
        tied_embeddings=True,
        source=options.source or SOURCE,
        as_of=options.as_of or PUBLISHED,
    )


def gpt_name(num_layers: int, hidden_size: int, sequence_length: int) -> str:
    """``gpt-3.6b``: by the parameter count of Megatron (SC 2021, equation 2)."""
    blocks = 12 * num_layers * hidden_size**2 + 13 * num_layers * hidden_size
    return f"gpt-{round((blocks + (GPT_VOCABULARY + sequence_length) * hidden_size) / 1e9, 1):g}b"


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Steps in ``path``; raises ``InvalidInput`` listing the rows that cannot be meant."""
    steps, notes = read_rows(path, REQUIRED, lambda row: parse(row, known, options), reference=FORMAT.name)
    return Ingested(Batch(training_measurements=tuple(steps)), tuple(notes))


FORMAT = Format(
    name="training-iterations",
    description="time of training steps by degrees and micro-batch (vTrain): CSV",
    suffixes=(".csv",),
    read=read,
    options=("gpu",),
    columns=REQUIRED,
)
