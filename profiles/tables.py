"""How facts lie in the database: one table per type of ``profiles.types``, one column per field.

Columns carry the names of the fields, so a row read back validates as it is; ``tests/profiles/test_store.py``
proves that the two sets of names are the same. Rows never leave ``profiles.store``.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    Date,
    Dialect,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Text,
    TypeDecorator,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

TEXT = Text().with_variant(Text(collation="C"), "postgresql")
"""Sorted by code point in both databases: order, and with it every digest, depends on neither engine nor locale."""


class Arrays(TypeDecorator[tuple[Any, ...]]):
    """Tuples, or tuples of tuples, kept as JSON arrays and read back as tuples: rows compare equal to facts."""

    impl = JSON
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[Any, ...] | None:  # noqa: ARG002
        """Turn the lists that JSON knows back into tuples."""
        return None if value is None else _tuples(value)


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


class Base(DeclarativeBase):
    """Every table of gpuplan; names of constraints are fixed so that a migration can address them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(referred_table_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        }
    )
    type_annotation_map = {str: TEXT, int: BigInteger, float: Double, dt.date: Date}  # noqa: RUF012


class Sourced:
    """What every fact carries."""

    source: Mapped[str]
    as_of: Mapped[dt.date]


class MeasuredRow(Sourced):
    """What every fact carries that was measured on a machine. Last in its table, where a migration adds columns."""

    driver: Mapped[str] = mapped_column(server_default=text("''"), sort_order=1)
    software: Mapped[str] = mapped_column(server_default=text("''"), sort_order=1)
    sm_clock_mhz: Mapped[float | None] = mapped_column(sort_order=1)
    temperature_c: Mapped[float | None] = mapped_column(sort_order=1)
    power_limit_w: Mapped[float | None] = mapped_column(sort_order=1)


def positive(*columns: str) -> CheckConstraint:
    """A check that every one of ``columns`` is above zero where it is known."""
    return CheckConstraint(" AND ".join(f"{column} > 0" for column in columns), name="positive")


def not_negative(*columns: str) -> CheckConstraint:
    """A check that every one of ``columns`` is zero or more where it is known."""
    return CheckConstraint(" AND ".join(f"{column} >= 0" for column in columns), name="not_negative")


class GpuTypeRow(Sourced, Base):
    """A ``GpuType``."""

    __tablename__ = "gpu_types"

    name: Mapped[str] = mapped_column(primary_key=True)
    vendor: Mapped[str]
    architecture: Mapped[str]
    memory_gib: Mapped[float]
    memory_bandwidth_gb_per_s: Mapped[float]
    bf16_tflops: Mapped[float]
    fp8_tflops: Mapped[float | None]
    fp4_tflops: Mapped[float | None]
    int8_tops: Mapped[float | None]
    tdp_w: Mapped[float]
    idle_w: Mapped[float]
    interconnect: Mapped[str]
    interconnect_gb_per_s: Mapped[float]
    aliases: Mapped[tuple[str, ...]] = mapped_column(Arrays)

    __table_args__ = (
        positive(
            "memory_gib", "memory_bandwidth_gb_per_s", "bf16_tflops", "fp8_tflops", "fp4_tflops", "int8_tops",
            "tdp_w", "idle_w", "interconnect_gb_per_s",
        ),
    )  # fmt: skip


class InstanceTypeRow(Sourced, Base):
    """An ``InstanceType``."""

    __tablename__ = "instance_types"

    provider: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(primary_key=True)
    gpu: Mapped[str] = mapped_column(ForeignKey("gpu_types.name"))
    num_gpus: Mapped[int]
    vcpus: Mapped[float | None]
    memory_gib: Mapped[float | None]
    interconnect: Mapped[str | None]

    __table_args__ = (positive("num_gpus"), not_negative("vcpus", "memory_gib"))


class PriceRow(Sourced, Base):
    """A ``Price``. The day is part of the key: old prices stay, and snapshots take the newest."""

    __tablename__ = "prices"

    provider: Mapped[str] = mapped_column(primary_key=True)
    instance_type: Mapped[str] = mapped_column(primary_key=True)
    region: Mapped[str] = mapped_column(primary_key=True)
    market: Mapped[str] = mapped_column(primary_key=True)
    as_of: Mapped[dt.date] = mapped_column(primary_key=True)
    usd_per_hour: Mapped[float]

    __table_args__ = (
        ForeignKeyConstraint(["provider", "instance_type"], ["instance_types.provider", "instance_types.name"]),
        not_negative("usd_per_hour"),
    )


