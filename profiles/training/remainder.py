"""What physics leaves over of the logarithm of a step: a smooth function of TP degree and hidden size.

A sum of bumps at the TP degrees and hidden sizes that were measured, zero far from all of them: the posterior mean of
a Gaussian process (Rasmussen & Williams, 2006, section 2.2). A *spot* is a pair of logarithms, of TP degree and of
hidden size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats
from profiles.training.layouts import Ints

WIDTH = 0.10
"""Standard deviation of what is left over."""

REACH = 0.4, 1.0
"""In e-folds of TP degree and of hidden size: the next degree has little in common, twice the hidden size much."""

STIFFNESS = 0.05
"""Of the variance, as noise of values that a remainder is laid through."""


@dataclass(frozen=True, eq=False)
class Remainder:
    """(M, 2) ``spots`` of bumps and their (M,) ``weights``."""

    spots: Floats
    weights: Floats

    def at(self, spots: Floats) -> Floats:
        """(N,) logarithm of measured over physical time at (N, 2) ``spots``."""
        return np.asarray(nearness(spots, self.spots) @ self.weights)

    def unknown(self, spots: Floats) -> Floats:
        """(N,) share of the variance that the nearest bump leaves open."""
        return np.asarray(1 - nearness(spots, self.spots).max(axis=1, initial=0.0) ** 2)

    def and_also(self, spots: Floats, weights: Floats) -> Remainder:
        """With more bumps."""
        return Remainder(np.concatenate([self.spots, spots]), np.concatenate([self.weights, weights]))


NOTHING = Remainder(np.empty((0, 2)), np.empty(0))


def nearness(one: Floats, two: Floats) -> Floats:
    """(N, M) correlation of what is left over at ``one`` (N, 2) and ``two`` (M, 2)."""
    apart = (one[:, None] - two) / np.array(REACH)
    return np.asarray(np.exp(-0.5 * (apart**2).sum(axis=2)))


def spots_of(tp: Ints | Floats, hidden: Floats | float) -> Floats:
    """(N, 2) of TP degrees, all at one hidden size or each at its own."""
    return np.asarray(np.stack([np.log(tp), np.log(np.broadcast_to(hidden, np.shape(tp)))], axis=1))


def through(values: Sequence[tuple[int, int, float]]) -> Remainder:
    """Laid through values: TP degree, hidden size, logarithm of measured over physical time."""
    tp, hidden, logarithm = np.array(values, dtype=float).T
    spots = spots_of(tp, hidden)
    near = nearness(spots, spots) + STIFFNESS * np.eye(len(spots))
    return Remainder(spots, np.linalg.solve(near, logarithm))
