"""How well alternatives are ranked, and what it costs to choose the one that is predicted best."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats

FEWEST = 3
"""Rows that make a group; two can only be in order or not."""


@dataclass(frozen=True)
class Ranked:
    """One group of alternatives; ``top1_regret``: the one predicted best over the best measured, less one."""

    alternatives: str
    rows: int
    spearman: float
    top1_regret: float


@dataclass(frozen=True)
class Ranking:
    """All groups with at least three rows, and means over them; None where there is none."""

    groups: tuple[Ranked, ...]

    @property
    def spearman_within_group(self) -> float | None:
        """Mean rank correlation of predicted and measured."""
        return float(np.mean([group.spearman for group in self.groups])) if self.groups else None

    @property
    def top1_regret_mean(self) -> float | None:
        """Mean over groups."""
        return float(np.mean([group.top1_regret for group in self.groups])) if self.groups else None

    @property
    def top1_regret_max(self) -> float | None:
        """Of the worst group."""
        return max((group.top1_regret for group in self.groups), default=None)


def ranking(rows: Iterable[tuple[str, float, float]]) -> Ranking:
    """From (group, predicted, measured) of each row; less is better."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for name, predicted, measured in rows:
        groups.setdefault(name, []).append((predicted, measured))
    found = []
    for name, pairs in groups.items():
        if len(pairs) >= FEWEST:
            predicted, measured = np.array(pairs).T
            regret = float(measured[predicted.argmin()] / measured.min() - 1)
            found.append(Ranked(name, len(pairs), spearman(predicted, measured), regret))
    return Ranking(tuple(found))


def spearman(one: Floats, two: Floats) -> float:
    """Correlation of ranks, ties sharing their mean rank; 0 where all of one are equal."""
    a, b = (_ranks(values) - (len(values) - 1) / 2 for values in (one, two))
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else 0.0


def _ranks(values: Floats) -> Floats:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count + 1) / 2)[place])
