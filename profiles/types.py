"""The facts that planners work from: frozen, validated, with the unit in every name that has one.

Everything a planner may use about the world is one of these; ``profiles.store`` reads and writes them
and ``Facts`` is the frozen set of them that one plan was made from.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Precision = Literal["fp32", "fp16", "bf16", "fp8", "fp4", "int8", "int4", "unknown"]
GemmPrecision = Literal["fp32", "tf32", "bf16", "fp16", "fp8"]
"""Of the operands of a matrix product; fp8 accumulates in fp32 and writes bf16."""
Market = Literal["on_demand", "spot", "reserved"]
Origin = Literal["measured", "interpolated", "extrapolated", "roofline"]
"""Where a number comes from: a measured point, between measured points, beyond them, or a datasheet."""

WEIGHT_BYTES: dict[str, float] = {
    "fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5625, "int4": 0.5625, "unknown": 2.0,
}  # fmt: skip
"""Bytes per weight. Four-bit formats carry a one-byte scale per 16 values (NVFP4; OCP MX uses 32)."""

_PRECISION_ALIASES = {
    "bfloat16": "bf16", "float16": "fp16", "half": "fp16", "float32": "fp32", "float8": "fp8", "fp8_e4m3": "fp8",
    "nvfp4": "fp4", "mxfp4": "fp4", "w4a16": "int4", "awq": "int4", "gptq": "int4", "": "unknown",
}  # fmt: skip


def _canonical_precision(value: object) -> object:
    if isinstance(value, str):
        lowered = value.strip().lower()
        return _PRECISION_ALIASES.get(lowered, lowered)
    return value


AnyPrecision = Annotated[Precision, BeforeValidator(_canonical_precision)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Tokens = Annotated[int, Field(ge=1, le=10_000_000)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(abs)]  # abs: −0.0 has two spellings
Milliseconds = Annotated[float, Field(gt=0, le=86_400_000, allow_inf_nan=False)]
Watts = Annotated[float, Field(gt=0, le=10_000_000, allow_inf_nan=False)]
UsdPerHour = Annotated[float, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class Fact(BaseModel):
    """Base of every fact: immutable, no unknown fields, and a source and date that say where it is from."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True)

    source: str = Field(min_length=1, description="where the fact comes from: document, data set, URL or tool")
    as_of: dt.date = Field(description="the day the fact was published or measured")


class MeasuredFact(Fact):
    """A fact measured on a machine, with what was known of that machine's state."""

    driver: str = Field(default="", max_length=100, description="driver version")
    software: str = Field(default="", max_length=200, description="what ran, with versions, e.g. 'torch 2.11, CUDA 13'")
    sm_clock_mhz: Positive | None = Field(default=None, description="mean, or at one moment, of the measurement")
    temperature_c: Positive | None = None
    power_limit_w: Watts | None = Field(default=None, description="enforced limit of one GPU")


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


