"""What is asked of the serving planner: services with traffic and SLOs, what may be rented, and limits."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from planner.types import Frozen
from profiles.types import AnyPrecision, Count, Market, Name, Tokens

Objective = Literal["cost", "power", "carbon", "goodput"]
Percentile = Literal["mean", "p50", "p90", "p95", "p99"]
Split = Literal["never", "allowed", "always"]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]  # strict: YAML's `yes` is no 1
Rate = Annotated[Number, Field(ge=0, le=1e7)]
Fraction = Number
Range = tuple[Tokens, Tokens]


def _check_fraction(name: str, value: float | None) -> None:
    if value is not None and not 0 <= value <= 1:
        percent = f"; {value:g} looks like a percentage: write {value / 100:g}" if 1 < value <= 100 else ""
        raise ValueError(f"{name} must be a fraction between 0 and 1{percent}")


class Slo(Frozen):
    """Latency limits for every request size, on the mean or a percentile. A limit left out is not asked for."""

    ttft_ms: Annotated[Number, Field(gt=0, le=86_400_000)] | None = None
    tpot_ms: Annotated[Number, Field(gt=0, le=3_600_000)] | None = None
    e2e_ms: Annotated[Number, Field(gt=0, le=86_400_000)] | None = None
    percentile: Percentile = "mean"

    @model_validator(mode="after")
    def _plausible_units(self) -> Slo:
        for name, smallest in (("ttft_ms", 5.0), ("tpot_ms", 0.5), ("e2e_ms", 10.0)):
            value = getattr(self, name)
            if value is not None and value < smallest:
                raise ValueError(
                    f"{name} = {value:g} ms is faster than any GPU; "
                    f"if you mean {value:g} seconds, write {name}: {value * 1000:g}"
                )
        return self


class Bucket(Frozen):
    """Requests whose sizes lie in a range of input tokens × a range of output tokens (low excluded, high included).

    Throughput and latency are taken at the mean size; where no mean is known, at the upper corner of the range,
    which is never optimistic.
    """

    input_tokens: Range
    output_tokens: Range
    requests_per_s: Rate
    mean_input_tokens: Annotated[Number, Field(gt=0)] | None = None
    mean_output_tokens: Annotated[Number, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Bucket:
        for name, (low, high) in (("input_tokens", self.input_tokens), ("output_tokens", self.output_tokens)):
            if low > high:
                raise ValueError(f"{name}: {low} to {high} is not a range (low exceeds high)")
        return self

    @property
    def size(self) -> tuple[float, float]:
        """(input, output) tokens that stand for the bucket."""
        return (self.mean_input_tokens or self.input_tokens[1], self.mean_output_tokens or self.output_tokens[1])

    @property
    def label(self) -> str:
        """The ranges in words."""
        return f"{_span(self.input_tokens)} in, {_span(self.output_tokens)} out"


def _span(limits: Range) -> str:
    return f"{limits[0]:,}" if limits[0] == limits[1] else f"{limits[0]:,}–{limits[1]:,}"


class Distribution(Frozen):
    """Share of requests per size: ``fractions[i][j]`` for input range i × output range j, summing to 1.

    Range i reaches from ``input_tokens[i]`` to ``input_tokens[i + 1]``: one more edge than ranges.
    """

    input_tokens: tuple[Tokens, ...] = Field(min_length=2, max_length=1001)
    output_tokens: tuple[Tokens, ...] = Field(min_length=2, max_length=1001)
    fractions: tuple[tuple[Fraction, ...], ...]

    @model_validator(mode="after")
    def _is_distribution(self) -> Distribution:
        for name, edges in (("input_tokens", self.input_tokens), ("output_tokens", self.output_tokens)):
            if any(b <= a for a, b in pairwise(edges)):
                raise ValueError(f"{name} must increase from edge to edge")
        check_matrix(
            self.fractions, len(self.input_tokens) - 1, len(self.output_tokens) - 1, "fractions", "input_tokens",
            "output_tokens",
        )  # fmt: skip
        check_sums_to_one([value for row in self.fractions for value in row], "fractions")
        return self


class Workload(Frozen):
    """Traffic of one service: ``requests_per_s`` × ``distribution``, or explicit ``buckets``.

    A trace file is turned into buckets when a spec is loaded (``planner.serving.trace``), so that a saved spec
    says all there is to say.
    """

    requests_per_s: Rate | None = None
    distribution: Distribution | None = None
    buckets: tuple[Bucket, ...] = Field(default=(), max_length=20_000)
    description: str = ""

    @model_validator(mode="after")
    def _one_form(self) -> Workload:
        if bool(self.buckets) == (self.distribution is not None) and self.requests_per_s != 0:
            raise ValueError(
                "give either buckets, or requests_per_s with a distribution (or trace: FILE in a spec file)"
            )
        if self.distribution is not None and self.requests_per_s is None:
            raise ValueError("distribution needs requests_per_s")
        if self.buckets and self.requests_per_s is not None:
            raise ValueError("requests_per_s has no meaning beside buckets, which carry their own rates")
        if len({(b.input_tokens, b.output_tokens) for b in self.buckets}) < len(self.buckets):
            raise ValueError("two buckets have the same ranges: add their rates up")
        return self

    def all_buckets(self) -> tuple[Bucket, ...]:
        """Every bucket with traffic, in reading order."""
        if self.distribution is None:
            return tuple(bucket for bucket in self.buckets if bucket.requests_per_s > 0)
        edges_in, edges_out = self.distribution.input_tokens, self.distribution.output_tokens
        rate = self.requests_per_s or 0.0
        return tuple(
            Bucket(
                input_tokens=(edges_in[i], edges_in[i + 1]),
                output_tokens=(edges_out[j], edges_out[j + 1]),
                requests_per_s=rate * fraction,
            )
            for i, row in enumerate(self.distribution.fractions)
            for j, fraction in enumerate(row)
            if rate * fraction > 0
        )


class RateUnit(Frozen):
    """A unit whose request rates are given, not predicted: one row of a Mélange or AIBrix GPU profile.

    ``requests_per_s[i][j]``: what one replica sustains for the workload's input range i × output range j within
    the SLO (0: it cannot). Rented by itself at ``usd_per_hour``.
    """

    name: Name
    gpu: Name
    gpus_per_replica: Count = 1
    usd_per_hour: Annotated[Number, Field(gt=0, le=1_000_000)]
    requests_per_s: tuple[tuple[Rate, ...], ...]
    max_replicas: int | None = Field(default=None, ge=0, le=1_000_000)


class Service(Frozen):
    """One model served to one kind of traffic under one SLO."""

    name: Name
    model: Name = "unspecified"
    workload: Workload
    slo: Slo = Slo()
    precisions: tuple[AnyPrecision, ...] | None = Field(default=None, min_length=1)
    engines: tuple[Name, ...] | None = Field(default=None, min_length=1)
    tp: tuple[Count, ...] | None = Field(default=None, min_length=1, description="allowed tensor-parallel degrees")
    regions: tuple[Name, ...] | None = Field(default=None, min_length=1)
    min_replicas: int = Field(default=0, ge=0, le=100_000)
    spare_replicas: int = Field(
        default=0, ge=0, le=1000, description="of every unit in use, this many replicas may fail without overload (N+k)"
    )
    max_utilisation: Fraction = Field(default=0.85, description="share of a replica's capacity that is planned for use")
    replayed_capacity: Annotated[Number, Field(ge=1, le=10)] = Field(
        default=1.0,
        description="what replicas carried in a replay of this traffic, as a multiple of the rates predicted "
        "at the SLO's percentile; set by --verify",
    )
    max_spot_fraction: Fraction = Field(default=1.0, description="share of requests that may be served on spot")
    allow_roofline: bool = Field(default=False, description="use datasheet estimates where nothing was measured")
    split: Split = Field(
        default="never",
        description="prefill and decode on pools of their own (disaggregated serving): never, "
        "where that is better, or always",
    )
    kv_link_gb_per_s: Annotated[Number, Field(gt=0, le=100_000)] = Field(
        default=25.0, description="from a prefill replica to a decode replica; 25 is one 200 Gb/s InfiniBand port"
    )
    units: tuple[RateUnit, ...] | None = Field(default=None, min_length=1)
    rate_profiles: tuple[Name, ...] | None = Field(
        default=None, min_length=1, description="imported rate profiles (Mélange, AIBrix) to plan from, by name"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Service:
        _check_fraction("max_utilisation", self.max_utilisation)
        _check_fraction("max_spot_fraction", self.max_spot_fraction)
        if self.max_utilisation < 0.01:
            raise ValueError("max_utilisation must be at least 0.01: below that, nearly all that is rented stands idle")
        if self.units is None and self.model == "unspecified":
            raise ValueError(
                "model is missing: name the model this service runs, e.g. meta-llama/Llama-3.1-8B-Instruct"
            )
        if self.split != "never" and (self.units is not None or self.rate_profiles is not None):
            raise ValueError("split needs profiles of prompts and tokens; given rates do not tell them apart")
        if self.units is not None and self.rate_profiles is not None:
            raise ValueError("give units or rate_profiles, not both")
        if self.units is not None:
            self._check_units(self.units)
        return self

    @property
    def planned_load(self) -> float:
        """How much of a replica's predicted capacity is planned for use."""
        return self.max_utilisation * self.replayed_capacity

    def _check_units(self, units: tuple[RateUnit, ...]) -> None:
        distribution = self.workload.distribution
        if distribution is None:
            raise ValueError("units with given rates need a workload with a distribution of the same shape")
        names = [unit.name for unit in units]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"units: {twice!r} appears twice; names must differ")
        for unit in units:
            check_matrix(
                unit.requests_per_s, len(distribution.fractions), len(distribution.fractions[0]),
                f"units[{unit.name}].requests_per_s", "input ranges", "output ranges",
            )  # fmt: skip


