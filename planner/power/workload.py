"""What runs on the servers of a row: requests, a recorded series of power, or a training job; and its day and week."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from planner.packed import PackedArray
from planner.types import Frozen
from profiles.types import AnyPrecision, Count, Name

Seconds = Annotated[float, Field(ge=0, le=86_400 * 366, allow_inf_nan=False)]
PositiveSeconds = Annotated[float, Field(gt=0, le=86_400 * 366, allow_inf_nan=False)]
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

MOST_CELLS = 50_000_000
"""Samples of a utilisation series: 50 servers for 11 days at one second."""

WHOLE = 10_000
"""Shares in packed series are whole numbers of ten-thousandths."""

SHORTEST_TRACE_MS = 60_000
MOST_TOKENS = 1_000_000
"""Of one request, each way."""


class Generated(Frozen):
    """Requests drawn at random: sizes log-normal, arrivals with bursts. The defaults are like an hour of conversations.

    A ``_spread`` is the standard deviation of the logarithm of a size, ``burstiness`` that of the rate from one five
    minutes to the next, relative to its mean.
    """

    mean_input_tokens: Annotated[float, Field(ge=1, le=1e6, allow_inf_nan=False)] = 1155.0
    input_spread: Annotated[float, Field(ge=0, le=3, allow_inf_nan=False)] = 1.0
    mean_output_tokens: Annotated[float, Field(ge=1, le=1e5, allow_inf_nan=False)] = 211.0
    output_spread: Annotated[float, Field(ge=0, le=3, allow_inf_nan=False)] = 0.9
    burstiness: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.25
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0


class Trace(Frozen):
    """Inference: requests as they came, or as they are ``generated``, on a model in a layout.

    In a file: ``{trace: requests.csv, model: ..., tp: 8}``. A server of several replicas shares its requests out.
    """

    kind: Literal["trace"] = "trace"
    requests: PackedArray | None = Field(
        default=None, description="[requests][ms since the start, input tokens, output tokens], by time", repr=False
    )
    generated: Generated | None = None
    model: Name
    tp: Count = 1
    pp: Count = 1
    precision: AnyPrecision = "unknown"
    engine: str = Field(default="unknown", max_length=100)
    peak_load: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        default=0.6,
        description="load of a server in the busiest hour of the week, as a share of what it can carry; "
        "bursts within the hour come on top",
    )
    peak_requests_per_s: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] | None = Field(
        default=None, description="the same as requests a second of a server; then peak_load does not count"
    )

    @model_validator(mode="after")
    def _has_requests(self) -> Trace:
        if (self.requests is None) == (self.generated is None):
            raise ValueError("requests, generated: give one of them (in a spec file also trace: FILE)")
        if self.requests is not None:
            _check_requests(self.requests)
        return self


class Series(Frozen):
    """Recorded power of GPUs: one row per server, one column per interval. In a file: ``{series: power.csv}``.

    Give ``gpu_w``, or ``utilisation``, which becomes power between idle and TDP in proportion: an assumption.
    ``time_on_clock`` and ``power_on_clock`` say how the work answers to clocks: the defaults are those of decoding.
    """

    kind: Literal["series"] = "series"
    gpu_w: PackedArray | None = Field(
        default=None, description="[servers][intervals] watts of all GPUs of a server", repr=False
    )
    utilisation: PackedArray | None = Field(
        default=None, description="[servers][intervals] ten-thousandths, mean of a server's GPUs", repr=False
    )
    interval_s: Annotated[float, Field(ge=0.01, le=3600, allow_inf_nan=False)] = 1.0
    start_hour: Annotated[float, Field(ge=0, lt=168, allow_inf_nan=False)] = Field(
        default=0.0, description="hour of the week (UTC, Monday 00:00 is 0) of the first interval"
    )
    time_on_clock: Fraction = 0.15
    power_on_clock: Fraction = 0.5
    notes: tuple[str, ...] = Field(default=(), description="what was done to the recording when it was read")

    @model_validator(mode="after")
    def _possible(self) -> Series:
        if (self.gpu_w is None) == (self.utilisation is None):
            raise ValueError("gpu_w, utilisation: give one of them (in a spec file also series: FILE)")
        field = "utilisation" if self.gpu_w is None else "gpu_w"
        _check_series(field, self.values)
        return self

    @property
    def values(self) -> PackedArray:
        """``gpu_w`` or ``utilisation``, whichever is given."""
        values = self.utilisation if self.gpu_w is None else self.gpu_w
        assert values is not None  # noqa: S101  (the validator saw to it)
        return values


class Training(Frozen):
    """A training job: its servers compute, then communicate, in step; checkpoints are dips. Powers: shares of TDP."""

    kind: Literal["training"] = "training"
    iteration_s: PositiveSeconds = 4.0
    compute_share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        default=0.85, description="of an iteration; the rest is communication"
    )
    compute_power: Annotated[float, Field(gt=0, le=1.2, allow_inf_nan=False)] = 0.95
    communicate_power: Annotated[float, Field(gt=0, le=1.2, allow_inf_nan=False)] = 0.45
    checkpoint_every_s: PositiveSeconds = 1800.0
    checkpoint_s: Seconds = 60.0
    checkpoint_power: Annotated[float, Field(gt=0, le=1.2, allow_inf_nan=False)] = 0.25

    @model_validator(mode="after")
    def _possible(self) -> Training:
        if self.checkpoint_s >= self.checkpoint_every_s:
            raise ValueError(
                f"checkpoint_s: {self.checkpoint_s:g} s every {self.checkpoint_every_s:g} s leaves no time to train"
            )
        return self


def _check_requests(requests: PackedArray) -> None:
    table = requests.array()
    if table.ndim != 2 or table.shape[1] != 3:
        raise ValueError(f"requests: has shape {list(table.shape)}; give [ms, input tokens, output tokens] per request")
    if len(table) < 2 or table[-1, 0] - table[0, 0] < SHORTEST_TRACE_MS:
        raise ValueError("requests: less than a minute of them; give at least some minutes, better an hour")
    backwards = np.diff(table[:, 0]) < 0
    if backwards.any():
        raise ValueError(
            f"requests[{int(backwards.argmax()) + 1}]: is earlier than the one before it; sort them by time"
        )
    if table.min() < 0 or table[:, 1:].min() < 1:
        raise ValueError("requests: times start at 0, and every request has at least one token in and one out")
    if table[:, 1:].max() > MOST_TOKENS:
        raise ValueError(f"requests: {table[:, 1:].max():,} tokens in one request; at most {MOST_TOKENS:,} are allowed")


def _check_series(field: str, packed: PackedArray) -> None:
    if len(packed.shape) != 2:
        raise ValueError(f"{field}: has shape {list(packed.shape)}; give one list per server, one value per interval")
    if 0 in packed.shape:
        raise ValueError(f"{field}: is empty; give at least one server and one interval")
    if packed.shape[0] * packed.shape[1] > MOST_CELLS:
        raise ValueError(f"{field}: more than {MOST_CELLS:,} values; give fewer servers, or longer intervals")
    values = packed.array()
    if values.min() < 0:
        server, interval = (int(i) for i in np.argwhere(values < 0)[0])
        raise ValueError(f"{field}[{server}][{interval}]: is negative, {values[server, interval]}; power is 0 or more")
    if field == "utilisation" and values.max() > WHOLE:
        raise ValueError(f"{field}: {values.max()} is more than {WHOLE}, all of the time; give ten-thousandths")


Demand = Annotated[Trace | Series | Training, Field(discriminator="kind")]


class Week(Frozen):
    """How load moves: a factor per hour of the day (24) or week (168), relative to the largest; UTC.

    The spreads say how much days, and hours, differ beyond that (standard deviations of logarithms); a share
    ``correlation`` of their variances is common to all workloads.
    """

    hours: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] | None = Field(
        default=None, description="default: a day and week shape of interactive services, an assumption"
    )
    daily_spread: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.05
    hourly_spread: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] = 0.05
    correlation: Fraction = 0.5

    @model_validator(mode="after")
    def _day_or_week(self) -> Week:
        if self.hours is not None:
            if len(self.hours) not in (24, 168):
                raise ValueError(
                    f"hours: {len(self.hours)} factors; give 24 (a day) or 168 (a week from Monday 00:00 UTC)"
                )
            if max(self.hours) <= 0:
                raise ValueError("hours: all are zero; the busiest hour is 1")
        return self


class Workload(Frozen):
    """What runs on a share of the row's servers."""

    name: Name
    server: Name
    priority: Name
    share: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(description="of the row's servers")
    demand: Demand
    week: Week = Week()
