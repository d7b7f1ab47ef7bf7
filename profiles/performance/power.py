"""Power of a replica as a function of how many requests it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from profiles.performance.answers import Floats
from profiles.types import GpuType, Layout, Measurement

DEFAULT_BASE, DEFAULT_RISE, DEFAULT_KNEE = 0.42, 0.45, 24.0
"""Share of (TDP − idle) drawn when busy with one request and added by a full batch, and requests per GPU at which
63% of the rise is reached: medians over the ML.ENERGY v3 rows (23 models on H100 and B200)."""

KNEES = np.geomspace(2.0, 512.0, 17)
PULL = 1.0
"""Rows that the default shares are worth in the fit of one layout."""


@dataclass(frozen=True)
class Power:
    """``num_gpus · (idle + span · (base + rise · (1 − exp(−running / num_gpus / knee))))`` watts.

    GPUs draw much as soon as they read weights and KV (the base), and more as arithmetic fills the gaps (POLCA,
    ASPLOS 2024, section 4.2; ML.ENERGY benchmark v3): a saturating rise with the batch. Below one running request on
    average, the base is drawn that share of the time.
    """

    num_gpus: int
    idle_w: float
    span_w: float
    base: float = DEFAULT_BASE
    rise: float = DEFAULT_RISE
    knee: float = DEFAULT_KNEE

    def at(self, running: Floats) -> Floats:
        """Mean watts of all GPUs of the replica while ``running`` requests run."""
        busy = np.minimum(running, 1.0)
        fill = -np.expm1(-running / self.num_gpus / self.knee)
        return self.num_gpus * (self.idle_w + self.span_w * (busy * self.base + self.rise * fill))


def fit_power(layout: Layout, gpu: GpuType | None, measurements: Sequence[Measurement]) -> Power | None:
    """Power of ``layout``: its measured rows, pulled to the default shape; None when the GPU is unknown."""
    if gpu is None:
        return None
    default = Power(layout.num_gpus, gpu.idle_w, max(gpu.tdp_w - gpu.idle_w, 1.0))
    points = [(m.concurrency, m.mean_power_w) for m in measurements if m.concurrency and m.mean_power_w]
    if not points:
        return default
    running, watts = np.array(points, dtype=np.float64).T
    share = (watts / layout.num_gpus - default.idle_w) / default.span_w
    prior = np.array([DEFAULT_BASE, DEFAULT_RISE])
    best, best_loss = default, np.inf
    for knee in KNEES:
        terms = np.stack([np.ones_like(running), -np.expm1(-running / layout.num_gpus / knee)], axis=1)
        system = np.vstack([terms, PULL * np.eye(2)])
        goal = np.concatenate([share, PULL * prior])
        base, rise = np.linalg.lstsq(system, goal, rcond=None)[0].clip(0.0)
        loss = float(((system @ [base, rise] - goal) ** 2).sum())
        if loss < best_loss:
            best_loss = loss
            best = replace(default, base=float(base), rise=float(rise), knee=float(knee))
    return best