class Discount(Frozen):
    """A negotiated reduction of list prices for the offers it matches; a field left out matches all."""

    fraction: Fraction = Field(description="0.3 takes 30% off")
    provider: Name | None = None
    region: Name | None = None
    gpu: Name | None = None
    instance_type: Name | None = None
    market: Market | None = None

    @model_validator(mode="after")
    def _is_fraction(self) -> Discount:
        _check_fraction("fraction", self.fraction)
        if self.fraction == 1:
            raise ValueError("fraction = 1 makes everything free; it must be below 1")
        return self


class OwnPrice(Frozen):
    """A price of one's own for an instance type, in place of the list price; discounts do not apply to it."""

    provider: Name
    instance_type: Name
    region: Name
    market: Market = "on_demand"
    usd_per_hour: Annotated[Number, Field(ge=0, le=1_000_000)]


class Offers(Frozen):
    """What may be rented. A filter left out lets everything through."""

    providers: tuple[Name, ...] | None = Field(default=None, min_length=1)
    regions: tuple[Name, ...] | None = Field(default=None, min_length=1)
    gpus: tuple[Name, ...] | None = Field(default=None, min_length=1)
    instance_types: tuple[Name, ...] | None = Field(default=None, min_length=1)
    markets: tuple[Market, ...] = Field(default=("on_demand",), min_length=1)
    discounts: tuple[Discount, ...] = ()
    prices: tuple[OwnPrice, ...] = ()

    @model_validator(mode="after")
    def _one_price_each(self) -> Offers:
        places = [(p.provider, p.region, p.instance_type, p.market) for p in self.prices]
        if len(set(places)) < len(places):
            twice = next(place for place in places if places.count(place) > 1)
            raise ValueError(f"prices: {'/'.join(twice)} has two prices; keep one")
        return self