class GridIntensityRow(Sourced, Base):
    """A ``GridIntensity``."""

    __tablename__ = "grid_intensities"

    provider: Mapped[str] = mapped_column(primary_key=True)
    region: Mapped[str] = mapped_column(primary_key=True)
    g_co2_per_kwh: Mapped[float]

    __table_args__ = (not_negative("g_co2_per_kwh"),)


class ModelCardRow(Sourced, Base):
    """A ``ModelCard``."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(primary_key=True)
    aliases: Mapped[tuple[str, ...]] = mapped_column(Arrays)
    num_layers: Mapped[int]
    hidden_size: Mapped[int]
    num_attention_heads: Mapped[int]
    num_kv_heads: Mapped[int]
    head_dim: Mapped[int]
    intermediate_size: Mapped[int]
    vocab_size: Mapped[int]
    num_experts: Mapped[int]
    experts_per_token: Mapped[int]
    num_shared_experts: Mapped[int]
    moe_intermediate_size: Mapped[int]
    num_dense_layers: Mapped[int]
    kv_latent_dim: Mapped[int]
    sliding_window: Mapped[int]
    windowed_layers: Mapped[int]
    num_parameters: Mapped[float]
    num_active_parameters: Mapped[float]
    max_context_tokens: Mapped[int]
    native_precision: Mapped[str]

    __table_args__ = (
        positive("num_layers", "hidden_size", "num_parameters", "num_active_parameters", "max_context_tokens"),
    )


class MeasurementRow(MeasuredRow, Base):
    """A ``Measurement``. ``model`` refers to no table: a model without a card may be measured."""

    __tablename__ = "measurements"

    digest: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    gpu: Mapped[str] = mapped_column(ForeignKey("gpu_types.name"))
    tp: Mapped[int]
    pp: Mapped[int]
    dp: Mapped[int]
    ep: Mapped[int]
    precision: Mapped[str]
    engine: Mapped[str]
    engine_version: Mapped[str]
    load: Mapped[str]
    task: Mapped[str]
    input_tokens: Mapped[float | None]
    output_tokens: Mapped[float | None]
    concurrency: Mapped[float | None]
    requests_per_s: Mapped[float | None]
    output_tokens_per_s: Mapped[float | None]
    ttft_ms: Mapped[float | None]
    ttft_p50_ms: Mapped[float | None]
    ttft_p90_ms: Mapped[float | None]
    ttft_p99_ms: Mapped[float | None]
    tpot_ms: Mapped[float | None]
    tpot_p50_ms: Mapped[float | None]
    tpot_p90_ms: Mapped[float | None]
    tpot_p99_ms: Mapped[float | None]
    itl_p50_ms: Mapped[float | None]
    itl_p90_ms: Mapped[float | None]
    itl_p99_ms: Mapped[float | None]
    e2e_ms: Mapped[float | None]
    mean_power_w: Mapped[float | None]
    peak_power_w: Mapped[float | None]

    __table_args__ = (
        positive(
            "tp", "pp", "dp", "ep", "input_tokens", "output_tokens", "concurrency", "requests_per_s",
            "output_tokens_per_s", "ttft_ms", "tpot_ms", "e2e_ms", "mean_power_w", "peak_power_w",
        ),
        Index(None, "model", "gpu"),
    )  # fmt: skip


class LayerMeasurementRow(Sourced, Base):
    """A ``LayerMeasurement``."""

    __tablename__ = "layer_measurements"

    digest: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    gpu: Mapped[str] = mapped_column(ForeignKey("gpu_types.name"))
    num_gpus: Mapped[int]
    phase: Mapped[str]
    size: Mapped[float]
    ms_per_layer: Mapped[float]

    __table_args__ = (positive("num_gpus", "size", "ms_per_layer"),)


class GemmMeasurementRow(MeasuredRow, Base):
    """A ``GemmMeasurement``."""

    __tablename__ = "gemm_measurements"

    digest: Mapped[str] = mapped_column(primary_key=True)
    gpu: Mapped[str] = mapped_column(ForeignKey("gpu_types.name"))
    m: Mapped[int]
    n: Mapped[int]
    k: Mapped[int]
    precision: Mapped[str]
    time_us: Mapped[float]
    mean_power_w: Mapped[float | None]

    __table_args__ = (positive("m", "n", "k", "time_us", "mean_power_w"),)


class BandwidthMeasurementRow(MeasuredRow, Base):
    """A ``BandwidthMeasurement``."""

    __tablename__ = "bandwidth_measurements"

    digest: Mapped[str] = mapped_column(primary_key=True)
    gpu: Mapped[str] = mapped_column(ForeignKey("gpu_types.name"))
    access: Mapped[str]
    num_bytes: Mapped[int]
    time_us: Mapped[float]
    mean_power_w: Mapped[float | None]

    __table_args__ = (positive("num_bytes", "time_us", "mean_power_w"),)


class TrainingMeasurementRow(MeasuredRow, Base):
    """A ``TrainingMeasurement``. ``model`` refers to no table: a row may carry the shape of its model."""

    __tablename__ = "training_measurements"

    digest: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    gpu: Mapped[str] = mapped_column(ForeignKey("gpu_types.name"))
    num_gpus: Mapped[int]
    gpus_per_node: Mapped[int]
    framework: Mapped[str]
    framework_version: Mapped[str]
    network_gb_per_s: Mapped[float | None]
    tp: Mapped[int]
    pp: Mapped[int]
    dp: Mapped[int]
    cp: Mapped[int]
    ep: Mapped[int]
    virtual_stages: Mapped[int]
    micro_batch: Mapped[int]
    global_batch: Mapped[int]
    sequence_length: Mapped[int]
    precision: Mapped[str]
    recompute: Mapped[str]
    zero: Mapped[int]
    shard: Mapped[int | None]
    sequence_parallel: Mapped[bool]
    cpu_offload: Mapped[str]
    num_layers: Mapped[int | None]
    hidden_size: Mapped[int | None]
    num_attention_heads: Mapped[int | None]
    num_kv_heads: Mapped[int | None]
    intermediate_size: Mapped[int | None]
    vocab_size: Mapped[int | None]
    gated_mlp: Mapped[bool]
    tied_embeddings: Mapped[bool]
    step_ms: Mapped[float | None]
    tokens_per_s_per_gpu: Mapped[float | None]

    __table_args__ = (
        positive(
            "num_gpus", "gpus_per_node", "network_gb_per_s", "tp", "pp", "dp", "cp", "ep", "virtual_stages",
            "micro_batch", "global_batch", "sequence_length", "shard", "num_layers", "hidden_size",
            "num_attention_heads", "num_kv_heads", "intermediate_size", "vocab_size", "step_ms", "tokens_per_s_per_gpu",
        ),
        not_negative("zero"),
        Index(None, "model", "gpu"),
    )  # fmt: skip


class CollectiveMeasurementRow(MeasuredRow, Base):
    """A ``CollectiveMeasurement``."""

    __tablename__ = "collective_measurements"

    digest: Mapped[str] = mapped_column(primary_key=True)
    gpu: Mapped[str] = mapped_column(ForeignKey("gpu_types.name"))
    operation: Mapped[str]
    num_gpus: Mapped[int]
    num_nodes: Mapped[int]
    num_bytes: Mapped[int]
    time_us: Mapped[float]

    __table_args__ = (positive("num_gpus", "num_nodes", "num_bytes", "time_us"),)


class RateProfileRow(Sourced, Base):
    """A ``RateProfile``."""

    __tablename__ = "rate_profiles"

    name: Mapped[str] = mapped_column(primary_key=True)
    model: Mapped[str]
    gpu: Mapped[str] = mapped_column(ForeignKey("gpu_types.name"))
    num_gpus: Mapped[int]
    input_tokens: Mapped[tuple[int, ...]] = mapped_column(Arrays)
    output_tokens: Mapped[tuple[int, ...]] = mapped_column(Arrays)
    requests_per_s: Mapped[tuple[tuple[float, ...], ...]] = mapped_column(Arrays)
    usd_per_hour: Mapped[float | None]
    slo: Mapped[str]

    __table_args__ = (positive("num_gpus"), not_negative("usd_per_hour"))
