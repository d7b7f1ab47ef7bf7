"""One performance model for all who ask about the same facts: fitting it takes longer than most plans."""

from __future__ import annotations

from collections import deque

from profiles.performance.model import PerformanceModel
from profiles.types import Facts

_kept: deque[tuple[Facts, PerformanceModel]] = deque(maxlen=2)
"""Of the facts asked about last: two, since a store may change while plans are made from what it was."""


def performance_of(facts: Facts) -> PerformanceModel:
    """The model of ``facts``, which is that of this very object: equal facts read twice are fitted twice.

    ``profiles.store.snapshot`` gives the same object while nothing changes.
    """
    for of, model in tuple(_kept):
        if of is facts:
            return model
    model = PerformanceModel(facts)
    _kept.append((facts, model))
    return model