class Availability(Frozen):
    """At most so many instances or GPUs among the offers it matches: a quota, a cap, or what is left in a region."""

    max_instances: int | None = Field(default=None, ge=0, le=10_000_000)
    max_gpus: int | None = Field(default=None, ge=0, le=10_000_000)
    provider: Name | None = None
    region: Name | None = None
    gpu: Name | None = None
    instance_type: Name | None = None
    market: Market | None = None

    @model_validator(mode="after")
    def _limits_something(self) -> Availability:
        if (self.max_instances is None) == (self.max_gpus is None):
            raise ValueError("give exactly one of max_instances and max_gpus")
        return self


class Limits(Frozen):
    """Limits on the whole plan."""

    budget_usd_per_hour: Annotated[Number, Field(ge=0, le=1e9)] | None = None
    power_w: Annotated[Number, Field(ge=0, le=1e10)] | None = None
    max_gpu_types: int | None = Field(default=None, ge=1, le=1000)
    availability: tuple[Availability, ...] = Field(default=(), max_length=10_000)


class ServingSpec(Frozen):
    """A request to the serving planner: the cheapest (or leanest, cleanest, most productive) mix for these services."""

    kind: Literal["serving"] = "serving"
    name: Name = "serving"
    objective: Objective = "cost"
    services: tuple[Service, ...] = Field(min_length=1, max_length=200)
    offers: Offers = Offers()
    limits: Limits = Limits()
    host_w_per_gpu: Annotated[Number, Field(ge=0, le=100_000)] = Field(
        default=0.0, description="CPU, fans and network per GPU; not measured by any profile, so 0 unless you know it"
    )

    @model_validator(mode="after")
    def _consistent(self) -> ServingSpec:
        names = [service.name for service in self.services]
        if len(set(names)) < len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(f"services: {twice!r} appears twice; names must differ")
        if self.objective == "goodput" and self.limits == Limits():
            raise ValueError(
                "objective goodput needs a limit to work within: limits.budget_usd_per_hour, power_w or availability"
            )
        return self


