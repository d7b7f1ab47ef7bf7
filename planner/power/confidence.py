"""How surely a promise holds, from simulated weeks.

Weeks are independent draws: nothing is carried from one to the next. Two tails reach beyond the weeks simulated:

- A brake follows when the highest power of a week is above the brake's threshold. Highest values of long spans have a
  Gumbel tail (Fisher and Tippett 1928), or a lighter one where power is bounded; where weeks differ in kind they may
  look heavier, and are then given the generalised tail with the shape that they show. All of it is fitted by
  L-moments (Hosking 1990), so that a few dozen weeks suffice.
- A quantile q of a class's slowdowns over a horizon is within its limit when the weight of requests beyond it is at
  most 1 − q of all: when a sum over weeks of (weight beyond − (1 − q) · weight) is not positive. The sum of a horizon
  has the mean and variance of its weeks; its tail is taken to be Gumbel too, which is wider than the normal one.

How much the fits themselves are worth is found by the bootstrap over weeks. Whole horizons are counted besides
(Clopper and Pearson 1934): the tail may never claim more than the count allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from profiles.performance.answers import Floats

LEVEL = 0.95
"""Of the intervals, two-sided."""

TINY = 1e-12
"""Spreads below it are rounding."""

RESAMPLES = 1000
"""Of the bootstrap: 25 of them lie below the lower end of the interval."""

EULER = float(np.euler_gamma)

GUMBEL_SKEW = float(2 * np.log(3) / np.log(2) - 3)
"""L-skewness of the Gumbel distribution, 0.17."""

SKEW_VARIANCE = 0.23
"""Of the L-skewness of n Gumbel draws, times n (Hosking, Wallis and Wood 1985, test of a shape of zero)."""


@dataclass(frozen=True, eq=False)
class Weeks:
    """What simulated weeks say of one promise; weeks come first, then whatever was simulated side by side.

    Attributes
    ----------
    peak:
        (weeks, ...) highest power of the week as a share of where the brake engages
    num_brakes:
        (weeks, ...)
    beyond:
        (weeks, ..., limits) weight of requests slower than a limit, less the weight that may be; in any unit
    """

    peak: Floats
    num_brakes: Floats
    beyond: Floats


@dataclass(frozen=True)
class Confidence:
    """Chance that a horizon keeps the promise.

    ``expected`` and ``low``: by the tails, as fitted and at the lower end of the interval. ``counted``: interval from
    counting ``num_failed`` of ``num_horizons``.
    """

    expected: float
    low: float
    counted: tuple[float, float]
    num_failed: int
    num_horizons: int

    @property
    def proven(self) -> float:
        """What may be claimed: the lower end by the tails, and no more than counting allows."""
        return min(self.low, self.counted[1])


def failure(weeks: Weeks, horizon: int, max_brakes: int) -> Floats:
    """(...) chance that ``horizon`` weeks break the promise, as the tails fit. Needs two weeks or more."""
    braking = exceeds(weeks.peak, 1.0)
    if max_brakes == 0:
        kept = (1 - braking) ** horizon
    else:
        kept = 1 - _more_than(max_brakes, weeks.num_brakes, braking, horizon)
    return np.asarray(1 - kept * (1 - sum_exceeds(weeks.beyond, horizon)).prod(axis=-1))


def confidence(weeks: Weeks, failed: NDArray[np.bool_], horizon: int, max_brakes: int, seed: int) -> Confidence:
    """Of one policy with one number of servers.

    ``failed``: (horizons,) which of the whole horizons among the weeks broke the promise. ``seed``: of the bootstrap.
    """
    num_weeks = weeks.peak.shape[0]
    draws = np.random.Generator(np.random.PCG64(seed)).integers(num_weeks, size=(num_weeks, RESAMPLES))
    again = Weeks(weeks.peak[draws], weeks.num_brakes[draws], weeks.beyond[draws])
    worst = np.quantile(failure(again, horizon, max_brakes), 1 - (1 - LEVEL) / 2)
    return Confidence(
        expected=float(1 - failure(weeks, horizon, max_brakes)),
        low=float(1 - worst),
        counted=clopper_pearson(int(failed.sum()), failed.size),
        num_failed=int(failed.sum()),
        num_horizons=failed.size,
    )


def exceeds(maxima: Floats, level: float | Floats) -> Floats:
    """Chance that the next of ``maxima`` (weeks, ...) is above ``level``.

    A Gumbel tail, unless their L-skewness is further from its own than chance explains (two standard errors).
    """
    ordered = np.sort(maxima, axis=0)
    num = ordered.shape[0]
    rank = np.arange(num).reshape(-1, *[1] * (ordered.ndim - 1))
    mean = ordered.mean(axis=0)
    first = (rank / (num - 1) * ordered).mean(axis=0)
    second = (rank * (rank - 1) / max((num - 1) * (num - 2), 1) * ordered).mean(axis=0)
    spread = 2 * first - mean
    skew = np.where(spread > TINY, (6 * second - 6 * first + mean) / np.maximum(spread, TINY), 0.0)
    heavier = np.maximum(skew - 2 * np.sqrt(SKEW_VARIANCE / num) - GUMBEL_SKEW, 0.0)
    gumbel = _gumbel_tail(level - mean, spread / np.log(2))
    return np.where(heavier > 1e-3, _heavier_tail(level - mean, spread, np.minimum(heavier + GUMBEL_SKEW, 0.9)), gumbel)


def sum_exceeds(values: Floats, num: int) -> Floats:
    """Chance that the sum of ``num`` draws of ``values`` (weeks, ...) is above 0: Gumbel of its mean and variance."""
    scale = values.std(axis=0, ddof=1) * np.sqrt(num) * np.sqrt(6) / np.pi
    return _gumbel_tail(-num * values.mean(axis=0), scale)


def clopper_pearson(num_failed: int, num: int) -> tuple[float, float]:
    """Interval of the chance to hold, from ``num_failed`` of ``num``; the whole of it when nothing was counted."""
    if num == 0:
        return (0.0, 1.0)
    held, tail = num - num_failed, (1 - LEVEL) / 2
    low = float(stats.beta.ppf(tail, held, num_failed + 1)) if held else 0.0
    high = float(stats.beta.ppf(1 - tail, held + 1, num_failed)) if num_failed else 1.0
    return (low, high)


def _heavier_tail(above_mean: Floats, spread: Floats, skew: Floats) -> Floats:
    """P(X − mean > above_mean) of the generalised extreme value distribution (Hosking 1990, its shape k below 0)."""
    c = 2 / (3 + skew) - np.log(2) / np.log(3)
    shape = np.minimum(7.8590 * c + 2.9554 * c**2, -1e-4)
    moment = special.gamma(1 + shape)
    scale = np.maximum(spread, TINY) * shape / ((1 - 2**-shape) * moment)
    reduced = moment - shape * above_mean / scale
    return np.asarray(-np.expm1(-np.exp(np.clip(np.log(np.maximum(reduced, TINY)) / shape, -745, 700))))


def _gumbel_tail(above_mean: Floats, scale: Floats) -> Floats:
    """P(X − mean > above_mean); without any spread, whether the mean itself is beyond."""
    spread = np.maximum(scale, TINY)
    exponent = np.clip(-above_mean / spread - EULER, -745, 700)
    return np.where(scale > TINY, -np.expm1(-np.exp(exponent)), np.where(above_mean < 0, 1.0, 0.0))


def _more_than(limit: int, num_brakes: Floats, braking: Floats, horizon: int) -> Floats:
    """P(more than ``limit`` brakes in a horizon): negative binomial, since one bad hour brakes again and again.

    Weeks without any brake still tell, by the tail of their peaks, how often one must be expected.
    """
    mean = np.maximum(num_brakes.mean(axis=0), braking) * horizon
    variance = np.maximum(num_brakes.var(axis=0, ddof=1) * horizon, mean)
    extra = np.maximum(variance - mean, 1e-9 * np.maximum(mean, 1e-12))
    size = np.maximum(mean, 1e-12) ** 2 / extra
    return np.asarray(stats.nbinom.sf(limit, size, size / (size + np.maximum(mean, 1e-12))))
