"""From measured facts to coefficients: one Gaussian process over the logarithms of times.

Of every row, ``log time = log physics(θ) + left over + noise``. The learned coefficients θ (``coefficients``) are
normal around their prior medians; what two rows have in common depends on whether they share a framework or an
architecture (``priors``). What is left over of a step is a smooth function (``remainder``). With physics made linear
at the current θ this is one Gaussian process (Rasmussen & Williams, 2006, section 2.7); Gauss–Newton finds θ, and
weights of Student's t make outliers count little (Lange et al., JASA 1989). The cost is cubic in the rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from profiles.performance.answers import Floats
from profiles.training.coefficients import NAMES, Coefficients
from profiles.training.layouts import Ints
from profiles.training.observed import NO_FRAMEWORK, Observed
from profiles.training.priors import STRANGER, Place, Prior
from profiles.training.remainder import NOTHING, WIDTH, Remainder, nearness, spots_of

ROUNDS, PHYSICS_FIRST = 12, 6
"""Of Gauss–Newton; it hardly moves after six. In the first, physics has to explain what it can, so that outliers show:
otherwise what is left over is fitted to them."""

LONGEST_STEP = 0.5
"""Of a coefficient in one round, in logits or logarithms."""

NUDGE = 1e-4
"""For slopes by differences."""

FREEDOM = 2.0
"""Degrees of freedom of Student's t: every tenth step of a shared cluster is slowed by something unseen."""

LEVEL, NORMAL_LEVEL = 0.9, 1.645
WELL_KNOWN = 20.0
"""Rows that the prior's spread of a framework is worth against the framework's own."""


@dataclass(frozen=True)
class Learned:
    """Posterior of every place's coefficients.

    Attributes
    ----------
    prior:
        what it started from
    places, slope, pull:
        (N,), (N, 14) and (N,) of the rows: where, derivatives of log time, and weighted misfits
    precision:
        (N, N) inverse covariance of the rows
    left_over:
        by place: the prior's and the rows' own
    spread:
        by framework: errors over those that the posterior expects
    """

    prior: Prior
    places: NDArray[np.str_]
    slope: Floats
    pull: Floats
    precision: Floats
    left_over: Mapping[Place, Remainder]
    spread: Mapping[str, float]

    def median(self, place: Place) -> Floats:
        """(14,) posterior medians of one place, in logits and logarithms."""
        return np.asarray(self.prior.median(place) + self._shared(place).T @ self.pull)

    def coefficients(self, place: Place) -> Coefficients:
        """Of one place, (14,) numbers."""
        return Coefficients.of(self.median(place)[:, None])

    def covariance(self, place: Place) -> Floats:
        """(14, 14) of ``median``."""
        shared = self._shared(place)
        before = (self.prior.width(place) ** 2).sum(axis=1)
        return np.asarray(np.diag(before) - shared.T @ self.precision @ shared)

    def remainder(self, place: Place, tp: Ints, hidden: float) -> tuple[Floats, Floats]:
        """(N,) logarithms of measured over physical time at TP degrees ``tp``, and how far they may be off."""
        degrees, where = np.unique(tp, return_inverse=True)
        left_over, spots = self.left_over.get(place, NOTHING), spots_of(degrees, hidden)
        return left_over.at(spots)[where], WIDTH * np.sqrt(left_over.unknown(spots))[where]

    def spread_of(self, place: Place) -> float:
        """Factor on expected errors at ``place``; more where framework or architecture were never measured."""
        known = self.spread.get(place[0], STRANGER)
        architectures = {*self.prior.architecture, *self.places[:, 1].tolist()}
        return known * (1.0 if place[1] in architectures else STRANGER)

    def _shared(self, place: Place) -> Floats:
        """(N, 14) covariance of each row's log time with the coefficients of ``place``."""
        widths = self.prior.width(place) ** 2
        same = np.stack([np.ones(len(self.places)), *(self.places == np.array(place)).T])
        return np.asarray(self.slope * (widths @ same).T)


def learn(blocks: Sequence[Observed], prior: Prior) -> Learned:
    """Fit all blocks together; with none, the posterior is the prior."""
    if not blocks:
        no_rows = np.empty((0, 0))
        return Learned(prior, np.empty((0, 2), dtype=np.str_), np.empty((0, len(NAMES))), np.empty(0), no_rows,
                       prior.left_over, prior.spread)  # fmt: skip
    places = np.array([place for block in blocks for place in block.places], dtype=np.str_)
    pairs = [(str(framework), str(architecture)) for framework, architecture in places]
    observed = np.concatenate([block.log_s for block in blocks]) - _expected(blocks, prior, pairs)
    noise = np.concatenate([np.full(len(block.log_s), block.noise) for block in blocks])
    medians = np.stack([prior.median(pair) for pair in pairs])
    levels = _levels(prior, places, pairs)
    fixed, smooth = _apart(blocks), _smooth(blocks, places)
    here, weights = medians, np.ones(len(observed))
    for turn in range(ROUNDS):
        guess, slope = _slopes(blocks, here)
        covariance = fixed + smooth if turn >= PHYSICS_FIRST else fixed
        covariance = covariance + sum(same * ((slope * variance) @ slope.T) for variance, same in levels)
        precision = np.linalg.inv(covariance + np.diag(noise**2 / weights))
        pull = precision @ (observed - guess + ((here - medians) * slope).sum(axis=1))
        moved = medians + sum(variance * (same @ (slope * pull[:, None])) for variance, same in levels)
        here = here + np.clip(moved - here, -LONGEST_STEP, LONGEST_STEP)
        missed = noise / weights * pull
        weights = (FREEDOM + 1) / (FREEDOM + missed**2)
    known = np.maximum(np.diag(precision), 1e-12)
    expected = np.sqrt(np.maximum(1 / known - noise**2 / weights, 0.0) + noise**2)
    return Learned(
        prior, places, slope, pull, np.asarray(precision, dtype=float), _left_over(blocks, pairs, pull, prior),
        _spreads(places[:, 0], np.abs(pull) / known / expected, prior),
    )  # fmt: skip


