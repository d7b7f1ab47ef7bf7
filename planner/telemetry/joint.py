"""From two histograms, of input and of output tokens, to how often each pair of sizes comes.

Metrics count the two sides apart. Nothing else known, the joint distribution of maximum entropy is the product: sides
are independent. A rank correlation r between them, from a trace or from experience, makes it a Gaussian copula with
the same sides: z-scores with correlation ρ = 2 sin(π r / 6) (Kruskal 1958), integrated over each cell.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.errors import InvalidInput

MOST_CORRELATION = 0.99
"""Of ranks: at 1 the two sides would be one."""

POINTS = 24
"""Of Gauss and Legendre in each range of input tokens: the cells come out to 1e-6, and the sides exactly."""

ROUNDS = 50
"""Of fitting the sides (iterative proportional fitting), which after integration are off by little."""

LEAST_SHARE = 1e-9
"""Cells with less than this share of the requests are left out."""


@dataclass(frozen=True)
class Histogram:
    """Requests per range of tokens: ``count[i]`` above ``edges[i]`` up to ``edges[i + 1]``.

    ``token_sum``: of all requests; None where the metrics do not say it.
    """

    edges: np.ndarray
    count: np.ndarray
    token_sum: float | None

    @property
    def share(self) -> np.ndarray:
        """Of the requests, by range."""
        return np.asarray(self.count / self.count.sum())

    @property
    def mean(self) -> np.ndarray:
        """Tokens that stand for each range: the same part of the way through each, so that the sum is that of the
        metrics; without a sum the upper ends, which is never optimistic.
        """
        low, high = self.edges[:-1], self.edges[1:]
        if self.token_sum is None:
            return high
        room = float(self.count @ (high - low))
        way = (self.token_sum - float(self.count @ low)) / room if room > 0 else 1.0
        return np.asarray(np.maximum(low + np.clip(way, 0.0, 1.0) * (high - low), 1.0))


def joint_shares(inputs: Histogram, outputs: Histogram, correlation: float = 0.0) -> np.ndarray:
    """Share of requests per cell [input range, output range], summing to 1; its sums along either side are theirs.

    ``correlation``: of ranks (Spearman's), ``MOST_CORRELATION`` at most either way, else ``InvalidInput``.
    """
    if not abs(correlation) <= MOST_CORRELATION:
        raise InvalidInput(
            f"{correlation:g} is not between -{MOST_CORRELATION:g} and {MOST_CORRELATION:g}", field="correlation",
            fix="give Spearman's rank correlation of input and output tokens",
        )  # fmt: skip
    rows, columns = inputs.share, outputs.share
    if correlation == 0:
        return np.outer(rows, columns)
    return _with_sides(_copula(rows, columns, correlation), rows, columns)


def _copula(rows: np.ndarray, columns: np.ndarray, correlation: float) -> np.ndarray:
    from scipy.special import ndtr, ndtri  # slow to import

    rho = 2 * np.sin(np.pi * correlation / 6)
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    upper = np.cumsum(rows)
    # Levels of the input side [ranges, points], and the chance of an output up to each edge, given the level.
    level = (upper - rows)[:, None] + rows[:, None] * (nodes + 1) / 2
    z_in = ndtri(np.clip(level, 1e-300, 1 - 1e-16))
    z_out = ndtri(np.clip(np.concatenate([[0.0], np.cumsum(columns)]), 0.0, 1.0))
    up_to = ndtr((z_out[None, None, :] - rho * z_in[:, :, None]) / np.sqrt(1 - rho**2))
    given = np.diff(up_to, axis=2)
    found: np.ndarray = rows[:, None] * np.einsum("p,rpc->rc", weights / 2, given)
    return found


def _with_sides(cells: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The cells scaled row by row and column by column until both sides are as they should be."""
    for _ in range(ROUNDS):
        for axis, side in ((1, rows), (0, columns)):
            total = cells.sum(axis=axis)
            factor = np.divide(side, total, out=np.zeros_like(side), where=total > 0)
            cells = cells * np.expand_dims(factor, axis)
    return cells