class Layout(BaseModel):
    """How one replica spreads over GPUs, at which precision, in which engine: the key of a performance profile.

    A replica uses ``tp * pp * dp`` GPUs; ``ep`` divides ``tp * dp`` and never adds GPUs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Name
    gpu: Name
    tp: Count = 1
    pp: Count = 1
    dp: Count = 1
    ep: Count = 1
    precision: AnyPrecision = "unknown"
    engine: str = Field(default="unknown", max_length=100)

    @property
    def num_gpus(self) -> int:
        """GPUs of one replica."""
        return self.tp * self.pp * self.dp

    @property
    def label(self) -> str:
        """Short, unique and readable: ``H100 ×2 fp8 vllm``, with PP, DP and EP only where they are not 1."""
        extra = "".join(f" {name}{n}" for name, n in (("pp", self.pp), ("dp", self.dp), ("ep", self.ep)) if n > 1)
        return f"{self.gpu} ×{self.num_gpus}{extra} {self.precision} {self.engine}"


class Measurement(MeasuredFact):
    """One measured operating point of a model on GPUs. At least one measured quantity must be present.

    ``load`` says what ``concurrency`` means: ``closed_loop`` keeps that many requests in flight (so TTFT
    includes queueing), ``static_batch`` starts that many together and runs them in step.
    Means are plain names; percentiles carry their number. Power is of all the replica's GPUs together.
    """

    model: Name
    gpu: Name
    tp: Count = 1
    pp: Count = 1
    dp: Count = 1
    ep: Count = 1
    precision: AnyPrecision = "unknown"
    engine: str = Field(default="unknown", max_length=100)
    engine_version: str = Field(default="", max_length=100)
    load: Literal["closed_loop", "open_loop", "static_batch"] = "closed_loop"
    task: str = Field(
        default="", max_length=100, description="data set of the requests, where lengths alone do not say"
    )
    input_tokens: Positive | None = Field(default=None, description="mean per request")
    output_tokens: Positive | None = Field(default=None, description="mean per request")
    concurrency: Positive | None = Field(default=None, description="requests in flight, or batch size")
    requests_per_s: Positive | None = None
    output_tokens_per_s: Positive | None = None
    ttft_ms: Milliseconds | None = None
    ttft_p50_ms: Milliseconds | None = None
    ttft_p90_ms: Milliseconds | None = None
    ttft_p99_ms: Milliseconds | None = None
    tpot_ms: Milliseconds | None = None
    tpot_p50_ms: Milliseconds | None = None
    tpot_p90_ms: Milliseconds | None = None
    tpot_p99_ms: Milliseconds | None = None
    itl_p50_ms: Milliseconds | None = None
    itl_p90_ms: Milliseconds | None = None
    itl_p99_ms: Milliseconds | None = None
    e2e_ms: Milliseconds | None = None
    mean_power_w: Watts | None = None
    peak_power_w: Watts | None = None

    @model_validator(mode="after")
    def _measures_something(self) -> Measurement:
        measured = (
            self.requests_per_s, self.output_tokens_per_s, self.ttft_ms, self.ttft_p50_ms, self.tpot_ms,
            self.tpot_p50_ms, self.itl_p50_ms, self.e2e_ms, self.mean_power_w, self.peak_power_w,
        )  # fmt: skip
        if all(value is None for value in measured):
            raise ValueError("measures nothing: give at least one of TTFT, TPOT, ITL, throughput or power")
        return self

    @property
    def layout(self) -> Layout:
        """The profile that this point belongs to."""
        return Layout(
            model=self.model, gpu=self.gpu, tp=self.tp, pp=self.pp, dp=self.dp, ep=self.ep,
            precision=self.precision, engine=self.engine,
        )  # fmt: skip

    @property
    def digest(self) -> str:
        """Identity by content: importing the same row twice changes nothing."""
        return content_digest(self.model_dump_json(exclude_defaults=True))


class LayerMeasurement(Fact):
    """Time of one transformer layer on one GPU type: ``size`` is prompt tokens, or requests in a decode batch."""

    model: Name
    gpu: Name
    num_gpus: Count = 1
    phase: Literal["prefill", "decode"]
    size: Positive
    ms_per_layer: Milliseconds

    @property
    def digest(self) -> str:
        """Identity by content."""
        return content_digest(self.model_dump_json(exclude_defaults=True))


class GemmMeasurement(MeasuredFact):
    """Time and power of one matrix product C[m, n] = A[m, k] · B[k, n] on one GPU; operands come from memory."""

    gpu: Name
    m: Count
    n: Count
    k: Count
    precision: GemmPrecision
    time_us: Positive = Field(description="median")
    mean_power_w: Watts | None = Field(default=None, description="of the GPU, over products back to back")

    @property
    def tflops(self) -> float:
        """Achieved tera-operations per second, 2·m·n·k of them in a product."""
        return 2e-6 * self.m * self.n * self.k / self.time_us

    @property
    def digest(self) -> str:
        """Identity by content."""
        return content_digest(self.model_dump_json(exclude_defaults=True))


class BandwidthMeasurement(MeasuredFact):
    """Time and power of one pass over a buffer of ``num_bytes`` in a GPU's memory."""

    gpu: Name
    access: Literal["copy", "read", "write"]
    num_bytes: Annotated[int, Field(ge=1, le=2**53)]
    time_us: Positive = Field(description="median")
    mean_power_w: Watts | None = None

    @property
    def gb_per_s(self) -> float:
        """Bytes moved per time, in GB (10⁹); a copy moves each byte twice."""
        return (2 if self.access == "copy" else 1) * self.num_bytes / self.time_us / 1e3

    @property
    def digest(self) -> str:
        """Identity by content."""
        return content_digest(self.model_dump_json(exclude_defaults=True))


class RateProfile(Fact):
    """Largest request rate of one GPU per request size that met an SLO: what Mélange and AIBrix call ``tputs``.

    ``requests_per_s[i][j]`` is the rate at ``input_tokens[i]`` × ``output_tokens[j]``; 0: the SLO cannot be met.
    """

    name: Name
    model: Name
    gpu: Name
    num_gpus: Count = 1
    input_tokens: tuple[Tokens, ...] = Field(min_length=1)
    output_tokens: tuple[Tokens, ...] = Field(min_length=1)
    requests_per_s: tuple[tuple[NotNegative, ...], ...]
    usd_per_hour: UsdPerHour | None = None
    slo: str = Field(default="", max_length=200, description="the SLO under which it was measured, in words")

    @model_validator(mode="after")
    def _rectangular(self) -> RateProfile:
        for name, ticks in (("input_tokens", self.input_tokens), ("output_tokens", self.output_tokens)):
            if any(b <= a for a, b in pairwise(ticks)):
                raise ValueError(f"{name} must increase")
        if len(self.requests_per_s) != len(self.input_tokens) or any(
            len(row) != len(self.output_tokens) for row in self.requests_per_s
        ):
            raise ValueError(
                f"requests_per_s must have {len(self.input_tokens)} rows (input_tokens) "
                f"of {len(self.output_tokens)} numbers (output_tokens)"
            )
        return self


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


class Facts(Batch):
    """Everything the store knows at one moment, in a fixed order. Equal digests mean equal facts, hence equal plans."""

    digest: str = ""


def content_digest(text: str) -> str:
    """Short, stable name of a text: the first 32 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
