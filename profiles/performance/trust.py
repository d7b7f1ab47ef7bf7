"""How far a prediction can be trusted: where it comes from, and how wrong its like has been."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from profiles.performance.answers import Floats, Strings
from profiles.performance.learn import Learned
from profiles.performance.rows import Rows

LEVEL = 0.9
SAME_POINT = np.log(1.1)
"""Lengths and concurrency within 10% of a measured row count as that row."""

SIBLING_ROWS = 10.0
"""What the errors of all sibling layouts together weigh, in rows of the layout's own."""

ERROR_PER_OCTAVE = 1.0
"""Growth of the error per doubling beyond the measured lengths and concurrency: from leaving whole lengths out."""

ROOFLINE_ERROR = 0.5
"""Error of E2E where a whole model × GPU × precision × engine was left out: 90% were below this."""

WORST_ERROR = 2.0
"""No interval is wider: beyond it a prediction says nothing anyway."""

BORROWED_ERROR, BORROWED_AT_LEAST = 2.0, 0.15
"""Growth and least error where a layout is predicted from its siblings alone: from leaving each TP degree out."""


@dataclass(frozen=True)
class Trust:
    """The measured points of one layout and the error of predictions among them."""

    points: Floats
    """(rows, 3): log input tokens, log output tokens, log concurrency."""
    error: float
    guessed: bool
    """Some row has an assumed input length: nothing counts as measured or interpolated."""

    def judge(self, input_tokens: Floats, output_tokens: Floats, concurrency: Floats) -> tuple[Strings, Floats]:
        """Origin of a prediction at each point and the half-width of its 90% interval."""
        asked = np.log([input_tokens, output_tokens, concurrency])
        if not len(self.points):
            return np.full(asked.shape[1], "extrapolated"), np.full(asked.shape[1], self.error)
        low, high = self.points.min(axis=0)[:, None], self.points.max(axis=0)[:, None]
        beyond = np.maximum(np.maximum(low - asked, asked - high) - SAME_POINT, 0.0).sum(axis=0) / np.log(2)
        origin = np.where(beyond > 0, "extrapolated", "interpolated").astype("<U12")
        if self.guessed:
            origin[:] = "extrapolated"
        else:
            for point in self.points:
                origin[(np.abs(asked - point[:, None]) <= SAME_POINT).all(axis=0)] = "measured"
        return origin, self.error * (1.0 + ERROR_PER_OCTAVE * beyond)


def trust(rows: Rows, own: Learned, siblings: Iterable[tuple[Rows, Learned]]) -> Trust:
    """Trust in predictions of one layout, from leave-one-out errors of its rows and of its siblings'."""
    errors = left_out_errors(rows, own)
    others = np.concatenate([np.empty(0), *(left_out_errors(r, s) for r, s in siblings)])
    each_other = min(1.0, SIBLING_ROWS / max(len(others), 1))
    error = _quantile(np.concatenate([errors, others]), np.repeat([1.0, each_other], [len(errors), len(others)]))
    points = np.log(np.stack([rows.input_tokens, rows.output_tokens, rows.concurrency], axis=1))
    return Trust(np.unique(points, axis=0), error, bool(rows.guessed.any()))


def borrowed_trust(siblings: Iterable[tuple[Rows, Learned]]) -> Trust:
    """Trust in a layout without rows: its siblings' errors, grown; a roofline's where it has no siblings."""
    errors = [trust(rows, learned, []).error for rows, learned in siblings]
    error = max(BORROWED_ERROR * float(np.median(errors)), BORROWED_AT_LEAST) if errors else ROOFLINE_ERROR
    return Trust(np.empty((0, 3)), error, guessed=False)


def left_out_errors(rows: Rows, learned: Learned) -> Floats:
    """|observed / predicted − 1| of end-to-end time (of TPOT, where TTFT was not measured), each row left out."""
    has_ttft = np.isfinite(rows.ttft_ms)
    decode = np.maximum(learned.left_out_tpot_ms, 1e-9) * np.maximum(rows.output_tokens - 1, 1)
    seen = np.where(has_ttft, rows.e2e_ms, rows.decode_ms)
    guess = decode + np.where(has_ttft, np.maximum(learned.left_out_ttft_ms, 0.0), 0.0)
    errors: Floats = np.abs(seen / guess - 1.0)
    return np.minimum(errors[np.isfinite(errors)], WORST_ERROR)


def _quantile(values: Floats, weight: Floats) -> float:
    """Weighted quantile at ``LEVEL``, corrected for the number of rows (conformal: (n + 1) / n)."""
    if not len(values):
        return ROOFLINE_ERROR
    total = weight.sum()
    order = np.argsort(values)
    share = np.cumsum(weight[order]) / total
    position = int(np.searchsorted(share, min(1.0, LEVEL * (1 + 1 / total))))
    return float(values[order][min(position, len(values) - 1)])
