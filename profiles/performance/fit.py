"""Non-negative fits of sums of physical terms, where relative errors count and outliers hardly do."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from profiles.performance.answers import Floats

ROUNDS = 5
"""Rounds of reweighting; the weights hardly move after four."""


class Fit(NamedTuple):
    """Coefficients of the terms, and for each row the prediction that the other rows would make of it."""

    coefficients: Floats
    left_out: Floats


def fit_terms(
    terms: Floats,
    observed: Floats,
    prior: Floats,
    *,
    pull: float,
    tolerance: float,
    row_scale: Floats | None = None,
) -> Fit:
    """Find coefficients ≥ 0 so that ``terms @ coefficients`` is close to ``observed`` in relative error.

    Ridge towards ``prior``: each coefficient is held as if ``pull``² rows said that the term's mean share of
    the observations is what the prior says. A term that no row informs stays at its prior.
    Rows that miss by more than ``tolerance`` count by the first power of their error (Huber 1964).

    Parameters
    ----------
    terms: (rows, K) in the unit of ``observed``
    row_scale: (rows,) what an error is relative to; ``observed`` when left out
    """
    from scipy.optimize import nnls  # here: importing scipy.optimize would triple the start-up time of the CLI

    scale = observed if row_scale is None else row_scale
    relative = terms / scale[:, None]
    share = relative.mean(axis=0) + 1e-9 * (1.0 + relative.mean())
    relative = relative / share
    target = observed / scale
    anchor = prior * share
    weights = np.ones(len(target))
    for _ in range(ROUNDS):
        system = np.vstack([relative * weights[:, None], pull * np.eye(len(prior))])
        goal = np.concatenate([target * weights, pull * anchor])
        solution, _ = nnls(system, goal, maxiter=50 * len(prior))
        guess = relative @ solution
        miss = np.abs(guess - target)
        weights = 1.0 / np.sqrt(np.maximum(miss / tolerance, 1.0))
    return Fit(solution / share, _left_out(relative, target, solution, weights, pull) * scale)


def _left_out(relative: Floats, target: Floats, solution: Floats, weights: Floats, pull: float) -> Floats:
    """Leave-one-out predictions by the leverage of each row on the terms in use (Allen's PRESS, 1974)."""
    used = solution > 0
    guess: Floats = relative @ solution
    rows = relative[:, used] * weights[:, None]
    gram = rows.T @ rows + pull**2 * np.eye(int(used.sum()))
    leverage = np.einsum("ij,ij->i", rows @ np.linalg.pinv(gram), rows).clip(0.0, 0.95)
    left_out: Floats = target - (target - guess) / (1.0 - leverage)
    return left_out
