"""Training throughput of MPT models under FSDP, as the benchmark table of MosaicML's llm-foundry reports it.

The table names models by size; their shapes are those of llm-foundry's configuration files, and ``parameters`` must
agree with them. FULL_SHARD is ZeRO 3, SHARD_GRAD_OP is ZeRO 2. ``mfu_percent`` follows from the throughput and is left
out, and so is the network: the table does not tell it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from pathlib import Path

from profiles.errors import InvalidInput, UnknownName
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.table import Row, read_rows
from profiles.names import KnownNames
from profiles.types import Batch, TrainingMeasurement

SOURCE = "MosaicML llm-foundry, benchmark table of training"
PUBLISHED = dt.date(2024, 2, 1)
"""About when its H100 rows were there; the file has no dates."""
GPUS_PER_NODE = 8
VOCABULARY = 50_368
EXPANSION = 4
"""Width of the MLP over the hidden size."""

SHAPES = {
    "125m": (12, 768, 12),
    "350m": (24, 1024, 16),
    "760m": (24, 1536, 12),
    "1b": (24, 2048, 16),
    "3b": (32, 2560, 20),
    "7b": (32, 4096, 32),
    "13b": (40, 5120, 40),
    "30b": (48, 7168, 56),
    "70b": (80, 8192, 64),
}
"""Layers, hidden size and heads (llm-foundry, scripts/train/yamls/pretrain/mpt-*.yaml)."""

SAME_COUNT = 0.01
"""A row's parameters may differ from those of its shape by this much: norms and biases are not counted here."""

PRECISIONS = {"amp_bf16": "bf16", "bf16": "bf16", "amp_fp16": "fp16", "fp16": "fp16", "amp_fp8": "fp8", "fp32": "fp32"}
ZERO = {"FULL_SHARD": 3, "SHARD_GRAD_OP": 2, "NO_SHARD": 0}
FLAGS = {"true": True, "false": False}

COLUMNS = {
    "num_gpus": "gpus",
    "dp": "gpus",
    "micro_batch": "micro_batch",
    "global_batch": "global_batch",
    "sequence_length": "sequence_length",
    "precision": "precision",
    "zero": "sharding",
    "recompute": "activation_checkpointing",
    "cpu_offload": "activation_cpu_offload",
    "tokens_per_s_per_gpu": "tokens_per_s_per_gpu",
}
REQUIRED = ("model", "gpu", *dict.fromkeys(COLUMNS.values()))


def parse(row: Row, known: KnownNames, options: Options) -> TrainingMeasurement:
    """The step in one row; raises ``InvalidInput`` where it cannot be meant."""
    size = row["model"].lower().removeprefix("mpt-")
    if size not in SHAPES:
        raise UnknownName(
            "MPT model", row["model"], SHAPES, field=row.where("model"), fix=f"one of {', '.join(SHAPES)}"
        )
    layers, hidden, heads = SHAPES[size]
    count = {name: row.whole(name) for name in ("gpus", "micro_batch", "global_batch", "sequence_length")}
    _check_parameters(row, layers, hidden, count["sequence_length"])
    _check_batch(row, count)
    return row.build(
        TrainingMeasurement,
        COLUMNS,
        model=known.model(f"mpt-{size}"),
        gpu=known.gpu(row["gpu"], row.where("gpu")),
        num_gpus=count["gpus"],
        dp=count["gpus"],
        gpus_per_node=GPUS_PER_NODE,
        framework="fsdp",
        software=f"llm-foundry, {row['precision']}",
        precision=_one_of(row, "precision", PRECISIONS),
        recompute="full" if _one_of(row, "activation_checkpointing", FLAGS) else "none",
        zero=_one_of(row, "sharding", ZERO),
        cpu_offload="activations" if _one_of(row, "activation_cpu_offload", FLAGS) else "none",
        num_layers=layers,
        hidden_size=hidden,
        num_attention_heads=heads,
        num_kv_heads=heads,
        intermediate_size=EXPANSION * hidden,
        vocab_size=VOCABULARY,
        tied_embeddings=True,
        source=options.source or SOURCE,
        as_of=options.as_of or PUBLISHED,
    )


def _one_of(row: Row, column: str, meanings: Mapping[str, object]) -> object:
    for text, meaning in meanings.items():
        if row[column].lower() == text.lower():
            return meaning
    raise InvalidInput(f"must be {' or '.join(meanings)}, not {row[column]!r}", field=row.where(column))


def _check_parameters(row: Row, layers: int, hidden: int, sequence_length: int) -> None:
    """The shape has 4 + 2 · 4 square matrices in a layer, and embeddings of tokens and of learned positions."""
    counted = 12 * layers * hidden**2 + (VOCABULARY + sequence_length) * hidden
    given = row.number("parameters", counted)
    if abs(given - counted) > SAME_COUNT * counted:
        raise InvalidInput(
            f"is {given:.4g}, but mpt-{row['model']} at {sequence_length} tokens has {counted:.4g}",
            field=row.where("parameters"),
        )


def _check_batch(row: Row, count: dict[str, int]) -> None:
    at_once = count["gpus"] * count["micro_batch"]
    if count["global_batch"] % at_once:
        raise InvalidInput(
            f"{count['global_batch']} does not divide into {count['gpus']} GPUs with micro-batches "
            f"of {count['micro_batch']}", field=row.where("global_batch"),
        )  # fmt: skip
    if row["grad_accum"] and row.whole("grad_accum") != count["global_batch"] // at_once:
        raise InvalidInput(
            f"is {row['grad_accum']}, but the global batch takes {count['global_batch'] // at_once} micro-batches",
            field=row.where("grad_accum"),
        )


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Steps in ``path``; raises ``InvalidInput`` listing the rows that cannot be meant."""
    steps, notes = read_rows(path, REQUIRED, lambda row: parse(row, known, options), reference=FORMAT.name)
    return Ingested(Batch(training_measurements=tuple(steps)), tuple(notes))


FORMAT = Format(
    name="fsdp-throughput",
    description="training tokens/s of MPT models under FSDP (MosaicML llm-foundry): CSV",
    suffixes=(".csv",),
    read=read,
    columns=REQUIRED,
)
