"""The answer of the power planner. Utilisations and thresholds are shares of the budget, slowdowns are fractions."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from planner.power.policy import Policy
from planner.power.spec import PowerSpec
from planner.types import Frozen, Plan


class Slowdown(Frozen):
    """By how much more time than uncapped the requests of a class take."""

    p50: float
    p99: float


class Interval(Frozen):
    """What a number comes to with unmeasured values at the low end, in the middle and at the high end of a range."""

    low: float | None
    middle: float | None
    high: float | None


class Judged(Frozen):
    """One policy with one number of servers, simulated over ``weeks`` weeks.

    ``failed_horizons`` of ``num_horizons`` spans of the promise's weeks braked too often or missed a slowdown;
    ``confidence`` is the share that holds, at the lower end of its 95% interval. Capped fractions, slowdowns and peak
    are those of the worst such span, so that they can be compared with the SLOs.
    """

    policy: str
    num_servers: int
    oversubscription_ratio: float
    weeks: int
    num_brakes: int
    peak_utilisation: float
    mean_utilisation: float
    capped_time_fraction: dict[str, float]
    slowdown: dict[str, Slowdown]
    num_horizons: int
    failed_horizons: int
    confidence: float
    holds: bool
    why_not: tuple[str, ...] = ()


class Sensitivity(Frozen):
    """The most servers, and the row's natural peak at the plan's number, over the range of one assumption."""

    assumption: str
    unit: str
    values: Interval
    num_servers: Interval
    natural_peak_utilisation: Interval


class Stress(Frozen):
    """What happened on a day with an event of the spec."""

    event: str
    num_brakes: int
    seconds_over_budget: float
    peak_utilisation: float
    outcome: str = Field(description="in words: what the policy did, and whether it held")


class Minute(Frozen):
    """A span of the row's worst day for the plot: power and the step in force."""

    second: int
    utilisation: float
    uncapped_utilisation: float
    step: int


class Placed(Frozen):
    """How many servers of a workload hang on one phase of a row."""

    row: str
    phase: int
    workload: str
    num_servers: int


class Loaded(Frozen):
    """The load of one feed, PDU, row or phase that is exceeded with at most the site's risk, in the worst failure."""

    name: str
    level: Literal["feed", "pdu", "row", "phase"]
    budget_w: float
    load_w: float
    sum_of_peaks_w: float
    failed_feed: str | None = Field(
        default=None, description="the failure in which it is loaded most; None: no failure"
    )


class Placement(Frozen):
    """Where servers go. ``bound``: no placement can place more, or keep the fullest budget less full."""

    num_placed: int
    num_asked: int
    placed: tuple[Placed, ...] = Field(default=(), repr=False)
    loads: tuple[Loaded, ...] = ()
    objective: float
    bound: float
    gap: float
    worst_imbalance: float


class PowerPlan(Plan):
    """How many servers, under which policy; where they go.

    ``objective`` is ``num_servers`` and ``bound`` the most that any policy could carry (the row's places, or the
    power that is left when everything is capped). ``trace``: the worst simulated day.
    """

    kind: Literal["power"] = "power"
    spec: PowerSpec
    budget_w: float | None = None
    num_by_rating: int | None = None
    num_servers: int | None = None
    oversubscription_ratio: float | None = Field(default=None, description="num_servers / num_by_rating")
    policy: Policy | None = None
    capped_time_fraction: dict[str, float] = Field(default_factory=dict, description="per priority class")
    slowdown: dict[str, Slowdown] = Field(default_factory=dict, description="per priority class")
    num_brakes: int | None = None
    peak_utilisation: float | None = None
    natural_peak_utilisation: float | None = Field(default=None, description="uncapped, with as many servers")
    confidence: float | None = Field(default=None, description="proven by simulation: see Judged")
    safe_limit_w: float | None = Field(default=None, description="of GPUs, that a serving plan on this row may draw")
    other_w: dict[str, float] = Field(default_factory=dict, description="per kind of server, as assumed or calibrated")
    judged: Judged | None = None
    baselines: tuple[Judged, ...] = ()
    pareto: tuple[Judged, ...] = Field(default=(), description="more servers against more slowdown")
    sensitivity: tuple[Sensitivity, ...] = ()
    stress: tuple[Stress, ...] = ()
    trace: tuple[Minute, ...] = Field(default=(), repr=False)
    placement: Placement | None = None
    assumptions: tuple[str, ...] = ()
    seed: int = 0
    explanation: tuple[str, ...] = ()
