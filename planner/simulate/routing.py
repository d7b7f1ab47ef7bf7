"""Which row of the routing table a request uses: by its size and, with fractions, by a draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from planner.errors import InvalidInput
from planner.simulate.cluster import Choice, Pool, RoutingRule, SizeRoutes
from planner.simulate.state import Floats, Ints

_MOST_CELLS = 4_000_000


class Router:
    """Rows 0 to B − 1 hold all choices of a size; with fractions, one row per choice follows, drawn by its share.

    A size that no range holds goes where the nearest range goes (by the ratios of tokens); ``num_outside`` counts them.
    """

    def __init__(self, sizes: Sequence[SizeRoutes], pools: Sequence[Pool], rule: RoutingRule) -> None:
        position = {pool.unit: p for p, pool in enumerate(pools)}
        rows = [[_pair(choice, position) for choice in size.choices] for size in sizes]
        fallback = list(range(len(rows)))
        if rule == "fractions":
            fallback += [b for b, row in enumerate(rows) for _ in row]
            rows += [[pair] for row in rows for pair in row]
            shares = [np.array([choice.fraction for choice in size.choices]) for size in sizes]
            self._upper = np.concatenate([b + np.cumsum(share) / share.sum() for b, share in enumerate(shares)])
        self._rule, self._num_sizes = rule, len(sizes)
        self.start: Ints = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
        self.pool: Ints = np.array([pair[0] for row in rows for pair in row], dtype=np.int64)
        self.decode: Ints = np.array([pair[1] for row in rows for pair in row], dtype=np.int64)
        self.fallback: Ints = np.array(fallback, dtype=np.int64)
        self.num_outside = 0
        self._cells(sizes)

    def _cells(self, sizes: Sequence[SizeRoutes]) -> None:
        """A table of the size at every cell between the edges of all ranges."""
        self._edges = [_edges([size.input_tokens for size in sizes]), _edges([size.output_tokens for size in sizes])]
        shape = tuple(len(edges) + 1 for edges in self._edges)
        if shape[0] * shape[1] > _MOST_CELLS:
            raise InvalidInput(
                f"the routing has {shape[0]:,} × {shape[1]:,} edges of request sizes, too many to look up",
                field="plan: routing", fix="plan with coarser buckets",
            )  # fmt: skip
        self._size_of = np.full(shape, -1, dtype=np.int64)
        # The low end belongs to the range below it, where there is one. Of overlapping ranges the first wins.
        for below in (1, 0):
            for b, size in reversed(list(enumerate(sizes))):
                i, j = (
                    slice(*(np.searchsorted(edges, (low - below, high)) + 1))
                    for edges, (low, high) in zip(self._edges, (size.input_tokens, size.output_tokens), strict=True)
                )
                self._size_of[i, j] = b
        corners = np.array([(size.input_tokens[1], size.output_tokens[1]) for size in sizes], dtype=float)
        self._nearest = cKDTree(np.log(np.maximum(corners, 1)))

    def rows_of(self, input_tokens: Ints, output_tokens: Ints, draws: Floats) -> Ints:
        """[n] row of each request. ``draws`` [n] in [0, 1)."""
        cell = tuple(
            np.searchsorted(edges, tokens, side="left")
            for edges, tokens in zip(self._edges, (input_tokens, output_tokens), strict=True)
        )
        size = self._size_of[cell]
        outside = np.flatnonzero(size < 0)
        if len(outside):
            self.num_outside += len(outside)
            points = np.log(np.stack([input_tokens[outside], output_tokens[outside]], axis=1).astype(float))
            size[outside] = self._nearest.query(points)[1]
        if self._rule == "shortest-queue":
            return np.asarray(size)
        choice = np.searchsorted(self._upper, size + draws, side="right")
        first, last = self.start[size], self.start[size + 1] - 1  # of its choices: rounding must not leave them
        return np.asarray(self._num_sizes + np.clip(choice, first, last))


def _pair(choice: Choice, position: dict[str, int]) -> tuple[int, int]:
    missing = [unit for unit in (choice.unit, choice.decode_unit) if unit is not None and unit not in position]
    if missing:
        raise InvalidInput(f"routes requests to {missing[0]!r}, which has no replicas", field="plan: routing")
    return position[choice.unit], -1 if choice.decode_unit is None else position[choice.decode_unit]


def _edges(ranges: Sequence[tuple[int, int]]) -> Ints:
    """Upper ends (included) of all cells."""
    return np.unique([end for low, high in ranges for end in (low - 1, low, high)]).astype(np.int64)
