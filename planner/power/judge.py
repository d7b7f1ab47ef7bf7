"""Whether policies keep the promise with a number of servers, and how surely, from simulated weeks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from planner.power.confidence import Confidence, Weeks, confidence, exceeds, failure
from planner.power.plan import Judged, Slowdown
from planner.power.policy import Policy
from planner.power.rows.row import Results
from planner.power.rows.slowdown import MOST_SLOWDOWN, SLOWDOWN_BINS, slowdown_at
from planner.power.spec import PowerSpec
from profiles.performance.answers import Floats, Marks

QUANTILES = np.array([0.5, 0.99])


@dataclass(frozen=True, eq=False)
class Bar:
    """The promise as arrays. ``limits``: (classes, 2) most slowdown at the median and the 99th percentile."""

    horizon: int
    confidence: float
    max_brakes: int
    limits: Floats
    classes: tuple[str, ...]
    num_by_rating: int

    @property
    def allowed(self) -> float:
        """Chance of a horizon to fail."""
        return 1 - self.confidence


def bar_of(spec: PowerSpec) -> Bar:
    """What the spec promises."""
    return Bar(
        horizon=spec.promise.weeks,
        confidence=spec.promise.confidence,
        max_brakes=spec.promise.max_brakes,
        limits=np.array([[p.max_slowdown_p50, p.max_slowdown_p99] for p in spec.priorities]),
        classes=tuple(p.name for p in spec.priorities),
        num_by_rating=spec.num_by_rating,
    )


def chances(results: Results, policies: Sequence[Policy], bar: Bar) -> Floats:
    """(policies, counts) expected chance that a horizon breaks the promise."""
    return failure(_weeks(results, policies, bar), bar.horizon, bar.max_brakes)


def fails(results: Results, policies: Sequence[Policy], bar: Bar) -> Marks:
    """(policies, counts) whether the promise is more likely to be broken than it may."""
    return np.asarray(chances(results, policies, bar) > bar.allowed)


def braking(results: Results, policies: Sequence[Policy], bar: Bar) -> Floats:
    """(policies, counts) the same by brakes alone."""
    weeks = _weeks(results, policies, bar)
    return failure(Weeks(weeks.peak, weeks.num_brakes, np.full_like(weeks.beyond, -1.0)), bar.horizon, bar.max_brakes)


def strain(results: Results, bar: Bar) -> Floats:
    """(policies, counts) the slowdown nearest to its limit, over all weeks together, as a share of that limit."""
    return np.asarray((_slowdowns(results.slowdown_histogram.sum(axis=0)) / bar.limits).max(axis=(-2, -1)))


def judged(results: Results, policies: Sequence[Policy], num_servers: int, at: tuple[int, int], bar: Bar, seed: int
           ) -> Judged:  # fmt: skip
    """The policy with ``num_servers``, at index ``at`` of the policies and counts. ``seed``: of the bootstrap."""
    i, j = at
    num = len(results.peak) // bar.horizon
    weeks = num * bar.horizon

    def horizons(values: NDArray[Any]) -> NDArray[Any]:
        """(weeks, ...) as (horizons, weeks of one, ...)."""
        return values[:weeks].reshape(num, bar.horizon, *values.shape[1:])

    brakes = horizons(results.num_brakes[:, i, j]).sum(axis=1)
    slowdowns = _slowdowns(horizons(results.slowdown_histogram[:, i, j]).sum(axis=1))  # (horizons, classes, 2)
    failed = (brakes > bar.max_brakes) | (slowdowns > bar.limits).any(axis=(1, 2))
    every = _weeks(results, policies, bar)
    one = Weeks(every.peak[:, i, j], every.num_brakes[:, i, j], every.beyond[:, i, j])
    found = confidence(one, failed, bar.horizon, bar.max_brakes, seed)
    capped = horizons(results.capped_seconds[:, i, j]).sum(axis=1) / (bar.horizon * results.seconds)
    holds = found.proven >= bar.confidence
    return Judged(
        policy=policies[i].name,
        num_servers=num_servers,
        oversubscription_ratio=num_servers / max(bar.num_by_rating, 1),
        weeks=weeks,
        num_brakes=int(brakes.sum()),
        peak_utilisation=float(results.peak[:weeks, i, j].max()),
        mean_utilisation=float(results.mean[:weeks, i, j].mean()),
        capped_time_fraction=dict(zip(bar.classes, capped.max(axis=0).tolist(), strict=True)),
        slowdown={
            name: Slowdown(p50=p50, p99=p99)
            for name, (p50, p99) in zip(bar.classes, slowdowns.max(axis=0).tolist(), strict=True)
        },
        num_horizons=num,
        failed_horizons=int(failed.sum()),
        confidence=found.proven,
        holds=holds,
        why_not=() if holds else _why_not(one, found, slowdowns.max(axis=0), bar),
    )


def _weeks(results: Results, policies: Sequence[Policy], bar: Bar) -> Weeks:
    brake_at = np.array([policy.brake_at for policy in policies])[:, None]
    histogram = results.slowdown_histogram
    allowed = (1 - QUANTILES) * histogram.sum(axis=-1)[..., None]  # (weeks, policies, counts, classes, 2)
    over = np.einsum("wpncb,cqb->wpncq", histogram, bar.limits[..., None] < SLOWDOWN_BINS) - allowed
    return Weeks(results.peak / brake_at, results.num_brakes.astype(np.float64), over.reshape(*over.shape[:3], -1))


def _slowdowns(histogram: Floats) -> Floats:
    """(..., classes, 2) slowdowns at the quantiles of histograms (..., classes, bins); at most a hundredfold."""
    found = np.stack([slowdown_at(histogram, float(q)) for q in QUANTILES], axis=-1)
    return np.minimum(found, MOST_SLOWDOWN)


def _why_not(weeks: Weeks, found: Confidence, slowdowns: Floats, bar: Bar) -> tuple[str, ...]:
    reasons = []
    chance = 1 - (1 - float(exceeds(weeks.peak, 1.0))) ** bar.horizon
    if weeks.num_brakes.sum() > 0 or chance > bar.allowed:
        reasons.append(
            f"brakes: {int(weeks.num_brakes.sum())} in {len(weeks.peak)} weeks; a horizon of {bar.horizon} weeks has "
            f"one with a chance of {chance:.2%}, {bar.max_brakes} allowed"
        )
    for name, seen, limits in zip(bar.classes, slowdowns, bar.limits, strict=True):
        for label, slowdown, limit in zip(("median", "99th percentile"), seen, limits, strict=True):
            if slowdown > limit:
                reasons.append(f"{name}: {label} {slowdown:.1%} slower in the worst horizon; {limit:.1%} allowed")
    if not reasons:
        reasons.append(f"held, but {len(weeks.peak)} weeks prove only {found.proven:.2%} of {bar.confidence:.2%}")
    return tuple(reasons)