def check_matrix(
    matrix: tuple[tuple[float, ...], ...], num_rows: int, num_columns: int, name: str, rows: str, columns: str
) -> None:
    """Raise ValueError unless ``matrix`` is ``num_rows`` × ``num_columns``; says so when it fits transposed."""
    widths = {len(row) for row in matrix}
    if not matrix or widths == {0}:
        raise ValueError(f"{name} is empty; it needs {num_rows} rows ({rows}) of {num_columns} numbers ({columns})")
    if len(widths) > 1:
        raise ValueError(f"{name} is ragged: its rows have {sorted(widths)} numbers; all need {num_columns}")
    if (len(matrix), widths.pop()) != (num_rows, num_columns):
        transposed = len(matrix) == num_columns and len(matrix[0]) == num_rows
        hint = "; it looks transposed" if transposed else ""
        raise ValueError(
            f"{name} has {len(matrix)} × {len(matrix[0])} numbers; it needs {num_rows} rows ({rows}) "
            f"× {num_columns} columns ({columns}){hint}"
        )


def check_sums_to_one(values: list[float], name: str) -> None:
    """Raise ValueError unless ``values`` are fractions that sum to 1 (within 0.1%)."""
    if any(value < 0 for value in values):
        raise ValueError(f"{name} has negative values; shares of traffic lie between 0 and 1")
    total = math.fsum(values)
    if abs(total - 1) > 1e-3:
        hint = "; these look like percentages: divide by 100" if abs(total - 100) < 0.1 else ""
        hint = hint or "; divide each by the sum, or correct the missing ones"
        raise ValueError(f"{name} sum to {total:g}, not 1{hint}")
