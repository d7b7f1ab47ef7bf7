"""What is asked of the service: the bodies of POSTs. Specs are the planners' own types."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from planner.experts import ExpertsSpec
from planner.power import PowerSpec
from planner.serving import ServingPlan, ServingSpec
from planner.training import TrainingSpec
from planner.types import Frozen, SolveOptions
from profiles.types import Price

MOST_GIVEN = 1_000_000
"""Requests of one simulation that are given one by one: some 16 MiB of JSON."""

MOST_PRICES = 100_000
"""Of one POST: what the largest cloud lists for all its GPU instances and regions."""

MOST_LINES = 10_000
"""Of a file of measurements that is validated: some minutes of work. Published ones have some thousands."""


class ServingRequest(SolveOptions):
    """Plan which GPUs serve this traffic."""

    kind: Literal["serving"]
    spec: ServingSpec


class ExpertsRequest(SolveOptions):
    """Plan where the experts of a mixture go."""

    kind: Literal["experts"]
    spec: ExpertsSpec


class TrainingRequest(SolveOptions):
    """Plan how to spread a training run."""

    kind: Literal["training"]
    spec: TrainingSpec


class PowerRequest(SolveOptions):
    """Plan how many servers share a row's power."""

    kind: Literal["power"]
    spec: PowerSpec


PlanRequest = Annotated[ServingRequest | ExpertsRequest | TrainingRequest | PowerRequest, Field(discriminator="kind")]

Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
CountOf = Annotated[int, Field(ge=1, le=2**31 - 1)]


class Arrivals(Frozen):
    """Generated requests: sizes are drawn from the buckets that the service was planned for."""

    arrivals: Literal["poisson", "gamma", "on-off"] = "poisson"
    requests_per_s: Positive | None = Field(default=None, description="None: as planned")
    duration_s: Annotated[float, Field(gt=0, le=31 * 86_400)] = 600.0
    cv: Positive = Field(default=2.0, description="of gamma arrivals: 1 is Poisson, more is burstier")
    on_s: Positive = Field(default=30.0, description="mean length of bursts of on-off arrivals")
    off_s: Positive = Field(default=30.0, description="and of the pauses between them")


class GivenRequests(Frozen):
    """Requests one by one: seconds since the start, not decreasing, and tokens."""

    arrival_s: Annotated[tuple[Seconds, ...], Field(min_length=1, max_length=MOST_GIVEN)]
    input_tokens: Annotated[tuple[CountOf, ...], Field(min_length=1, max_length=MOST_GIVEN)]
    output_tokens: Annotated[tuple[CountOf, ...], Field(min_length=1, max_length=MOST_GIVEN)]


class FailureOf(Frozen):
    """A replica (counted from 0 within its unit) is gone for a while; its requests start again elsewhere."""

    unit: str = Field(max_length=500)
    replica: int = Field(ge=0, le=2**31 - 1)
    at_s: Seconds
    for_s: Positive | None = Field(default=None, description="None: it never comes back")


class ReplayOptions(Frozen):
    """How to replay: ``planner.simulate.Options``, written again because importing that compiles kernels."""

    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    routing: Literal["fractions", "shortest-queue"] = "fractions"
    token_budget: CountOf = Field(default=2048, description="tokens per iteration: decoded ones, then prompts")
    max_running: CountOf | None = Field(default=None, description="requests at once per replica; None: as measured")
    start_up_s: Seconds = 0.0
    failures: Annotated[tuple[FailureOf, ...], Field(max_length=10_000)] = ()
    mtbf_hours: Positive | None = Field(default=None, description="mean time between failures of a replica")
    repair_s: Seconds = Field(default=600.0, description="of failures drawn from mtbf_hours")
    warm_up_s: Seconds = Field(default=0.0, description="requests that arrive earlier are not measured")
    max_waiting: CountOf = Field(default=200_000, description="stop, as unstable, when more requests wait")
    grace_s: Seconds = Field(default=3600.0, description="time after the last arrival to finish what is there")
    link_latency_ms: Seconds = Field(default=0.0, description="of a KV transfer, whatever its size")
    overlap_layers: bool = Field(default=False, description="KV is sent layer by layer while the prompt is computed")


class SimulationRequest(Frozen):
    """Replay traffic on a serving plan, engine iteration by engine iteration."""

    plan_id: Annotated[str, Field(min_length=1, max_length=64)] | None = Field(
        default=None, description="a saved plan, or a plan in `plan`"
    )
    plan: ServingPlan | None = None
    traffic: dict[Annotated[str, Field(max_length=200)], Arrivals | GivenRequests] = Field(
        default={}, max_length=1000, description="by the name of a service; {}: each as planned, Poisson, 600 s"
    )
    options: ReplayOptions = ReplayOptions()

    @model_validator(mode="after")
    def _one_plan(self) -> SimulationRequest:
        if (self.plan_id is None) == (self.plan is None):
            raise ValueError("give either plan_id or plan")
        return self


class ComparisonRequest(Frozen):
    """Two saved plans: what changed from the first to the second."""

    plans: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], Field(min_length=2, max_length=2)]


class ValidationRequest(Frozen):
    """Measurements to predict and compare: those of a CSV file, or those that are stored."""

    part: Literal["serving", "power", "training"]
    csv: Annotated[str, Field(min_length=1, max_length=16 * 2**20)] | None = Field(
        default=None,
        description="the text of a file in the columns of inference-latency (serving), inference-power, "
        "training-iterations or fsdp-throughput; null: what is stored",
    )
    hold_out: Annotated[str, Field(max_length=20)] | None = Field(
        default=None,
        description="predict each of these from the other rows: random, tp, lengths, concurrency, batch, model, gpu, "
        "gpus. null: predict a file from what is stored, and what is stored with `random`",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1, description="of random folds")

    @model_validator(mode="after")
    def _not_too_long(self) -> ValidationRequest:
        if self.csv is not None and (num_lines := self.csv.count("\n")) > MOST_LINES:
            raise ValueError(f"csv: has {num_lines:,} lines, at most {MOST_LINES:,} are validated at once")
        return self


class PricesRequest(Frozen):
    """Prices to add: each names an instance type that is known."""

    prices: Annotated[tuple[Price, ...], Field(min_length=1, max_length=MOST_PRICES)]


def as_document(request: Frozen) -> dict[str, Any]:
    """The request as plain lists and dicts: what lies in the queue."""
    return request.model_dump(mode="json")
