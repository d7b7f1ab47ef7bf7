"""What is asked of the power planner: a row and its budget, what runs there, how it may be capped, what is promised.

Slowdowns are fractions: 0.05 is 5% longer. Powers are watts at the server's plug unless a name says ``gpu_w``.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from planner.power.policy import Policy
from planner.power.site import Site
from planner.power.workload import (
    Demand,
    Fraction,
    Generated,
    PositiveSeconds,
    Seconds,
    Series,
    Trace,
    Training,
    Week,
    Workload,
)
from planner.types import Frozen
from profiles.types import Name

__all__ = [
    "Controls",
    "Demand",
    "Event",
    "Fraction",
    "Generated",
    "Observed",
    "PowerSpec",
    "Priority",
    "Promise",
    "Range",
    "Row",
    "Series",
    "Server",
    "Site",
    "Trace",
    "Training",
    "Week",
    "Workload",
]

Watts = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]

MOST_SERVERS = 100_000


class Range(Frozen):
    """A value that nobody measured: it lies between ``low`` and ``high``."""

    low: Watts
    high: Watts

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if self.low > self.high:
            raise ValueError(f"low: {self.low:g} is above high, {self.high:g}; swap them")
        return self


class Server(Frozen):
    """One kind of server. ``other_w``: everything but GPUs (CPUs, fans, NICs); a range where it is not measured."""

    name: Name = "server"
    gpu: Name
    num_gpus: Annotated[int, Field(ge=1, le=1024)] = 8
    other_w: Watts | Range
    rated_w: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)] = Field(description="what the nameplate says")

    @property
    def other_range_w(self) -> tuple[float, float]:
        """Least and most of ``other_w``."""
        return (self.other_w.low, self.other_w.high) if isinstance(self.other_w, Range) else (self.other_w,) * 2


class Observed(Frozen):
    """What was seen of a row in use: with it an unmeasured ``other_w`` is found within its range."""

    num_servers: Annotated[int, Field(ge=1, le=MOST_SERVERS)]
    peak_utilisation: Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)]


class Row(Frozen):
    """The power feed in question: ``budget_w``, or the budget of ``budget_servers`` servers at their rated power."""

    name: Name = "row"
    budget_w: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)] | None = None
    budget_servers: Annotated[int, Field(ge=1, le=MOST_SERVERS)] | None = None
    max_servers: Annotated[int, Field(ge=1, le=MOST_SERVERS)] | None = Field(
        default=None, description="places in its racks; default twice the servers that fit by rated power"
    )
    observed: Observed | None = None

    @model_validator(mode="after")
    def _one_budget(self) -> Row:
        if (self.budget_w is None) == (self.budget_servers is None):
            raise ValueError("budget_w, budget_servers: give one of them")
        return self


class Priority(Frozen):
    """A class of workloads and the slowdown that it bears: half of its requests, and 99 of 100, at most so much."""

    name: Name
    max_slowdown_p50: Positive = 0.05
    max_slowdown_p99: Positive = 0.50

    @model_validator(mode="after")
    def _ordered(self) -> Priority:
        if self.max_slowdown_p50 > self.max_slowdown_p99:
            raise ValueError("max_slowdown_p50 is above max_slowdown_p99; the median is the smaller one")
        return self


class Controls(Frozen):
    """How fast power is seen and capped. ``out_of_band``: by the BMC (POLCA measured 40 s, and 5 s for the brake)."""

    method: Literal["out_of_band", "in_band"] = "out_of_band"
    telemetry_interval_s: PositiveSeconds = 2.0
    cap_latency_s: Seconds | None = Field(default=None, description="default 40 out of band, 2 in band")
    brake_latency_s: Seconds = 5.0
    brake_clock_mhz: Positive = Field(default=288.0, description="of every GPU while the brake is on")
    telemetry_timeout_s: PositiveSeconds = Field(
        default=10.0, description="without a reading for so long the controller takes its topmost step: fail safe"
    )

    @property
    def latency_s(self) -> float:
        """Seconds from a decision until a cap is in force."""
        if self.cap_latency_s is not None:
            return self.cap_latency_s
        return 40.0 if self.method == "out_of_band" else 2.0


class Event(Frozen):
    """Something that goes wrong at ``at_s`` of every simulated stress day, for ``duration_s``.

    ``feed_failure`` leaves ``remaining`` of the budget; ``telemetry_gap`` leaves the controller blind; ``runaway``
    makes a workload draw the TDP of all its GPUs.
    """

    kind: Literal["feed_failure", "telemetry_gap", "runaway"]
    at_s: Seconds
    duration_s: PositiveSeconds = 3600.0
    remaining: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = 0.5
    workload: Name | None = None


class Promise(Frozen):
    """What a plan must hold: with ``confidence``, ``weeks`` weeks pass with so few brakes and every slowdown kept."""

    weeks: Annotated[int, Field(ge=1, le=104)] = 6
    confidence: Annotated[float, Field(ge=0.5, le=0.9999)] = 0.99
    max_brakes: Annotated[int, Field(ge=0, le=1_000_000)] = 0


class PowerSpec(Frozen):
    """A request to the power planner. ``row`` asks how many servers fit; ``site`` where servers go; or both.

    ``priorities`` are in the order in which they are capped, the least important first. ``policy``: thresholds and caps
    are found (``optimise``), or those of a baseline, or given. ``assume``: which end of unmeasured ranges the promise
    is made at; the plan shows all three.
    """

    kind: Literal["power"] = "power"
    name: Name = "row"
    servers: tuple[Server, ...] = Field(min_length=1, max_length=50)
    priorities: tuple[Priority, ...] = Field(min_length=1, max_length=4)
    workloads: tuple[Workload, ...] = Field(min_length=1, max_length=50)
    row: Row | None = None
    site: Site | None = None
    controls: Controls = Controls()
    policy: Literal["optimise", "polca", "one_threshold", "power_cap", "none"] | Policy = "optimise"
    num_servers: Annotated[int, Field(ge=1, le=MOST_SERVERS)] | None = Field(
        default=None, description="judge this many instead of finding the most"
    )
    promise: Promise = Promise()
    assume: Literal["low", "middle", "high"] = "high"
    events: tuple[Event, ...] = Field(default=(), max_length=20)

    @model_validator(mode="after")
    def _consistent(self) -> PowerSpec:
        if self.row is None and self.site is None:
            raise ValueError("row, site: give a row to fill, a site to place servers on, or both")
        for field, items in (("servers", self.servers), ("priorities", self.priorities), ("workloads", self.workloads)):
            names = [item.name for item in items]
            twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
            if twice is not None:
                raise ValueError(f"{field}: {twice!r} appears twice; names must differ")
        for i, workload in enumerate(self.workloads):
            self._known(f"workloads[{i}].server", workload.server, [s.name for s in self.servers])
            self._known(f"workloads[{i}].priority", workload.priority, [p.name for p in self.priorities])
            if isinstance(workload.demand, Trace):
                num_gpus = self.server_of(workload).num_gpus
                replica = workload.demand.tp * workload.demand.pp
                if num_gpus % replica:
                    raise ValueError(
                        f"workloads[{i}].demand: replicas of {replica} GPUs do not fill a server of {num_gpus}"
                    )
        total = sum(w.share for w in self.workloads)
        if abs(total - 1) > 1e-6:
            more = "more than the servers there are" if total > 1 else "what runs on the rest?"
            raise ValueError(f"workloads: shares add up to {total:g}, {more}; make them add up to 1")
        for i, event in enumerate(self.events):
            if event.kind == "runaway":
                self._known(f"events[{i}].workload", event.workload or "", [w.name for w in self.workloads])
        self._check_policy()
        self._check_row()
        return self

    def server_of(self, workload: Workload) -> Server:
        """The kind of server that a workload runs on."""
        return next(server for server in self.servers if server.name == workload.server)

    @property
    def budget_w(self) -> float:
        """Of the row; ``ValueError`` without one."""
        if self.row is None:
            raise ValueError("row is missing")
        if self.row.budget_w is not None:
            return self.row.budget_w
        return (self.row.budget_servers or 0) * self.rated_w

    @property
    def rated_w(self) -> float:
        """Of a server, on average over the shares."""
        return sum(w.share * self.server_of(w).rated_w for w in self.workloads)

    @property
    def num_by_rating(self) -> int:
        """Servers that fit by their rated power alone."""
        return int(self.budget_w / self.rated_w + 1e-9)

    def _known(self, field: str, name: str, names: list[str]) -> None:
        if name not in names:
            raise ValueError(f"{field}: {name!r} is not one of {', '.join(names)}")

    def _check_policy(self) -> None:
        if not isinstance(self.policy, Policy):
            return
        priorities = [p.name for p in self.priorities]
        caps = [cap for step in self.policy.steps for cap in step.caps]
        for cap in (*caps, *self.policy.always):
            self._known("policy", cap.priority, priorities)

    def _check_row(self) -> None:
        if self.row is None:
            return
        horizon_s = self.promise.weeks * 604_800
        for field in ("cap_latency_s", "brake_latency_s", "telemetry_interval_s", "telemetry_timeout_s"):
            value = getattr(self.controls, field)
            if value is not None and value >= horizon_s:
                raise ValueError(f"controls.{field}: {value:g} s is longer than the {horizon_s:,} s of the promise")
        if (
            self.row.max_servers is not None
            and self.num_servers is not None
            and self.num_servers > self.row.max_servers
        ):
            raise ValueError(f"num_servers: {self.num_servers} do not fit in the row's {self.row.max_servers} places")
