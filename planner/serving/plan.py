"""The answer of the serving planner. All money is in USD, all power in watts of what the spec asked to count."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from planner.serving.spec import Range, ServingSpec
from planner.types import Frozen, Plan
from profiles.types import Layout, Market, Origin

HOURS_PER_MONTH = 730.0
Role = Literal["unified", "prefill", "decode"]


class Allocation(Frozen):
    """Replicas of one unit. ``usd_per_hour`` is their share, by GPUs used, of the instances they run on."""

    unit: str
    service: str
    gpu: str
    gpus_per_replica: int
    role: Role = "unified"
    precision: str
    engine: str
    layout: Layout | None = Field(default=None, description="None where the spec itself gave the unit's rates")
    provider: str
    instance_type: str
    region: str
    market: Market
    replicas: int
    utilisation: float = Field(description="planned load / capacity of all replicas of this unit's pool")
    usd_per_hour: float
    power_w: float | None


class Rental(Frozen):
    """Instances to rent. They are paid whole, used or not."""

    provider: str
    instance_type: str
    region: str
    market: Market
    gpu: str
    gpus_per_instance: int
    instances: int
    gpus_used: int
    usd_per_instance_hour: float
    usd_per_hour: float


class Route(Frozen):
    """Where one request size goes. Latencies are at the SLO's percentile with ``concurrency`` requests in flight.

    With a ``decode_unit``, ``unit`` reads the prompt at its full rate and sends the KV cache there; ``concurrency`` is
    then the decode replica's, and TPOT and end-to-end time include the transfer.
    """

    service: str
    input_tokens: Range
    output_tokens: Range
    mean_input_tokens: float
    mean_output_tokens: float
    unit: str
    decode_unit: str | None = None
    fraction: float
    requests_per_s: float
    requests_per_s_per_replica: float = Field(
        description="what one replica sustains of this size alone, within the SLO"
    )
    decode_requests_per_s_per_replica: float | None = None
    kv_transfer_ms: float | None = None
    concurrency: float | None = None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    e2e_ms: float | None = None
    origin: Origin | Literal["given"]
    relative_error: float | None = Field(default=None, description="half-width of a 90% interval of the rate")
    num_measurements: int = 0


class Baseline(Frozen):
    """The cheapest plan restricted to one GPU type; null where that type alone cannot serve the request."""

    gpu: str
    usd_per_hour: float | None
    objective: float | None
    detail: str = ""


class PoolBaseline(Frozen):
    """The best plan with unified pools only, or with split pools only, under the same limits."""

    pools: Literal["unified", "split"]
    usd_per_hour: float | None
    objective: float | None
    detail: str = ""


class BindingLimit(Frozen):
    """A limit that the plan uses up, and what one unit more of it is worth."""

    limit: str
    value: float
    used: float
    saving_per_unit: float | None = Field(
        description="objective saved by one unit more (for goodput: requests/s gained)"
    )
    unit: str


class Round(Frozen):
    """One plan that was replayed: the load planned for by service, and how much of the traffic met its SLO."""

    planned_load: dict[str, float] = Field(description="as a share of what replicas are predicted to carry at the SLO")
    objective: float | None
    usd_per_hour: float | None
    slo_attainment: float
    stable: bool


class Verification(Frozen):
    """What came of replaying traffic on the plan and planning again with more or less headroom."""

    traffic: str
    target: float = Field(description="share of requests that should meet every limit of their SLO")
    slo_attainment: float
    attained: bool
    rounds: tuple[Round, ...]
    detail: str


class ServingPlan(Plan):
    """Which instances to rent, what runs on them, and where each request size goes."""

    kind: Literal["serving"] = "serving"
    spec: ServingSpec
    usd_per_hour: float | None = None
    usd_per_month: float | None = None
    usd_per_million_tokens: float | None = None
    power_w: float | None = None
    kg_co2_per_hour: float | None = None
    requests_per_s: float = Field(default=0.0, description="traffic served; above the demand when maximising goodput")
    allocation: tuple[Allocation, ...] = ()
    rentals: tuple[Rental, ...] = ()
    routing: tuple[Route, ...] = ()
    baselines: tuple[Baseline, ...] = ()
    savings_vs_best_single_type: float | None = None
    pool_baselines: tuple[PoolBaseline, ...] = Field(default=(), description="where a service may be split")
    binding_limits: tuple[BindingLimit, ...] = ()
    verification: Verification | None = Field(default=None, description="of a plan made with --verify")
    explanation: tuple[str, ...] = ()
