"""From rows to coefficients: engine → family → layout, one Gaussian process over the logarithms of times.

A *family* is every layout of one model, GPU type, precision and engine: it differs in parallel degrees only, which the
datasheet times already account for. So a layout with three points borrows the rest from its siblings, a layout with
none is predicted from them, and a family with none is a roofline.

Of every row, ``log time = log physics(θ) + remainder + noise``. The logarithms θ of the coefficients (``terms``) are
normal around those of the family, and these around the engine's (``priors``). The remainder is a smooth function of the
logarithms of lengths and concurrency that is zero far from any row, where physics alone speaks. With the physics made
linear at the current θ this is one Gaussian process (Rasmussen & Williams, 2006, section 2.7); Gauss–Newton finds θ,
and weights of Student's t (Lange et al., JASA 1989) make outliers count little. Its posterior says how sure all this
is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from profiles.performance.answers import Floats, Marks
from profiles.performance.datasheet import Datasheet
from profiles.performance.limits import RunningLimit
from profiles.performance.priors import ENGINES, NUM_COEFFICIENTS, Prior, median
from profiles.performance.rows import Rows
from profiles.performance.terms import Load, concatenate, new_load, slopes

STRANGER = 1.5
"""How much more an engine that was never measured differs than families of one engine do."""

ROUNDS = 8
"""Of Gauss–Newton; the fit hardly moves after six."""

LONGEST_STEP, FARTHEST = 1.0, 6.0
"""Of a logarithm in one round, and from its prior median."""

WELL_KNOWN = 12.0
"""Rows that the prior's spread of leave-one-out errors is worth against a family's own."""

LEVEL, NORMAL_LEVEL = 0.9, 1.645
NARROWEST, WIDEST = 0.6, 3.0
"""Bounds on a family's errors over those that its posterior expects."""

COMMON_REPEATS = 8.0
"""Repeated runs that the prior's spread of them is worth against a family's own."""

Numbers = NDArray[np.intp]


@dataclass(frozen=True)
class Member:
    """One layout of a family: its datasheet times, rows, and the limit that its rows and memory imply."""

    sheet: Datasheet
    rows: Rows
    limit: RunningLimit
    proven_tokens: float

    def load(self, rows: Rows) -> Load:
        """``rows`` of this layout as a load."""
        return new_load(
            self.sheet, rows.input_tokens, rows.output_tokens, rows.concurrency, continuous=not rows.static_batch,
            expected_tokens=self.limit.tokens, proven_tokens=self.proven_tokens,
            reserved_output=self.limit.reserved_output, slots=self.limit.slots,
        )  # fmt: skip


@dataclass(frozen=True)
class Correction:
    """Remainder of the logarithm of a time, as a sum over rows; (rows,) ``weights``, and the same everywhere."""

    places: Floats
    """(rows, 3): log input tokens, log output tokens, log concurrency."""
    weights: Floats
    constant: float
    reach: float

    def on_grid(self, axes: Sequence[Floats]) -> Floats:
        """At every combination of the logarithms in three ``axes``."""
        one, two, three = (
            np.exp(-0.5 * ((axis[:, None] - self.places[:, k]) / self.reach) ** 2) for k, axis in enumerate(axes)
        )
        sums = ((one * self.weights)[:, None, :] * two).reshape(len(one) * len(two), len(self.weights)) @ three.T
        return np.asarray(self.constant + sums.reshape(len(one), len(two), len(three)))


@dataclass(frozen=True)
class Learned:
    """What a family says of one layout: medians, spread, and where it was measured."""

    log_coefficients: Floats
    covariance: Floats
    """(18, 18) of ``log_coefficients``."""
    tpot: Correction
    ttft: Correction
    places: Floats
    """(rows, 3) of all rows of the family."""
    own: Marks
    """Which of them are this layout's."""
    prior: Prior
    noise: tuple[float, float]
    """Spread of log TPOT and log TTFT of repeated runs in this family."""
    widening: tuple[float, float]
    """Errors of log TPOT and log TTFT in this family over what the posterior expects of them."""


