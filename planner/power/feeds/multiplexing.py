"""What many servers draw together, by statistics: the load that a budget must carry so as to be exceeded seldom enough.

Groups of servers are known at T moments of their busiest hours (scenarios): at moment t every server of group g draws
m[g, t] on average, and servers differ around it with standard deviation s[g], independently. The moments are common to
all groups, so that what moves them together stays. An element of the site (a feed, a PDU, a row, a phase) sees of the
servers x the weight w[g] = Σ a·x and the squared weight q[g] = Σ a²·x, where a is the share of a server's power that
comes through it. Its load is then a mixture of T normals (near enough for a dozen servers, an assumption for a few),

    P(load > B) = 1/T Σ_t Φ((w·m[t] − B) / σ),    σ² = Σ_g q[g]·s[g]²

The load at risk is the least B for which this is at most ``max_risk``, with Φ(y) replaced by ½ + y·φ(0) for y > 0:
never less, and the same wherever no moment's average alone is above B. So it is convex in (w, σ) and grows in
proportion with them: every tangent runs below it everywhere (the perspective of a convex function; Boyd and
Vandenberghe, Convex Optimization, section 3.2.6). Servers never draw more than their peak, so the sum of peaks is an
upper limit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numba import njit

from planner.errors import InvalidInput, UnknownName
from planner.program import Floats

DENSITY = 1 / math.sqrt(2 * math.pi)
"""φ(0), the largest density of the normal distribution: slope of what replaces Φ above zero."""

STEPS = 60
"""Most Newton steps for a load at risk; from the left it needs about six."""

NEVER = -38.0
"""Below so many σ the normal distribution is zero in floating point."""

EXACT = 1e-10
"""Relative step at which Newton's method is at its end."""


@dataclass(frozen=True, eq=False)
class GroupProfile:
    """What one server of a group draws.

    Attributes
    ----------
    name:
        the workload's
    mean_w:
        (scenarios,) average over the group's servers at each moment; the same moments for all groups
    spread_w:
        standard deviation of single servers around that average, independent from server to server
    peak_w:
        the most that a server can draw
    """

    name: str
    mean_w: Floats
    spread_w: float
    peak_w: float


@dataclass(frozen=True, eq=False)
class Crowd:
    """G groups as arrays: ``mean_w`` (G, T), ``variance_w2`` (G,), ``peak_w`` (G,), and the risk that is allowed."""

    mean_w: Floats
    variance_w2: Floats
    peak_w: Floats
    max_risk: float

    @property
    def average_w(self) -> Floats:
        """(G,) of a server, over all moments."""
        average: Floats = self.mean_w.mean(axis=1)
        return average


@dataclass(frozen=True, eq=False)
class Tangent:
    """A plane below the load at risk: ``watts @ w + per_sigma * σ``, where watts is (G,)."""

    watts: Floats
    per_sigma: float


def crowd_of(names: Sequence[str], profiles: Sequence[GroupProfile], max_risk: float) -> Crowd:
    """The profiles of groups ``names``, in their order.

    Raises
    ------
    UnknownName
        for a group without a profile.
    InvalidInput
        for profiles that cannot be: no or different numbers of moments, negative or unordered watts, not numbers.
    """
    by_name = {profile.name: profile for profile in profiles}
    for i, name in enumerate(names):
        if name not in by_name:
            raise UnknownName("workload", name, by_name, field=f"site.groups[{i}].workload")
    chosen = [by_name[name] for name in names]
    for profile in chosen:
        _refuse_impossible(profile, chosen[0])
    return Crowd(
        mean_w=np.array([profile.mean_w for profile in chosen], dtype=np.float64),
        variance_w2=np.array([profile.spread_w**2 for profile in chosen]),
        peak_w=np.array([profile.peak_w for profile in chosen]),
        max_risk=max_risk,
    )


def risk(crowd: Crowd, weight: Floats, squared: Floats, budget_w: float) -> float:
    """P(load > ``budget_w``) of an element that sees ``weight`` (G,) and ``squared`` weight (G,) of servers."""
    if weight @ crowd.peak_w <= budget_w:
        return 0.0
    over_w = weight @ crowd.mean_w - budget_w
    sigma_w = math.sqrt(squared @ crowd.variance_w2)
    if sigma_w <= 0:
        return float(np.mean(over_w > 0))
    normal = NormalDist(sigma=sigma_w)
    return float(np.mean([normal.cdf(watts) for watts in over_w.tolist()]))


