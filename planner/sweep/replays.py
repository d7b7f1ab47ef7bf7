"""Replays of one serving plan under changed traffic: what a sweep of kind ``simulation`` takes."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from planner.errors import InvalidInput
from planner.serving.plan import ServingPlan
from planner.simulate import Options, Simulation, Sizes, Traffic, generated, simulate
from planner.simulate.arrivals import Process
from planner.simulate.of_plan import planned_services
from planner.types import Frozen
from profiles.types import Facts

Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class Replay(Frozen):
    """A plan, the traffic that comes and how to replay it. Sizes are drawn from the plan's own buckets."""

    plan: ServingPlan
    arrivals: Process = "poisson"
    requests_per_s: Positive | None = Field(default=None, description="None: as planned. For plans of one service")
    rate_multiplier: Positive = 1.0
    duration_s: Annotated[float, Field(gt=0, le=31 * 86_400)] = 600.0
    cv: Positive = Field(default=2.0, description="of gamma arrivals: 1 is Poisson, more is burstier")
    on_s: Positive = 30.0
    off_s: Positive = 30.0
    options: Options = Options()


def replayed(replay: Replay, facts: Facts) -> Simulation:
    """What requests experience; the options' seed is that of the traffic too. Raises what ``simulate`` raises."""
    services = planned_services(replay.plan)
    if replay.requests_per_s is not None and len(services) > 1:
        raise InvalidInput(f"does not say which of {len(services)} services it is for", field="requests_per_s",
                           fix="vary rate_multiplier")  # fmt: skip
    return simulate(replay.plan, {name: _traffic(replay, name, i) for i, name in enumerate(services)}, facts,
                    replay.options)  # fmt: skip


def _traffic(replay: Replay, name: str, number: int) -> Traffic:
    service = next(service for service in replay.plan.spec.services if service.name == name)
    planned = sum(bucket.requests_per_s for bucket in service.workload.all_buckets())
    rate = planned if replay.requests_per_s is None else replay.requests_per_s
    return generated(
        replay.arrivals, Sizes.of_service(service), requests_per_s=rate * replay.rate_multiplier,
        duration_s=replay.duration_s, seed=replay.options.seed + number, cv=replay.cv, on_s=replay.on_s,
        off_s=replay.off_s,
    )  # fmt: skip
