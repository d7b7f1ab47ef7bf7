"""What a replay reports. Times of requests in ms; a percentile is within 0.25% of the exact one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from planner.serving.plan import Role
from planner.types import Frozen

SHARES = (*(i / 50 for i in range(50)), 0.99, 0.995, 0.999, 1.0)
"""Of requests, at which a distribution is told: enough for a smooth curve, with the tail that SLOs are about."""


class Latency(Frozen):
    """Over the measured requests that completed; None where there are none (TPOT: none with a second token)."""

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    mean: float | None
    distribution: tuple[tuple[float, float], ...] = Field(
        default=(), description="(share of requests, ms that they took at most): the curve from fastest to slowest"
    )


class UnitUse(Frozen):
    """How busy the replicas of one unit were, from the start of the traffic to the end of the replay."""

    unit: str
    service: str
    role: Role
    replicas: int
    utilisation: float = Field(description="share of the time that a replica had an iteration under way")
    mean_running: float = Field(description="admitted requests per replica, over all the time")
    kv_utilisation: float | None = Field(description="mean share of the KV cache; None where its size is not known")
    num_completed: int = Field(description="requests that ended their stay here: prompts on a prefill unit")
    mean_power_w: float | None = Field(description="of all replicas; None where the GPU's power is not known")
    energy_kwh: float | None
    relative_error: float = Field(description="of the times used: half-width of a 90% interval")


class Events(Frozen):
    """Counts over the whole replay, warm-up included."""

    completed: int
    rejected: int
    rejected_longer_than_context: int
    rejected_larger_than_kv_cache: int
    rejected_no_replica: int
    unfinished: int = Field(description="in flight when the replay was cut off")
    outside_buckets: int = Field(description="of a size that no bucket of the plan holds: routed as the nearest")
    preempted: int
    retried: int
    transferred: int = Field(description="KV caches sent from a prefill to a decode replica")
    failures: int
    started: int = Field(description="starts of replicas: each once, and after each repair")


class Power(Frozen):
    """Mean power in bins of time from the start of the traffic; the last bin may be partly empty."""

    bin_s: float
    power_w: tuple[float, ...]


class Outcome(Frozen):
    """What requests experienced."""

    num_requests: int
    ttft_ms: Latency
    tpot_ms: Latency = Field(description="(E2E − TTFT) / (output − 1)")
    e2e_ms: Latency
    slo_attainment: float = Field(
        description="share of the measured requests that completed within every limit of the SLO; rejected and "
        "unfinished ones are misses"
    )
    goodput_requests_per_s: float = Field(description="requests within every limit, per second of arrivals")
    requests_per_s: float = Field(description="measured arrivals per second")
    output_tokens_per_s: float = Field(description="of completed requests, per second of arrivals")
    events: Events
    stable: bool = Field(
        description="false when the replay was cut off, or when what waited at the last arrival took longer to clear "
        "than a minute and 5% of the time of arrivals"
    )


class ServiceOutcome(Outcome):
    """The requests of one service."""

    service: str
    traffic: str


class Simulation(Outcome):
    """A replay of all services together. Equal inputs and seeds give equal results but for ``wall_seconds``."""

    kind: Literal["simulation"] = "simulation"
    seed: int
    services: tuple[ServiceOutcome, ...]
    utilisation: tuple[UnitUse, ...]
    duration_s: float = Field(description="from the start of the traffic to the end of the last request")
    power: Power | None = Field(default=None, description="None where the power of a GPU is not known")
    energy_kwh: float | None = None
    mean_power_w: float | None = None
    notes: tuple[str, ...] = ()
    wall_seconds: float
