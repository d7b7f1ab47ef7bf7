"""Capping policies as values: what is always capped, a ladder of steps that power climbs, and the emergency brake.

The controller reads the row's power at every telemetry interval, as a share of the row's budget. It climbs to the
highest step whose ``at`` is exceeded (a step that ``waits`` only once the step before it is in force), and leaves the
top step once power is below its ``release``. POLCA (ASPLOS 2024, section 6) is three such steps; one threshold is one
of them; no capping is none; a power cap on every server is a policy without steps.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

from pydantic import Field, model_validator

from planner.types import Frozen
from profiles.types import Name

Share = Annotated[float, Field(gt=0, le=2, allow_inf_nan=False)]
"""Of the row's budget."""


class GpuCap(Frozen):
    """A limit on every GPU of a priority class: its SM clock, or its power."""

    priority: Name
    clock_mhz: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] | None = None
    power_w: Annotated[float, Field(gt=0, le=10_000, allow_inf_nan=False)] | None = None

    @model_validator(mode="after")
    def _one(self) -> GpuCap:
        if (self.clock_mhz is None) == (self.power_w is None):
            raise ValueError("clock_mhz, power_w: give one of them")
        return self


class Step(Frozen):
    """One rung of the ladder: caps that are set above ``at`` and taken back below ``release``."""

    at: Share
    release: Share
    caps: tuple[GpuCap, ...] = Field(min_length=1)
    waits: bool = Field(default=False, description="only once the step before it is in force")

    @model_validator(mode="after")
    def _ordered(self) -> Step:
        if self.release >= self.at:
            raise ValueError(f"release: {self.release:g} is not below at, {self.at:g}; caps would never come off")
        return self


class Policy(Frozen):
    """What a row's controller does. ``t1`` and ``t2`` are the lowest and highest threshold of the steps."""

    name: Name = "policy"
    steps: tuple[Step, ...] = Field(default=(), max_length=8)
    always: tuple[GpuCap, ...] = Field(default=(), description="caps that are never taken off")
    brake_at: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] = Field(
        default=1.0, description="above it every GPU brakes: at the budget, or before it"
    )
    brake_release: Share = Field(default=0.85, description="below it the brake comes off")
    t1: float | None = Field(default=None, description="lowest threshold; told by the steps")
    t2: float | None = Field(default=None, description="highest threshold; told by the steps")

    @model_validator(mode="before")
    @classmethod
    def _told(cls, value: Any) -> Any:
        """Fill in what the steps say."""
        steps = value.get("steps") if isinstance(value, dict) else None
        if not steps or not isinstance(steps, list | tuple):
            return value
        first, last = ((s.get("at") if isinstance(s, dict) else getattr(s, "at", None)) for s in (steps[0], steps[-1]))
        return {"t1": first, "t2": last, **value}

    @model_validator(mode="after")
    def _makes_sense(self) -> Policy:
        if self.steps and self.steps[0].waits:
            raise ValueError("steps[0].waits: there is no step before the first to wait for")
        for i, step in enumerate(self.steps):
            names = [f"{cap.priority}'s {'clock' if cap.clock_mhz is not None else 'power'}" for cap in step.caps]
            twice = next((name for k, name in enumerate(names) if name in names[:k]), None)
            if twice is not None:
                raise ValueError(f"steps[{i}].caps: {twice} is capped twice in one step")
        return self

    @model_validator(mode="after")
    def _climbs(self) -> Policy:
        for i, (below, above) in enumerate(pairwise(self.steps)):
            if above.at < below.at:
                raise ValueError(
                    f"steps[{i + 1}].at: {above.at:g} is below {below.at:g} of the step before; order them"
                )
            if above.release < below.release:
                raise ValueError(
                    f"steps[{i + 1}].release: {above.release:g} is below {below.release:g} of the step before: the "
                    "lower step would come off first"
                )
            if above.at > below.at > above.release:
                raise ValueError(
                    f"steps[{i + 1}]: its hysteresis, {above.at - above.release:g}, is larger than the gap to the step "
                    f"before it, {above.at - below.at:g}: release at {below.at:g} or above"
                )
        if self.steps:
            told = (self.steps[0].at, self.steps[-1].at)
            if (self.t1, self.t2) != told:
                raise ValueError(f"t1, t2: {self.t1}, {self.t2} are not what the steps say, {told}; leave them out")
            if self.steps[-1].at > self.brake_at:
                raise ValueError(f"steps: threshold {self.steps[-1].at:g} is above brake_at, {self.brake_at:g}")
        if self.brake_release >= self.brake_at:
            raise ValueError(f"brake_release: {self.brake_release:g} is not below brake_at, {self.brake_at:g}")
        return self


def polca(low: str, high: str, *, t1: float = 0.80, t2: float = 0.89, hysteresis: float = 0.05,
          low_mhz: float = 1275.0, lower_mhz: float = 1110.0, high_mhz: float = 1305.0) -> Policy:  # fmt: skip
    """POLCA's two thresholds: low priority slows at T1, more at T2, and high priority only if that was not enough."""

    def step(at: float, priority: str, clock_mhz: float, *, waits: bool = False) -> Step:
        caps = (GpuCap(priority=priority, clock_mhz=clock_mhz),)
        return Step(at=at, release=at - hysteresis, caps=caps, waits=waits)

    steps = (step(t1, low, low_mhz), step(t2, low, lower_mhz), step(t2, high, high_mhz, waits=True))
    return Policy(name="two thresholds", steps=steps, brake_release=min(t2, 1.0) - hysteresis)


def one_threshold(priorities: tuple[str, ...], *, at: float = 0.89, hysteresis: float = 0.05,
                  clock_mhz: float = 1110.0) -> Policy:  # fmt: skip
    """One threshold above which all of ``priorities`` slow alike (POLCA's baselines: low only, or all)."""
    caps = tuple(GpuCap(priority=priority, clock_mhz=clock_mhz) for priority in priorities)
    return Policy(name="one threshold", steps=(Step(at=at, release=at - hysteresis, caps=caps),),
                  brake_release=at - hysteresis)  # fmt: skip


def no_capping() -> Policy:
    """Nothing but the brake."""
    return Policy(name="no capping")


def power_capped(priorities: tuple[str, ...], power_w: float) -> Policy:
    """Every GPU under a power cap at all times."""
    return Policy(name="power cap", always=tuple(GpuCap(priority=p, power_w=power_w) for p in priorities))
