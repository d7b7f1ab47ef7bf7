"""Percentiles in constant memory: a histogram with logarithmic bins.

The mapping is DDSketch's (Masson, Rim, Lee: "DDSketch", VLDB 2019, section 2.1): bin ``i`` holds values in
``(γ^(i−1), γ^i]`` with ``γ = (1 + α)/(1 − α)``, and ``2 γ^i/(γ + 1)`` is within ``α`` of all of them. Two sketches
merge by adding their counts. Values beyond the first or last bin count in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RELATIVE_ERROR = 0.0025
"""α: percentiles are this close to a value that has exactly that rank."""

GAMMA = (1 + RELATIVE_ERROR) / (1 - RELATIVE_ERROR)
BINS_PER_E = 1 / math.log(GAMMA)
SMALLEST_MS = 1e-4
FIRST_BIN = math.floor(math.log(SMALLEST_MS) * BINS_PER_E)
NUM_BINS = math.ceil(math.log(1e10 / SMALLEST_MS) * BINS_PER_E)
"""From 100 ns to four months."""


def quantiles(counts: NDArray[np.int64], shares: Sequence[float]) -> list[float]:
    """The values below which each share of the counted values lies; [] where none was counted. ``counts`` [bins]."""
    total = int(counts.sum())
    if total == 0:
        return []
    ranks = np.asarray(shares) * (total - 1)
    at = np.searchsorted(np.cumsum(counts), ranks, side="right")
    values: list[float] = (2 * GAMMA ** (FIRST_BIN + at) / (GAMMA + 1)).tolist()
    return values
