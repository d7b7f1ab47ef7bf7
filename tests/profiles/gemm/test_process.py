"""The process against the definition of a Gaussian process, and its gradient against differences."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from profiles.gemm.process import _JITTER, Process, _negative_likelihood

RNG = np.random.default_rng(3)
X = RNG.uniform(-2, 2, (40, 2))
Y = np.sin(2 * X[:, 0]) + 0.1 * RNG.standard_normal(40)


def covariance(process: Process, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    apart = (left[:, None, :] - right[None, :, :]) / process.lengths
    return np.asarray(process.variance * np.exp(-0.5 * (apart**2).sum(axis=2)))


def test_predictions_are_conditional_means() -> None:
    process = Process.fit(X, Y)
    unseen = RNG.uniform(-2, 2, (10_000, 2))
    inverse = np.linalg.inv(covariance(process, X, X) + (process.noise + _JITTER) * np.eye(40))
    shared = covariance(process, unseen, X)
    mean, half = process.predict(unseen)
    np.testing.assert_allclose(mean, shared @ inverse @ Y, atol=1e-6)
    variance = process.variance - np.einsum("ij,jk,ik->i", shared, inverse, shared) + process.noise
    np.testing.assert_allclose(half, process.widening * np.sqrt(variance), rtol=1e-4)
    assert np.abs(mean - np.sin(2 * unseen[:, 0])).mean() < 0.1


def test_the_likelihood_is_that_of_a_normal_and_its_gradient_that_of_differences() -> None:
    differences = [np.square(column[:, None] - column[None, :]) for column in X.T]
    typical = np.zeros(4)
    at = np.array([0.3, -0.2, 0.5, -1.0])

    def value(logs: np.ndarray) -> float:
        return _negative_likelihood(logs, differences, Y, typical)[0]

    kernel = np.exp(0.5) * np.exp(-0.5 * (differences[0] / np.exp(0.6) + differences[1] / np.exp(-0.4)))
    normal = multivariate_normal(np.zeros(40), kernel + (np.exp(-1.0) + _JITTER) * np.eye(40))
    prior = 0.5 * np.sum((at / 2) ** 2)
    assert value(at) == pytest.approx(-normal.logpdf(Y) - 20 * np.log(2 * np.pi) + prior, rel=1e-9)
    steps = 1e-5 * np.eye(4)
    slopes = [(value(at + step) - value(at - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(_negative_likelihood(at, differences, Y, typical)[1], slopes, rtol=1e-4, atol=1e-4)


def test_intervals_widen_where_nothing_was_seen() -> None:
    process = Process.fit(X, Y)
    _, half = process.predict(np.array([[0.0, 0.0], [50.0, 50.0]]))
    assert half[1] > 2 * half[0]


def test_a_constant_feature_and_no_residual_are_fine() -> None:
    process = Process.fit(np.ones((25, 2)), np.zeros(25))
    mean, half = process.predict(np.ones((3, 2)))
    assert np.all(mean == 0)
    assert np.all(np.isfinite(half))
