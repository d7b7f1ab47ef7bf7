"""Facts that were measured: serving, one layer, matrix products, memory passes, rates, training steps, collectives."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from profiles.fact import (
    AnyPrecision,
    Count,
    Fact,
    GemmPrecision,
    MeasuredFact,
    Milliseconds,
    Name,
    NotNegative,
    Positive,
    Tokens,
    UsdPerHour,
    Watts,
    content_digest,
)


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
