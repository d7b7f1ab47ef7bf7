"""How far a prediction can be trusted: where it comes from, and how wide its 90% interval is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from profiles.performance.answers import Floats, Strings
from profiles.performance.datasheet import Datasheet
from profiles.performance.learn import NORMAL_LEVEL, Learned
from profiles.performance.limits import RunningLimit
from profiles.performance.terms import new_load, slopes

SAME_POINT = np.log(1.1)
"""Lengths and concurrency within 10% of a measured row count as that row."""

WORST_ERROR = 20.0
"""No interval is wider: beyond it a prediction says nothing anyway."""

COMMON_POINT = 1024.0, 256.0, 16.0
"""Input tokens, output tokens and concurrency that stand for the middle where nothing was measured."""

AT_ONCE = 4096
"""Points judged together: few enough to stay in the processor's cache."""


class Errors(NamedTuple):
    """Widths ``r`` of 90% intervals ``[value / (1 + r), value · (1 + r)]``."""

    ttft: Floats
    tpot: Floats
    e2e: Floats


@dataclass(frozen=True)
class Trust:
    """The measured points of one layout and what its family's posterior says of predictions among and beyond them."""

    sheet: Datasheet
    learned: Learned
    limit: RunningLimit
    static_batch: bool
    points: Floats
    """(rows, 3): log input tokens, log output tokens, log concurrency."""
    guessed: bool
    """Some row has an assumed input length: nothing counts as measured or interpolated."""

    def origin(self, input_tokens: Floats, output_tokens: Floats, concurrency: Floats) -> Strings:
        """How each point relates to the measured ones."""
        asked = np.log([input_tokens, output_tokens, concurrency])
        if not len(self.points) or self.guessed:
            return np.full(asked.shape[1], "extrapolated")
        low, high = self.points.min(axis=0)[:, None], self.points.max(axis=0)[:, None]
        beyond = np.maximum(low - asked, asked - high).max(axis=0) > SAME_POINT
        origin = np.where(beyond, "extrapolated", "interpolated").astype("<U12")
        for point in self.points:
            origin[(np.abs(asked - point[:, None]) <= SAME_POINT).all(axis=0)] = "measured"
        return origin

    def errors(self, input_tokens: Floats, output_tokens: Floats, concurrency: Floats) -> Errors:
        """Widths at each point: what the coefficients, the remainder and repeated runs leave open."""
        parts = [
            self._errors(input_tokens[k : k + AT_ONCE], output_tokens[k : k + AT_ONCE], concurrency[k : k + AT_ONCE])
            for k in range(0, max(len(concurrency), 1), AT_ONCE)
        ]
        return Errors(*(np.concatenate(values) for values in zip(*parts, strict=True)))

    @property
    def middle_error(self) -> float:
        """Width of the interval of end-to-end time in the middle of what was measured, or of what is common."""
        middle = np.exp(np.median(self.points, axis=0)) if len(self.points) else np.array(COMMON_POINT)
        return float(self.errors(*middle[:, None]).e2e[0])

    def _errors(self, input_tokens: Floats, output_tokens: Floats, concurrency: Floats) -> Errors:
        prior, limit = self.learned.prior, self.limit
        load = new_load(
            self.sheet, input_tokens, output_tokens, np.maximum(concurrency, 1.0), continuous=not self.static_batch,
            expected_tokens=limit.tokens, reserved_output=limit.reserved_output, slots=limit.slots,
        )  # fmt: skip
        middle = self.learned.log_coefficients
        times, of_tpot, of_ttft = slopes(load, np.tile(middle, (len(concurrency), 1)))
        decode = (output_tokens - 1) * times.tpot_ms
        of_e2e = times.ttft_ms / (times.ttft_ms + decode)
        unknown = self._unknown(np.log(np.stack([input_tokens, output_tokens, concurrency])))
        tpot, ttft = (
            (width**2 * unknown + noise**2) for width, noise in zip(prior.correction, self.learned.noise, strict=True)
        )
        wide_tpot, wide_ttft = self.learned.widening
        tpot, ttft = (tpot + self._spread(of_tpot)) * wide_tpot**2, (ttft + self._spread(of_ttft)) * wide_ttft**2
        both = self._spread(of_ttft * of_e2e[:, None] + of_tpot * (1 - of_e2e)[:, None])
        ends = of_e2e**2 * wide_ttft**2 * (prior.correction[1] ** 2 * unknown + self.learned.noise[1] ** 2)
        ends += (1 - of_e2e) ** 2 * wide_tpot**2 * (prior.correction[0] ** 2 * unknown + self.learned.noise[0] ** 2)
        ends += both * (of_e2e * wide_ttft + (1 - of_e2e) * wide_tpot) ** 2
        return Errors(*(np.minimum(np.expm1(NORMAL_LEVEL * np.sqrt(v)), WORST_ERROR) for v in (ttft, tpot, ends)))

    def _spread(self, slope: Floats) -> Floats:
        return np.asarray(np.maximum(np.einsum("ij,jk,ik->i", slope, self.learned.covariance, slope), 0.0))

    def _unknown(self, asked: Floats) -> Floats:
        """Share of the remainder's variance that the nearest row leaves open."""
        prior = self.learned.prior
        apart = ((asked[:, None, :] - self.learned.places.T[:, :, None]) / prior.reach) ** 2
        known = np.exp(-0.5 * apart.sum(axis=0)) * np.where(self.learned.own, 1.0, prior.common)[:, None]
        return np.asarray(1 - known.max(axis=0, initial=0.0) ** 2)
