"""Hourly demand of the shape that services really have, for trying schedules where no year of logs is at hand.

rate(h) = mean · day(h) · week(h) · growth(h) · noise(h), then a spike and a holiday. Quiet nights, a broad peak in the
afternoon, weaker weekends, and noise that lasts for hours. In the hour of the Azure trace of 2023 (conversations), the
minutes vary by 25% around their mean where chance alone would give 5.5%, in waves of tens of minutes. Noise of 10%
between hours, most of which an hour hands on to the next, is assumed to follow from that.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.program import Floats


@dataclass(frozen=True)
class Shape:
    """What demand looks like; fractions unless a unit is named."""

    mean_requests_per_s: float = 20.0
    day_swing: float = 0.6  # between the mean and the highest or lowest hour of a day
    peak_hour: float = 15.0
    weekend_drop: float = 0.3
    growth_per_week: float = 0.02
    noise: float = 0.1  # standard deviation of the logarithm
    noise_kept: float = 0.7  # correlation between an hour and the next
    spike_day: int | None = None
    spike: float = 0.8  # more than usual, for three hours
    holiday: int | None = None
    holiday_drop: float = 0.5


def generated(shape: Shape, num_days: int, seed: int) -> Floats:
    """[24 · num_days] requests/s by hour, from a Monday on."""
    hours = np.arange(24 * num_days)
    day, hour = hours // 24, hours % 24
    season = 1 + shape.day_swing * np.cos((hour - shape.peak_hour) / 24 * 2 * np.pi)
    season = season * np.where(day % 7 >= 5, 1 - shape.weekend_drop, 1.0)
    growth = (1 + shape.growth_per_week) ** (hours / 168)
    rates = shape.mean_requests_per_s * season * growth * np.exp(_noise(shape, hours.size, seed))
    if shape.spike_day is not None:
        rates[(day == shape.spike_day) & (hour >= 11) & (hour < 14)] *= 1 + shape.spike
    if shape.holiday is not None:
        rates[day == shape.holiday] *= 1 - shape.holiday_drop
    return np.asarray(rates)


def _noise(shape: Shape, num_hours: int, seed: int) -> Floats:
    fresh = np.random.default_rng(seed).normal(0.0, shape.noise, num_hours)
    noise = np.zeros(num_hours)
    for h in range(num_hours):
        kept = shape.noise_kept * noise[h - 1] if h else 0.0
        noise[h] = kept + np.sqrt(1 - shape.noise_kept**2) * fresh[h]
    return noise
