"""What the performance model is asked and what it answers: plain frozen records of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from profiles.types import Layout

Floats = NDArray[np.float64]
Strings = NDArray[np.str_]
Marks = NDArray[np.bool_]
Percentile = Literal["mean", "p50", "p90", "p95", "p99"]


@dataclass(frozen=True)
class Slo:
    """Latency limits that a request must meet, at one percentile; ``None``: not asked."""

    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2e_ms: float | None = None
    percentile: Percentile = "mean"


@dataclass(frozen=True)
class Prediction:
    """Latency, throughput and power at given lengths and concurrency; arrays of one shape.

    Latencies are at the asked percentile; throughput and power are means. ``power_w`` is of all the
    replica's GPUs together, NaN where neither a measurement nor a GPU fact says anything.
    Every ``*_error`` is the width ``r`` of a 90% interval ``[value / (1 + r), value · (1 + r)]`` of its quantity;
    ``relative_error`` is that of end-to-end time.
    """

    ttft_ms: Floats
    tpot_ms: Floats
    e2e_ms: Floats
    output_tokens_per_s: Floats
    requests_per_s: Floats
    power_w: Floats
    origin: Strings
    relative_error: Floats
    ttft_error: Floats
    tpot_error: Floats
    throughput_error: Floats
    power_error: Floats


@dataclass(frozen=True)
class Capacity:
    """The highest request rate that one replica of ``layout`` sustains within an SLO, per request size.

    ``requests_per_s`` is 0 where the SLO cannot be met. ``binding`` says what stops a higher rate, or what
    makes it 0: ``ttft``, ``tpot``, ``e2e``, ``memory``, ``throughput`` or ``context``. The ``best_*`` latencies
    are those of a request that shares the replica with no other, at the SLO's percentile; inf beyond the context.
    """

    layout: Layout
    requests_per_s: Floats
    concurrency: Floats
    ttft_ms: Floats
    tpot_ms: Floats
    e2e_ms: Floats
    power_w: Floats
    origin: Strings
    relative_error: Floats
    binding: Strings
    best_ttft_ms: Floats
    best_tpot_ms: Floats
    best_e2e_ms: Floats
    num_rows: int


@dataclass(frozen=True)
class Memory:
    """Where the GPU memory of one replica goes. ``max_tokens`` of KV cache fit at once over all its GPUs."""

    weights_gib: float
    kv_gib: float
    kv_bytes_per_token: float
    max_tokens: float