def loads_at_risk(crowd: Crowd, weight: Floats, squared: Floats) -> Floats:
    """(E,) watts that are exceeded with at most the crowd's risk, of E elements with weights (E, G)."""
    sigma_w = np.sqrt(squared @ crowd.variance_w2)
    loads = _loads(weight, sigma_w, crowd.mean_w, crowd.max_risk, _highest(crowd))
    return np.minimum(loads, weight @ crowd.peak_w)


def tangent(crowd: Crowd, weight: Floats, squared: Floats) -> Tangent:
    """The plane that touches the load at risk (before peaks limit it) at ``weight`` (G,), ``squared`` (G,)."""
    sigma_w = math.sqrt(squared @ crowd.variance_w2)
    load_w = _loads(weight[None], np.array([sigma_w]), crowd.mean_w, crowd.max_risk, _highest(crowd))[0]
    mean_w = weight @ crowd.mean_w
    if sigma_w <= 0:
        at = crowd.mean_w[:, int(np.argmax(mean_w))]
        return Tangent(at.copy(), 0.0)
    above = (mean_w - load_w) / sigma_w
    density = DENSITY * np.exp(-0.5 * np.minimum(above, 0.0) ** 2)
    share = density / density.sum()
    return Tangent(crowd.mean_w @ share, float(-share @ above))


def _highest(crowd: Crowd) -> float:
    """How far, in σ, the highest moment may be above the budget when it alone takes up the whole risk."""
    chance = crowd.max_risk * crowd.mean_w.shape[1]
    return NormalDist().inv_cdf(chance) if chance <= 0.5 else (chance - 0.5) / DENSITY


@njit(cache=True, nogil=True)
def _loads(weight: Floats, sigma_w: Floats, mean_w: Floats, max_risk: float, highest: float) -> Floats:
    """Loads at risk (E,) before peaks limit them; ``highest`` from ``_highest``."""
    loads = np.zeros(weight.shape[0])
    for e in range(weight.shape[0]):
        mean = np.zeros(mean_w.shape[1])
        for g in range(weight.shape[1]):
            if weight[e, g] != 0.0:
                mean += weight[e, g] * mean_w[g]
        if sigma_w[e] > 0.0:
            loads[e] = _load(mean, sigma_w[e], max_risk, mean.max() - highest * sigma_w[e])
        else:
            loads[e] = mean.max()
    return loads


@njit(cache=True, nogil=True)
def _load(mean: Floats, sigma: float, max_risk: float, load: float) -> float:
    """Newton's method from a ``load`` too low: the chance is convex and falls, so that no step goes too far."""
    for _ in range(STEPS):
        chance, slope = 0.0, 0.0
        for t in range(mean.size):
            y = (mean[t] - load) / sigma
            if y > 0.0:
                chance += 0.5 + y * DENSITY
                slope += DENSITY
            elif y > NEVER:
                chance += 0.5 * math.erfc(-y / math.sqrt(2.0))
                slope += DENSITY * math.exp(-0.5 * y * y)
        step = (chance - max_risk * mean.size) / slope * sigma
        load += step
        if step <= EXACT * load:
            break
    return load


def _refuse_impossible(profile: GroupProfile, first: GroupProfile) -> None:
    field = f"profile of {profile.name}"
    mean_w = np.asarray(profile.mean_w)
    if mean_w.ndim != 1 or mean_w.size == 0:
        raise InvalidInput("no moments", field=field, fix="give mean_w at one moment of the busiest hours or more")
    if mean_w.size != np.size(first.mean_w):
        raise InvalidInput(
            f"{mean_w.size} moments where {first.name} has {np.size(first.mean_w)}", field=field,
            fix="sample all groups at the same moments",
        )  # fmt: skip
    numbers = np.array([mean_w.min(), mean_w.max(), profile.spread_w, profile.peak_w])
    if not np.isfinite(numbers).all() or mean_w.min() <= 0 or profile.spread_w < 0:
        raise InvalidInput(
            "watts that are not numbers, zero or negative", field=field, fix="mean_w above 0, spread_w 0 or above"
        )
    if mean_w.max() > profile.peak_w * (1 + 1e-9):
        raise InvalidInput(
            f"draws {mean_w.max():,.0f} W on average at a moment, above its peak of {profile.peak_w:,.0f} W",
            field=field, fix="peak_w is the most that one server can draw",
        )  # fmt: skip