@dataclass(frozen=True)
class Family:
    """Posterior of the layouts of one model, GPU, precision and engine, given ``rows`` of them."""

    prior: Prior
    places: Floats
    layout: Numbers
    software: Numbers
    """(rows,) which layout and which software version."""
    is_tpot: Marks
    row: Numbers
    """(values,) whether a value is a TPOT, and of which row."""
    slope: Floats
    """(values, 18) of the logarithms of values in those of coefficients."""
    leverage: Floats
    """(values,) slope of the logarithm of a value in its remainder."""
    precision: Floats
    """Inverse of the covariance of values."""
    pull: Floats
    """(values,) ``precision`` times the difference of values from their prior medians."""
    noise: tuple[float, float]
    widening: tuple[float, float]

    def learned(self, sheet: Datasheet, engine: str, layout: int | None, software: int | None) -> Learned:
        """Posterior of one layout, measured (its number) or not, running a software version or any."""
        prior, same = self.prior, self.layout[self.row] == (-1 if layout is None else layout)
        running = self.software[self.row] == (-1 if software is None else software)
        shared = prior.family**2 + same[:, None] * prior.layout**2 + running[:, None] * prior.software**2
        covariance = shared * self.slope
        versions = 0.0 if software is None else prior.software**2
        middle = median(sheet, engine) + covariance.T @ self.pull
        spread = np.diag(prior.family**2 + prior.layout**2 + versions) - covariance.T @ self.precision @ covariance
        remainders = []
        for width, release, kind in zip(prior.correction, prior.release, (self.is_tpot, ~self.is_tpot), strict=True):
            common = prior.common + (1 - prior.common) * same[kind]
            weights = width**2 * common * (self.leverage * self.pull)[kind]
            constant = release**2 * float((self.leverage * self.pull)[kind & running].sum())
            remainders.append(Correction(self.places[self.row[kind]], weights, constant, prior.reach))
        own = self.layout == (-1 if layout is None else layout)
        tpot, ttft = remainders
        return Learned(middle, spread, tpot, ttft, self.places, own, prior, self.noise, self.widening)


def unmeasured(sheet: Datasheet, engine: str, prior: Prior) -> Learned:
    """What is said of a layout when nothing of its family was measured."""
    nothing = Correction(np.empty((0, 3)), np.empty(0), 0.0, prior.reach)
    strange = 1.0 if engine in ENGINES else STRANGER
    spread = np.diag(strange**2 * prior.family**2 + prior.layout**2 + prior.software**2)
    return Learned(
        median(sheet, engine),
        spread,
        nothing,
        nothing,
        np.empty((0, 3)),
        np.empty(0, dtype=bool),
        prior,
        prior.noise,
        (1.0, 1.0),
    )


def learn(members: Sequence[Member], engine: str, prior: Prior, *, by_software: bool = False) -> Family:
    """Fit a family with at least one row; the cost is cubic in its rows.

    ``by_software`` tells versions apart; otherwise what they differ by is noise.
    """
    rows = [_without_repeats(member.rows, prior, by_software=by_software) for member in members]
    repeated = _repeated([member.rows for member in members], prior, by_software=by_software)
    load = concatenate([member.load(found) for member, (found, _) in zip(members, rows, strict=True)])
    places = np.log(np.stack([load.input_tokens, load.output_tokens, load.concurrency], axis=1))
    layout = np.repeat(np.arange(len(rows)), [len(found) for found, _ in rows])
    names = np.concatenate([found.software for found, _ in rows])
    software = np.unique(names, return_inverse=True)[1] if by_software else np.full(len(names), -2)
    medians = np.stack([median(member.sheet, engine) for member in members])[layout]
    times = np.concatenate([found.tpot_ms for found, _ in rows] + [found.ttft_ms for found, _ in rows])
    kept = np.flatnonzero(np.isfinite(times))
    row, is_tpot = kept % len(names), kept < len(names)
    noise = np.concatenate([variance for _, variance in rows]).T.ravel()[kept]
    observed = np.log(times[kept])
    same_layout, same_software = (codes[row][:, None] == codes[row] for codes in (layout, software))
    smooth = _remainders(prior, places[row], same_layout, is_tpot)
    if by_software:
        smooth += same_software * _by_kind(prior.release, is_tpot)
    here, weights = medians.copy(), np.ones(len(kept))
    for _ in range(ROUNDS):
        found, of_tpot, of_ttft = slopes(load, here)
        slope = np.concatenate([of_tpot, of_ttft])[kept]
        guess = np.log(np.concatenate([found.tpot_ms, found.ttft_ms]))[kept]
        first_share = found.first_ms * load.concurrency / found.running / found.ttft_ms
        leverage = np.where(is_tpot, 1.0, np.minimum(first_share, 1.0)[row])
        between = (slope * prior.family**2) @ slope.T + same_layout * ((slope * prior.layout**2) @ slope.T)
        if by_software:
            between += same_software * ((slope * prior.software**2) @ slope.T)
        spread = noise / weights
        covariance = between + leverage[:, None] * smooth * leverage + np.diag(spread)
        precision = np.linalg.inv(covariance)
        pull = precision @ (observed - guess + ((here - medians)[row] * slope).sum(axis=1))
        moved = _coefficients(prior, slope, pull, row, layout, software, by_software=by_software)
        here = here + np.clip(medians + moved - here, -LONGEST_STEP, LONGEST_STEP)
        here = medians + np.clip(here - medians, -FARTHEST, FARTHEST)
        weights = (prior.freedom + 1) / (prior.freedom + (spread * pull) ** 2 / noise)
    family = Family(
        prior, places, layout, software, is_tpot, row, slope, leverage, precision, pull, repeated, (1.0, 1.0)
    )
    left_out = np.abs(pull) / np.diag(precision)
    expected = np.sqrt(np.maximum(1 / np.diag(precision) - spread, 0.0) + noise)
    tpot, ttft = (_widening((left_out / expected)[kind]) for kind in (is_tpot, ~is_tpot))
    return replace(family, widening=(tpot, ttft))