def _slopes(blocks: Sequence[Observed], here: Floats) -> tuple[Floats, Floats]:
    """(N,) logarithms of physical times, and their (N, 14) derivatives."""
    nudged = np.repeat(here.T[:, None, :], len(NAMES) + 1, axis=1)
    for k in range(len(NAMES)):
        nudged[k, k + 1] += NUDGE
    ends = np.cumsum([len(block.log_s) for block in blocks])[:-1]
    pieces = np.split(nudged, ends, axis=2)
    found = np.log(np.concatenate(
        [np.broadcast_to(block.seconds(Coefficients.of(piece)), piece.shape[1:])
         for block, piece in zip(blocks, pieces, strict=True)], axis=1,
    ))  # fmt: skip
    return found[0], ((found[1:] - found[0]) / NUDGE).T


def _levels(prior: Prior, places: NDArray[np.str_], pairs: Sequence[Place]) -> list[tuple[Floats, Floats]]:
    """What all rows share, those of a framework, of an architecture: (N, 14) variances, and (N, N) which rows do."""
    variances = np.stack([prior.width(pair) for pair in pairs]) ** 2
    everyone = np.ones((len(pairs), len(pairs)))
    same = [everyone, *((places[:, None, k] == places[:, k]).astype(float) for k in (0, 1))]
    return [(variances[:, :, k], which) for k, which in enumerate(same)]


def _apart(blocks: Sequence[Observed]) -> Floats:
    """(N, N) covariance of what whole blocks are off by."""
    number = np.repeat(np.arange(len(blocks)), [len(block.log_s) for block in blocks])
    apart = np.array([block.apart for block in blocks])
    return np.asarray((number[:, None] == number) * apart[number] ** 2)


def _smooth(blocks: Sequence[Observed], places: NDArray[np.str_]) -> Floats:
    """(N, N) covariance of what physics leaves over of steps."""
    spots, is_step = _spots(blocks)
    same = (places[:, None] == places).all(axis=2) & is_step[:, None] & is_step
    return np.asarray(WIDTH**2 * nearness(spots, spots) * same)


def _spots(blocks: Sequence[Observed]) -> tuple[Floats, NDArray[np.bool_]]:
    """(N, 2) spots of rows, and (N,) which rows are steps: others have none."""
    spots = [np.zeros((len(block.log_s), 2)) if block.spots is None else block.spots for block in blocks]
    is_step = [np.full(len(block.log_s), block.spots is not None) for block in blocks]
    return np.concatenate(spots), np.concatenate(is_step)


def _expected(blocks: Sequence[Observed], prior: Prior, pairs: Sequence[Place]) -> Floats:
    """(N,) what the prior already leaves over at each row."""
    spots, is_step = _spots(blocks)
    found = np.zeros(len(pairs))
    for place in set(pairs):
        rows = np.array([pair == place for pair in pairs]) & is_step
        found[rows] = prior.left_over.get(place, NOTHING).at(spots[rows])
    return found


def _left_over(
    blocks: Sequence[Observed], pairs: Sequence[Place], pull: Floats, prior: Prior
) -> dict[Place, Remainder]:
    """The prior's bumps, and one at each spot that was measured."""
    spots, is_step = _spots(blocks)
    found = dict(prior.left_over)
    for place in set(pairs):
        rows = np.array([pair == place for pair in pairs]) & is_step
        own, which = np.unique(spots[rows], axis=0, return_inverse=True)
        weights: Floats = WIDTH**2 * np.bincount(which.ravel(), pull[rows], minlength=len(own)).astype(float)
        found[place] = found.get(place, NOTHING).and_also(own, weights)
    return found


def _spreads(frameworks: NDArray[np.str_], errors: Floats, prior: Prior) -> dict[str, float]:
    """By framework: what 90% of leave-one-out errors stay below, over what they should; pulled to the prior's."""
    spreads = dict(prior.spread)
    for framework in {str(name) for name in frameworks} - {NO_FRAMEWORK}:
        own = errors[frameworks == framework]
        share = len(own) / (len(own) + WELL_KNOWN)
        before = prior.spread.get(framework, 1.0)
        found = max(float(np.quantile(own, LEVEL)) / NORMAL_LEVEL, 0.1)
        spreads[framework] = before ** (1 - share) * found**share
    return spreads
