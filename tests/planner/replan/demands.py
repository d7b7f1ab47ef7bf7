"""Demand as services have it: a day, a week, a slow drift, and noise that lasts for hours."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import numpy as np

START = dt.datetime(2026, 1, 5, tzinfo=dt.UTC)  # a Monday


def real_shaped(num_days: int, seed: int, mean: float = 8.0, noise: float = 0.08) -> np.ndarray:
    """Requests/s by hour from a Monday on: a broad afternoon, a peak at ten, quiet weekends, days that differ."""
    rng = np.random.default_rng(seed)
    hours = np.arange(num_days * 24)
    of_day, of_week = hours % 24, hours // 24 % 7
    day = 0.35 + 0.65 * np.exp(-0.5 * ((of_day - 14.5) / 4.5) ** 2) + 0.12 * np.exp(-0.5 * ((of_day - 10) / 1.5) ** 2)
    week = np.where(of_week >= 5, 0.6, 1 + 0.03 * (of_week - 2))
    drift = np.cumsum(rng.normal(0.004, 0.015, num_days)) + rng.normal(0, 0.05, num_days)
    shocks = rng.normal(0, noise, len(hours)) * np.sqrt(1 - 0.7**2)
    wobble = np.zeros(len(hours))
    for i in range(1, len(hours)):
        wobble[i] = 0.7 * wobble[i - 1] + shocks[i]
    return np.asarray(mean * day * week * np.exp(np.repeat(drift, 24) + wobble))


def write_csv(path: Path, rates: np.ndarray, start: dt.datetime = START) -> Path:
    """A history file as monitoring writes it; nan is an empty cell."""
    rows = [
        f"{start + dt.timedelta(hours=i):%Y-%m-%dT%H:%M:%SZ},{'' if np.isnan(rate) else f'{rate:.4f}'}\n"
        for i, rate in enumerate(rates)
    ]
    path.write_text("time,requests_per_s\n" + "".join(rows))
    return path
