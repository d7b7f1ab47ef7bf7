"""What every fact is made of: checked numbers with their units, and where each is from."""

from __future__ import annotations

import datetime as dt
import hashlib
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

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

    @property
    def digest(self) -> str:
        """Identity by content: importing the same row twice changes nothing."""
        return content_digest(self.model_dump_json(exclude_defaults=True))


def content_digest(text: str) -> str:
    """Short, stable name of a text: the first 32 hex digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
