"""The facts that planners work from: frozen, validated, with the unit in every name that has one.

Everything a planner may use about the world is one of these; ``profiles.store`` reads and writes them
and ``Facts`` is the frozen set of them that one plan was made from. Here is what can be looked up; what was measured
lies in ``profiles.measured`` and ``profiles.measured_training``, and is imported from here too.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, model_validator

from profiles.fact import (
    WEIGHT_BYTES,
    AnyPrecision,
    Count,
    Fact,
    GemmPrecision,
    Market,
    MeasuredFact,
    Milliseconds,
    Name,
    NotNegative,
    Origin,
    Positive,
    Precision,
    Tokens,
    UsdPerHour,
    Watts,
    content_digest,
)
from profiles.measured import (
    BandwidthMeasurement,
    GemmMeasurement,
    LayerMeasurement,
    Layout,
    Measurement,
    RateProfile,
)
from profiles.measured_training import Collective, CollectiveMeasurement, TrainingMeasurement

__all__ = [
    "WEIGHT_BYTES",
    "AnyPrecision",
    "BandwidthMeasurement",
    "Batch",
    "Collective",
    "CollectiveMeasurement",
    "Count",
    "Fact",
    "Facts",
    "GemmMeasurement",
    "GemmPrecision",
    "GpuType",
    "GridIntensity",
    "InstanceType",
    "LayerMeasurement",
    "Layout",
    "Market",
    "MeasuredFact",
    "Measurement",
    "Milliseconds",
    "ModelCard",
    "Name",
    "NotNegative",
    "Origin",
    "Positive",
    "Precision",
    "Price",
    "RateProfile",
    "Tokens",
    "TrainingMeasurement",
    "UsdPerHour",
    "Watts",
    "content_digest",
]


class GpuType(Fact):
    """One accelerator, as its datasheet describes it. FLOP/s are dense (no sparsity) tera-operations per second."""

    name: Name
    vendor: Name
    architecture: Name
    memory_gib: Positive
    memory_bandwidth_gb_per_s: Positive
    bf16_tflops: Positive = Field(description="dense bf16 (fp16 where the GPU has no bf16)")
    fp8_tflops: Positive | None = None
    fp4_tflops: Positive | None = None
    int8_tops: Positive | None = None
    tdp_w: Watts
    idle_w: Watts = Field(description="board power with a loaded model and no work; an assumption unless sourced")
    interconnect: Name = Field(
        description="fastest link to the other GPUs of its node, e.g. 'NVLink 4', 'PCIe 4.0 x16'"
    )
    interconnect_gb_per_s: Positive = Field(description="of that link, per GPU, both directions together")
    aliases: tuple[str, ...] = Field(default=(), description="other names for it, e.g. 'h100_sxm'")


class InstanceType(Fact):
    """What a provider rents whole: a machine with ``num_gpus`` GPUs of one type."""

    provider: Name
    name: Name
    gpu: Name
    num_gpus: Count
    vcpus: NotNegative | None = None
    memory_gib: NotNegative | None = Field(default=None, description="host memory")
    interconnect: Name | None = Field(default=None, description="network between instances, e.g. 'EFA 3200 Gb/s'")


class Price(Fact):
    """What one instance costs an hour in one region and market on one day."""

    provider: Name
    instance_type: Name
    region: Name
    market: Market
    usd_per_hour: UsdPerHour


class GridIntensity(Fact):
    """Average carbon intensity of the grid that feeds a region."""

    provider: Name
    region: Name
    g_co2_per_kwh: NotNegative


class ModelCard(Fact):
    """Shape of a transformer, as in a Hugging Face ``config.json``, and its parameter counts."""

    name: Name = Field(description="Hugging Face id")
    aliases: tuple[str, ...] = Field(default=(), description="ids of the same shape (fine-tunes, quantised copies)")
    num_layers: Count
    hidden_size: Count
    num_attention_heads: Count
    num_kv_heads: Count
    head_dim: Count
    intermediate_size: Count = Field(description="of a dense layer's MLP")
    vocab_size: Count
    num_experts: int = Field(default=0, ge=0, description="routed experts per MoE layer; 0 for a dense model")
    experts_per_token: int = Field(default=0, ge=0)
    num_shared_experts: int = Field(default=0, ge=0)
    moe_intermediate_size: int = Field(default=0, ge=0)
    num_dense_layers: int = Field(default=0, ge=0, description="leading layers without experts, in an MoE model")
    kv_latent_dim: int = Field(default=0, ge=0, description="MLA: compressed KV + rope width per token; 0 without MLA")
    sliding_window: int = Field(default=0, ge=0, description="tokens seen by a windowed layer; 0: all layers see all")
    windowed_layers: int = Field(default=0, ge=0, description="how many layers use the sliding window")
    num_parameters: Positive
    num_active_parameters: Positive = Field(description="used for one token; equals num_parameters when dense")
    max_context_tokens: Tokens
    native_precision: AnyPrecision = "bf16"

    @model_validator(mode="after")
    def _consistent(self) -> ModelCard:
        if self.num_active_parameters > self.num_parameters:
            raise ValueError("num_active_parameters exceeds num_parameters")
        if self.num_experts and not 1 <= self.experts_per_token <= self.num_experts:
            raise ValueError(f"experts_per_token must lie in 1..{self.num_experts}")
        if self.windowed_layers > self.num_layers:
            raise ValueError("windowed_layers exceeds num_layers")
        return self

    def weight_gib(self, precision: str) -> float:
        """GiB of all weights at ``precision``."""
        return self.num_parameters * WEIGHT_BYTES[precision] / 2**30

    def kv_bytes_per_token(self, kv_bytes: float = 2.0) -> float:
        """Bytes of KV cache that one token adds over all unwindowed and windowed layers, at ``kv_bytes`` per value."""
        if self.kv_latent_dim:
            return self.num_layers * self.kv_latent_dim * kv_bytes
        return self.num_layers * 2 * self.num_kv_heads * self.head_dim * kv_bytes


class Batch(BaseModel):
    """Facts to be written together or not at all: what an ingest format reads from one file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    gpus: tuple[GpuType, ...] = ()
    instances: tuple[InstanceType, ...] = ()
    prices: tuple[Price, ...] = ()
    grid: tuple[GridIntensity, ...] = ()
    models: tuple[ModelCard, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    layer_measurements: tuple[LayerMeasurement, ...] = ()
    rate_profiles: tuple[RateProfile, ...] = ()
    gemms: tuple[GemmMeasurement, ...] = ()
    bandwidths: tuple[BandwidthMeasurement, ...] = ()
    training_measurements: tuple[TrainingMeasurement, ...] = ()
    collectives: tuple[CollectiveMeasurement, ...] = ()


class Facts(Batch):
    """Everything the store knows at one moment, in a fixed order. Equal digests mean equal facts, hence equal plans."""

    digest: str = ""
