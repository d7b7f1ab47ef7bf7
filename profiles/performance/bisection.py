"""The largest values at which conditions still hold, many at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from profiles.performance.answers import Floats, Marks

HALVINGS = 21
"""Steps: to one part in a hundred thousand over seven decades."""


def largest(meets: Callable[[Floats], Marks], highest: Floats, lowest: Floats) -> Floats:
    """Largest value in [``lowest``, ``highest``] that ``meets``, given that all up to some value do; ``lowest`` where
    none does. On a logarithmic scale: both ends are positive.
    """
    low, high = np.log(lowest), np.log(highest)
    low = np.where(meets(highest), high, low)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        good = meets(np.exp(middle))
        low, high = np.where(good, middle, low), np.where(good, high, middle)
    return np.exp(low)