def _coefficients(
    prior: Prior, slope: Floats, pull: Floats, row: Numbers, layout: Numbers, software: Numbers, *, by_software: bool
) -> Floats:
    """(rows, 18) posterior shift of each row's log coefficients from their prior medians."""
    pulled = slope * pull[:, None]
    shift = np.tile(prior.family**2 * pulled.sum(axis=0), (len(layout), 1))
    levels = [(layout, prior.layout)] + ([(software, prior.software)] if by_software else [])
    for codes, width in levels:
        sums = np.zeros((codes.max() + 1, NUM_COEFFICIENTS))
        np.add.at(sums, codes[row], pulled)
        shift += (width**2 * sums)[codes]
    return shift


def _remainders(prior: Prior, places: Floats, same_layout: Marks, is_tpot: Marks) -> Floats:
    """Covariance of the remainders at ``places``."""
    apart = ((places[:, None] - places) / prior.reach) ** 2
    near = np.exp(-0.5 * apart.sum(axis=2)) * np.where(same_layout, 1.0, prior.common)
    return np.asarray(near * _by_kind(prior.correction, is_tpot))


def _by_kind(widths: tuple[float, float], is_tpot: Marks) -> Floats:
    """Variance of each pair of values; TPOT and TTFT have nothing in common."""
    width = np.where(is_tpot, *widths)
    return np.where(is_tpot[:, None] == is_tpot, width[:, None] * width, 0.0)


def _points(rows: Rows, *, by_software: bool) -> Numbers:
    """(rows,) numbers, the same for repeats of an operating point."""
    codes = np.unique(rows.software, return_inverse=True)[1] if by_software else np.zeros(len(rows))
    keys = np.stack([rows.input_tokens, rows.output_tokens, rows.concurrency, codes], axis=1)
    return np.unique(keys, axis=0, return_inverse=True)[1].ravel()


def _without_repeats(rows: Rows, prior: Prior, *, by_software: bool) -> tuple[Rows, Floats]:
    """One row per operating point with its median times, and the (rows, 2) variances of their logarithms."""
    _, first, point, count = np.unique(
        _points(rows, by_software=by_software), return_index=True, return_inverse=True, return_counts=True
    )
    times, variances = [], []
    for values, noise in zip((rows.tpot_ms, rows.ttft_ms), prior.noise, strict=True):
        middle, variance = values[first].copy(), np.full(len(first), noise**2)
        for k in np.flatnonzero(count > 1):
            group = np.log(values[point == k])
            group = group[np.isfinite(group)]
            if len(group):
                middle[k] = np.exp(np.median(group))
                variance[k] = (noise**2 + group.var()) / len(group)
        times.append(middle)
        variances.append(variance)
    return replace(rows.take(first), tpot_ms=times[0], ttft_ms=times[1]), np.stack(variances, axis=1)


def _repeated(rows: Sequence[Rows], prior: Prior, *, by_software: bool) -> tuple[float, float]:
    """Spread of repeated runs of the same point, of log TPOT and log TTFT, pulled to what is common."""
    spreads = []
    for name, noise in zip(("tpot_ms", "ttft_ms"), prior.noise, strict=True):
        squares, freedom = 0.0, 0
        for found in rows:
            values, point = np.log(getattr(found, name)), _points(found, by_software=by_software)
            kept = np.isfinite(values)
            count = np.bincount(point[kept])
            mean = np.bincount(point[kept], values[kept]) / np.maximum(count, 1)
            squares += float(((values - mean[point])[kept] ** 2).sum()) if kept.any() else 0.0
            freedom += int(np.maximum(count - 1, 0).sum())
        spreads.append(float(np.sqrt((COMMON_REPEATS * noise**2 + squares) / (COMMON_REPEATS + freedom))))
    return spreads[0], spreads[1]


def _widening(errors: Floats) -> float:
    """What 90% of leave-one-out errors stay below, over what they should; pulled to 1."""
    if not len(errors):
        return 1.0
    factor = float(np.quantile(errors, LEVEL)) / NORMAL_LEVEL
    share = len(errors) / (len(errors) + WELL_KNOWN)
    return float(np.clip(factor**share, NARROWEST, WIDEST))
