"""What a cap on power or clocks does to the power and speed of one GPU. All of it is an assumption, no measurement.

With SM clocks at a share ``f`` of their highest, a phase of which the share ``c`` of time follows the clocks and the
share ``k`` of power above idle follows their cube (voltage falls with frequency: P ∝ f·V² ≈ f³), and the rest how
fast work is done, takes

    τ = 1 − c + c / f  as long, and            idle + (watts − idle) · ((1 − k) / τ + k · f³)  watts

A clock cap sets ``f``; a power cap makes the GPU find the highest ``f`` that keeps to it. Prompts are bound by
arithmetic, decoding by memory, whose clock stays: Splitwise (ISCA 2024, section 3.4) finds that capping power by half
leaves token latency alone and slows prompts, for which its simulator assumes 1.30; POLCA (ASPLOS 2024) caps A100 from
1410 to 1275 and 1110 MHz and keeps the median latency of low-priority requests within 5%.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from profiles.errors import InvalidInput
from profiles.performance.answers import Floats, Marks
from profiles.types import GpuType

HIGHEST_CLOCK_MHZ = {
    "T4": 1590.0, "L4": 2040.0, "A10G": 1710.0, "A40": 1740.0, "L40S": 2520.0, "V100": 1530.0, "A100-40GB": 1410.0,
    "A100-80GB": 1410.0, "H100": 1980.0, "H200": 1980.0, "B200": 1965.0, "GB200": 2062.0, "MI300X": 2100.0,
}  # fmt: skip
"""SM clocks without a cap: boost clocks of the datasheets, of A100 as POLCA has it."""

LOWEST_CLOCK = 0.25
"""Share of the highest clock below which no cap pushes a GPU (A100 goes down to 210 MHz, where voltage stays)."""


CLOCKS = np.linspace(LOWEST_CLOCK, 1.0, 301)
"""Among which a power cap finds its clock, by interpolation."""


@dataclass(frozen=True)
class Phase:
    """How the work of a phase depends on the clocks."""

    time_on_clock: float
    power_on_clock: float

    def time_factor(self, clock: Floats) -> Floats:
        """τ at a share of the highest clock."""
        return np.asarray(1 - self.time_on_clock + self.time_on_clock / clock)

    def active_share(self, clock: Floats) -> Floats:
        """What is left of the power above idle at a share of the highest clock; rises with it."""
        return np.asarray((1 - self.power_on_clock) / self.time_factor(clock) + self.power_on_clock * clock**3)


PROMPTS = Phase(time_on_clock=1.0, power_on_clock=1.0)
DECODING = Phase(time_on_clock=0.15, power_on_clock=0.5)


@dataclass(frozen=True)
class Cap:
    """Limits of one GPU (``nvidia-smi -pl``, ``-lgc``); infinite: none. Raises ``InvalidInput`` unless above 0."""

    power_w: float = np.inf
    clock_mhz: float = np.inf

    def __post_init__(self) -> None:
        for field, value in (("power_w", self.power_w), ("clock_mhz", self.clock_mhz)):
            if not value > 0:
                raise InvalidInput(f"{value:g} is no cap", field=field, fix="give a number above 0, or leave it out")


@dataclass(frozen=True)
class Capped:
    """One GPU under a cap; arrays of the shape of the power asked about."""

    power_w: Floats
    """Mean; how far a peak overshoots before the cap bites depends on how it is set (POLCA: 5 to 40 s out of band)."""
    time_factor: Floats
    """By which the phase takes longer, 1 or more."""
    clock: Floats
    """Share of the highest clock."""
    holds: Marks
    """False where even the lowest clock draws more than the power cap."""
    origin: Literal["assumption"] = "assumption"


def capped(phase: Phase, power_w: Floats, gpu: GpuType, cap: Cap) -> Capped:
    """A ``gpu`` that would draw ``power_w`` (any shape; NaN stays NaN) in ``phase``, under ``cap``.

    Raises ``InvalidInput`` for a clock cap of a GPU whose highest clock is not known.
    """
    watts = np.asarray(power_w, dtype=np.float64)
    active_w = np.maximum(watts - gpu.idle_w, 0.0)
    wanted = np.where(watts <= cap.power_w, 1.0, (cap.power_w - gpu.idle_w) / np.maximum(active_w, 1e-9))
    clock = np.clip(np.interp(wanted, phase.active_share(CLOCKS), CLOCKS), None, _share_of_clock(gpu, cap))
    least = np.minimum(gpu.idle_w + phase.active_share(CLOCKS[:1]) * active_w, watts)
    drawn = np.where(clock < 1, gpu.idle_w + phase.active_share(clock) * active_w, watts)
    drawn = np.minimum(np.minimum(drawn, watts), np.maximum(cap.power_w, least))  # interpolation may miss by a hair
    return Capped(
        power_w=drawn,
        time_factor=phase.time_factor(clock),
        clock=clock,
        holds=~(drawn > cap.power_w),
    )


def _share_of_clock(gpu: GpuType, cap: Cap) -> float:
    if np.isinf(cap.clock_mhz):
        return 1.0
    highest = HIGHEST_CLOCK_MHZ.get(gpu.name)
    if highest is None:
        raise InvalidInput(
            f"the highest clock of {gpu.name} is not known",
            field="clock_mhz",
            fix=f"cap its power instead, or use one of {', '.join(HIGHEST_CLOCK_MHZ)}",
        )
    return float(np.clip(cap.clock_mhz / highest, LOWEST_CLOCK, 1.0))
