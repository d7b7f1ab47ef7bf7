"""What a formula leaves over, as a Gaussian process: smooth over features, with noise, and honest about its errors.

    y(x) ~ N(0, v · exp(−½ Σ_d (x_d − x'_d)² / ℓ_d²) + noise · [x = x'])

Lengths ℓ, variance v and noise maximise the marginal likelihood (Rasmussen & Williams, Gaussian Processes for Machine
Learning, 2006, 5.9, 2.30), with a weak prior that keeps lengths from running away. Intervals are the process's own,
widened or narrowed so that they would have held for the measured points, each left out in turn (ibid. 5.12).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

Floats = NDArray[np.float64]

LEAST_SCALE = 0.25
"""Of a feature that hardly varies in what was measured: features are logarithms, and elsewhere it may vary."""

MOST_TO_TUNE = 500
"""Points that lengths, variance and noise are learned from, every i-th of more: each trial costs their cube."""

_CHUNK = 8192  # rows predicted at once: keeps memory flat
_JITTER = 1e-8


@dataclass(frozen=True)
class Process:
    """A fitted process. ``widening`` turns its standard deviations into half-widths of 90% intervals."""

    features: Floats
    centre: Floats
    lengths: Floats
    variance: float
    noise: float
    factor: Floats
    weights: Floats
    widening: float

    @classmethod
    def fit(cls, features: Floats, left_over: Floats, coverage: float = 0.9) -> Process:
        """Learn ``left_over`` (rows,) over ``features`` (rows, dimensions), logarithms all of them."""
        centre = features.mean(axis=0)
        scale = np.maximum(features.std(axis=0), LEAST_SCALE)
        spread = max(float(left_over.std()), 1e-4)
        dimensions = features.shape[1]
        centred = features - centre
        start = np.concatenate([np.log(scale * 2), [2 * np.log(spread), 2 * np.log(0.3 * spread)]])
        some = slice(None, None, -(-len(centred) // MOST_TO_TUNE))
        found = minimize(
            _negative_likelihood, start, args=(_apart(centred[some]), left_over[some], start.copy()),
            jac=True, method="L-BFGS-B", bounds=[(a - 5, a + 5) for a in start], options={"maxiter": 60},
        ).x  # fmt: skip
        lengths, variance, noise = np.exp(found[:dimensions]), float(np.exp(found[-2])), float(np.exp(found[-1]))
        covariance = variance * np.exp(-0.5 * sum(_apart(centred / lengths)))
        factor = cholesky(covariance + (noise + _JITTER) * np.eye(len(features)), lower=True)
        weights = cho_solve((factor, True), left_over)
        inverse_diagonal = np.square(solve_triangular(factor, np.eye(len(features)), lower=True)).sum(axis=0)
        normalised = np.abs(weights) / np.sqrt(inverse_diagonal)  # left-one-out error over its deviation
        rank = min(1.0, np.ceil((len(features) + 1) * coverage) / len(features))
        return cls(centred, centre, lengths, variance, noise, factor, weights, float(np.quantile(normalised, rank)))

    def predict(self, features: Floats) -> tuple[Floats, Floats]:
        """(rows,) mean and half-width of the interval at ``features`` (rows, dimensions)."""
        mean, half = np.empty(len(features)), np.empty(len(features))
        ours = self.features / self.lengths
        for begin in range(0, len(features), _CHUNK):
            rows = slice(begin, begin + _CHUNK)
            theirs = (features[rows] - self.centre) / self.lengths
            squared = (theirs**2).sum(1)[:, None] + (ours**2).sum(1)[None, :] - 2 * theirs @ ours.T
            shared = self.variance * np.exp(-0.5 * np.maximum(squared, 0.0))
            mean[rows] = shared @ self.weights
            explained = np.square(solve_triangular(self.factor, shared.T, lower=True)).sum(axis=0)
            half[rows] = np.sqrt(np.maximum(self.variance - explained, 0.0) + self.noise)
        return mean, self.widening * half


def _apart(points: Floats) -> list[Floats]:
    """Of each dimension, (rows, rows) squared distances."""
    return [np.square(column[:, None] - column[None, :]) for column in points.T]


def _negative_likelihood(
    logs: Floats, differences: list[Floats], left_over: Floats, typical: Floats
) -> tuple[float, Floats]:
    """Minus the log marginal likelihood and its gradient in the logarithms of lengths, variance and noise."""
    lengths, variance, noise = np.exp(logs[:-2]), np.exp(logs[-2]), np.exp(logs[-1])
    scaled = [d / s**2 for d, s in zip(differences, lengths, strict=True)]
    smooth = variance * np.exp(-0.5 * sum(scaled))
    factor = cholesky(smooth + (noise + _JITTER) * np.eye(len(left_over)), lower=True)
    weights = cho_solve((factor, True), left_over)
    inner = np.outer(weights, weights) - cho_solve((factor, True), np.eye(len(left_over)))
    slopes = [0.5 * np.sum(inner * smooth * d) for d in scaled]
    slopes += [0.5 * np.sum(inner * smooth), 0.5 * noise * np.trace(inner)]
    likelihood = -0.5 * left_over @ weights - np.log(np.diag(factor)).sum()
    away = (logs - typical) / 2.0  # a prior of factor e² around what is typical
    return float(-likelihood + 0.5 * away @ away), -np.array(slopes) + away / 2.0
