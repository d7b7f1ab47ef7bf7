"""What is replayed: pools of equal replicas, who may go where, the link between pools, and what fails."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from planner.serving.plan import Role
from planner.serving.spec import Range
from planner.types import Frozen
from profiles.performance import Iteration

RoutingRule = Literal["fractions", "shortest-queue"]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
MOST = 2**31 - 1
"""Of what is counted."""


class Failure(Frozen):
    """A replica (counted from 0 within its unit) is gone for a while; its requests start again elsewhere."""

    unit: str
    replica: int = Field(ge=0)
    at_s: Seconds
    for_s: Annotated[float, Field(gt=0)] = math.inf


class Options(Frozen):
    """How to replay. Equal options, seed included, give equal results."""

    seed: int = Field(default=0, ge=0, le=MOST)
    routing: RoutingRule = Field(
        default="fractions",
        description="to units by the plan's fractions (drawn per request), or to the shortest queue of all units that "
        "the plan gives this size to; among the replicas of a unit always to the shortest queue",
    )
    token_budget: int = Field(
        default=2048, ge=1, le=MOST, description="tokens per iteration: decoded ones, then prompts"
    )
    max_running: int | None = Field(
        default=None, ge=1, le=MOST, description="requests at once per replica; None: as measured"
    )
    start_up_s: Seconds = Field(default=0.0, description="after the start of the traffic, and after each repair")
    failures: tuple[Failure, ...] = ()
    mtbf_hours: Annotated[float, Field(gt=0)] | None = Field(default=None, description="per replica, exponential")
    repair_s: Seconds = Field(default=600.0, description="of failures drawn from mtbf_hours")
    warm_up_s: Seconds = Field(default=0.0, description="requests that arrive earlier are replayed but not measured")
    max_waiting: int = Field(default=200_000, ge=1, description="stop, and call it unstable, when more requests wait")
    grace_s: Seconds = Field(default=3600.0, description="time after the last arrival to finish what is there")
    link_latency_ms: Seconds = Field(default=0.0, description="of a KV transfer, whatever its size")
    overlap_layers: bool = Field(default=False, description="KV is sent layer by layer while the prompt is computed")


@dataclass(frozen=True)
class Pool:
    """Equal replicas of one unit. ``host_w`` is drawn by each replica beside its GPUs, busy or not."""

    unit: str
    iteration: Iteration
    replicas: int
    role: Role = "unified"
    host_w: float = 0.0

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise ValueError(f"{self.unit}: a pool needs at least one replica")
        times = self.iteration.decode_ms[1:]
        if len(times) == 0 or not (np.isfinite(times).all() and (times > 0).all()):
            raise ValueError(f"{self.unit}: decode_ms needs a positive time for each number of requests from 1 on")


@dataclass(frozen=True)
class Link:
    """What carries KV caches from a prefill replica: ``gb_per_s`` (10⁹ bytes) each, one transfer after another.

    With ``layers`` above 1, a cache is sent layer by layer while the prompt is still computed.
    """

    gb_per_s: float
    latency_ms: float = 0.0
    layers: int = 1


@dataclass(frozen=True)
class Choice:
    """A unit that serves a request size, or a prefill unit and the unit that decodes for it."""

    unit: str
    decode_unit: str | None = None
    fraction: float = 1.0


@dataclass(frozen=True)
class SizeRoutes:
    """Where requests go whose input and output tokens lie in these ranges (low excluded, high included)."""

    input_tokens: Range
    output_tokens: Range
    choices: tuple[Choice, ...]


def every_route(pools: tuple[Pool, ...]) -> tuple[SizeRoutes, ...]:
    """All sizes to every unified pool, and to every pair of a prefill and a decode pool, in equal shares."""
    decoders = [pool.unit for pool in pools if pool.role == "decode"]
    choices = [Choice(pool.unit) for pool in pools if pool.role == "unified"]
    choices += [Choice(pool.unit, unit) for pool in pools if pool.role == "prefill" for unit in decoders]
    share = 1 / max(len(choices), 1)
    return (SizeRoutes((0, 10_000_000), (0, 10_000_000), tuple(Choice(c.unit, c.decode_unit, share) for c in choices)),)
