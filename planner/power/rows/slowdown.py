"""How slowdowns are counted: weights over fixed bins, from which quantiles are read, never too low."""

from __future__ import annotations

import numpy as np

from profiles.performance.answers import Floats

LEAST_SLOWDOWN, MOST_SLOWDOWN, BIN_RATIO = 1e-3, 100.0, 1.05
"""Bins are 5% wide from 0.1% to a hundredfold; a slowdown above the last counts as infinite."""

SLOWDOWN_BINS: Floats = np.concatenate(
    [
        [0.0],
        LEAST_SLOWDOWN
        * BIN_RATIO ** np.arange(np.ceil(np.log(MOST_SLOWDOWN / LEAST_SLOWDOWN) / np.log(BIN_RATIO)) + 1),
        [np.inf],
    ]
)
"""(bins,) upper edge of each bin, in it; the first holds what is not slowed at all."""


def slowdown_at(histogram: Floats, quantile: float) -> Floats:
    """The slowdown that the share ``quantile`` of the weight does not exceed; ``histogram`` (..., bins) gives (...).

    The upper edge of a bin: up to 5% too much, never too little. 0 where there is no weight.
    """
    below = np.cumsum(histogram, axis=-1)
    total = below[..., -1:]
    bins = np.argmax(below >= quantile * total * (1 - 1e-12), axis=-1)
    return np.asarray(np.where(total[..., 0] > 0, SLOWDOWN_BINS[bins], 0.0))
