"""What measured power says of other loads, layouts, models and GPUs: a Gaussian process with a trend.

The logarithm of the share of TDP that decoding draws, ``y(x) = prior(x) + x'β + g(x) + ε`` (Rasmussen & Williams,
"Gaussian Processes for Machine Learning", 2006, sections 2.2 and 2.7), with small ``β`` and

    cov g(x, x') = smooth² · exp(−½ Σ_k (Δx_k / ℓ_k)²)                                  all points: prior and GPU
                 + [same model and GPU] · curve² · exp(−½ (Δ log running / ℓ)²) · near   what its batches share
                 + [same layout] · level² · near                                         what it has of its own

where ``near = exp(−½ (Δ log context / ℓ)²)``. So a layout with a few rows takes the rest from its siblings, a model
never measured is like those of its size, and how sure all that is comes out with it. The widths below are the most
likely ones (section 5.4.1) for the ML.ENERGY v3 rows: ``python benchmarks/power_accuracy.py --calibrate``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from profiles.performance.answers import Floats
from profiles.performance.power_points import Ints, Points

INTERCEPT = 0.3
"""Standard deviation of the trend's constant."""

PRIOR_BASE, PRIOR_RISE, PRIOR_KNEE = 0.51, 0.37, 24.0
"""Share of TDP drawn with one request and added by a full batch, and requests per GPU at which 63% of the rise is
reached: medians over the rows of ML.ENERGY v3. Where nothing was measured, this saturating form is all there is."""

ROBUST = 3.5
"""Points that the others miss by more standard deviations than this count less, so that a slip does little harm."""

ROUNDS = 3


class Widths(NamedTuple):
    """Standard deviations of the parts of ``y``, and the distances over which they fade."""

    trend: float
    smooth: float
    curve: float
    level: float
    noise: float
    curve_running: float
    """In log running requests per GPU."""
    context: float
    """In log tokens."""
    lengths: tuple[float, ...]
    """(7,) of ``smooth``, one per feature."""


WIDTHS = Widths(
    trend=0.15, smooth=0.33, curve=0.077, level=0.043, noise=0.026, curve_running=0.93, context=0.5,
    lengths=(2.4, 1.1, 0.9, 3.1, 2.0, 3.0, 0.7),
)  # fmt: skip


class Loads(NamedTuple):
    """Where the process is asked: features (points, 7), and the codes of place and layout, one for all points."""

    features: Floats
    place: Ints
    layout: Ints


@dataclass(frozen=True)
class Process:
    """The process given its points: cheap to ask, by one matrix product per question."""

    points: Points
    inverse: Floats
    """(points, points) of the covariance with its noise."""
    weights: Floats
    """``inverse @ (points.log_share − prior)``."""
    widths: Widths

    def at(self, loads: Loads) -> Floats:
        """Expected log share."""
        return np.asarray(prior_log_share(loads.features) + self._cross(loads) @ self.weights)

    def spread(self, loads: Loads) -> Floats:
        """Standard deviation of what a measurement at each load would give."""
        cross = self._cross(loads)
        own = variance(loads, self.widths) + self.widths.noise**2
        explained = np.einsum("ij,ij->i", cross @ self.inverse, cross)
        return np.asarray(np.sqrt(np.maximum(own - explained, self.widths.noise**2)))

    def _cross(self, loads: Loads) -> Floats:
        return covariance(loads, Loads(self.points.features, self.points.place, self.points.layout), self.widths)


def learn_power(points: Points, widths: Widths = WIDTHS) -> Process:
    """Condition on ``points``, in a few rounds in which those that do not fit in lose weight."""
    loads = Loads(points.features, points.place, points.layout)
    among = covariance(loads, loads, widths)
    off = points.log_share - prior_log_share(points.features)
    noise = np.full(len(points), widths.noise**2)
    for _ in range(ROUNDS):
        inverse: Floats = np.linalg.inv(among + np.diag(noise)).astype(np.float64)
        left_out = (inverse @ off) / np.diag(inverse)  # what the other points miss each by (section 5.4.2)
        deviation = 1.0 / np.sqrt(np.diag(inverse))
        far = np.abs(left_out) / deviation / ROBUST
        if (far <= 1).all():
            break
        noise = np.where(far > 1, np.maximum(noise, (left_out / ROBUST) ** 2), noise)
    return Process(points, inverse, inverse @ off, widths)


def prior_log_share(features: Floats) -> Floats:
    """(points,) expected before any measurement."""
    return np.asarray(np.log(PRIOR_BASE - PRIOR_RISE * np.expm1(-np.exp(features[:, 0]) / PRIOR_KNEE)))


def covariance(a: Loads, b: Loads, widths: Widths) -> Floats:
    """(len(a), len(b)) prior covariance of the log shares."""
    scaled_a, scaled_b = a.features / widths.lengths, b.features / widths.lengths
    squared = (scaled_a**2).sum(axis=1)[:, None] + (scaled_b**2).sum(axis=1)[None] - 2 * scaled_a @ scaled_b.T
    total = widths.smooth**2 * np.exp(-0.5 * np.maximum(squared, 0.0))
    total += INTERCEPT**2 + widths.trend**2 * a.features @ b.features.T
    apart = np.subtract.outer(a.features[:, 0], b.features[:, 0]) / widths.curve_running
    longer = np.subtract.outer(a.features[:, 1], b.features[:, 1]) / widths.context
    near = np.exp(-0.5 * longer**2)
    shared = widths.curve**2 * np.exp(-0.5 * apart**2) * np.equal.outer(a.place, b.place)
    total += near * (shared + widths.level**2 * np.equal.outer(a.layout, b.layout))
    return np.asarray(total)


def variance(loads: Loads, widths: Widths) -> Floats:
    """(len(loads),) the diagonal of ``covariance(loads, loads)``."""
    fixed = INTERCEPT**2 + widths.smooth**2 + widths.curve**2 + widths.level**2
    return np.asarray(fixed + widths.trend**2 * (loads.features**2).sum(axis=1))
