"""Configurations of which none is faster and cheaper (or of less energy) than another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from planner.training.model import within_limits
from planner.training.plan import Configuration
from planner.training.search import Search
from planner.training.write import configuration

SAME = 1e-3
"""Configurations within a thousandth of one another in everything are one choice."""


def pareto(search: Search) -> tuple[Configuration, ...]:
    """The front of days against USD and kWh, fastest first; of kWh alone where a price is not known."""
    spec, found = search.spec, search.found
    rows = [(i, row) for i, part in enumerate(found) for row in np.flatnonzero(within_limits(spec, part))]
    values = np.array([[found[i].days[row], found[i].usd[row], found[i].kwh[row]] for i, row in rows])
    return tuple(configuration(search, found[rows[k][0]], int(rows[k][1])) for k in front(values))


def pareto_of(configurations: Sequence[Configuration]) -> tuple[Configuration, ...]:
    """The same of configurations that are written already."""
    values = np.array([[c.days_to_train, np.nan if c.usd_to_train is None else c.usd_to_train, c.kwh]
                       for c in configurations])  # fmt: skip
    return tuple(configurations[k] for k in front(values))


def front(values: NDArray[np.float64]) -> list[int]:
    """Rows of ``values`` (rows, objectives), all to be small, that no other row beats or nearly equals, in order.

    Objectives that are not known of every row do not count.
    """
    values = values[:, ~np.isnan(values).any(axis=0)]
    order = np.lexsort(values.T[::-1])
    kept: list[int] = []
    for row in order:
        if not kept or not (values[kept] <= values[row] * (1 + SAME)).all(axis=1).any():
            kept.append(int(row))
    return kept
