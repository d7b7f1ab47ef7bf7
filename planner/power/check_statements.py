"""What a power plan says of its row, statement by statement: held against the promise and against each other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from scipy import stats

from planner.power.plan import Judged, PowerPlan, Sensitivity, Slowdown
from planner.power.policy import Policy
from planner.power.spec import PowerSpec
from planner.types import Violation, broken

RELATIVE = 1e-6

PEAK_NEAR, PEAK_RELATIVE = 0.02, 0.1
"""By so much of the budget, and of itself, may the rise of a highest second differ from that of a constant load."""


def check_statements(plan: PowerPlan) -> Iterator[Violation]:
    """What the plan says of its row; it has all that plans of rows have."""
    spec, judged, policy = plan.spec, plan.judged, plan.policy
    assert judged is not None and policy is not None and plan.num_servers is not None  # noqa: S101, PT018
    for field in ("num_servers", "oversubscription_ratio", "num_brakes", "peak_utilisation", "confidence",
                  "capped_time_fraction", "slowdown"):  # fmt: skip
        if getattr(plan, field) != getattr(judged, field):
            yield broken(field, "is not what was judged")
    if judged.policy != policy.name:
        yield broken("judged", f"is of the policy {judged.policy!r}, the plan's is {policy.name!r}")
    if not judged.holds:
        yield broken("judged", f"does not hold: {'; '.join(judged.why_not)}")
    if judged.num_brakes and judged.peak_utilisation <= policy.brake_at:
        yield broken("num_brakes", f"{judged.num_brakes}, yet the peak is below the brake's threshold")
    if plan.natural_peak_utilisation is not None and judged.peak_utilisation > plan.natural_peak_utilisation + RELATIVE:
        yield broken("peak_utilisation", "is above the peak without any cap")
    yield from check_judged("judged", judged, spec)
    yield from _others(plan)
    yield from _sensitivity(plan)
    yield from _stress(plan)
    yield from _trace(plan, policy)


def _others(plan: PowerPlan) -> Iterator[Violation]:
    """Baselines, and fewer servers with less slowdown."""
    for i, other in enumerate(plan.baselines):
        yield from check_judged(f"baselines[{i}]", other, plan.spec)
    for i, other in enumerate(plan.pareto):
        yield from check_judged(f"pareto[{i}]", other, plan.spec)
        if not other.holds or other.num_servers > (plan.num_servers or 0):
            yield broken(f"pareto[{i}]", "does not hold, or has more servers than the plan")
    if any(b.num_servers <= a.num_servers for a, b in pairwise(plan.pareto)):
        yield broken("pareto", "is not in the order of servers")


def check_judged(where: str, judged: Judged, spec: PowerSpec) -> Iterator[Violation]:
    """Counts, confidence and verdict of one judged policy agree with each other and with the promise."""
    promise, allowed = spec.promise, {p.name: (p.max_slowdown_p50, p.max_slowdown_p99) for p in spec.priorities}
    held = judged.num_horizons - judged.failed_horizons
    if not 0 <= judged.failed_horizons <= judged.num_horizons or judged.weeks != judged.num_horizons * promise.weeks:
        yield broken(where, f"{judged.failed_horizons} of {judged.num_horizons} horizons in {judged.weeks} weeks")
        return
    # Clopper and Pearson (1934): with a higher chance to hold, so few successes come less often than 1 in 40.
    most = 1.0 if not judged.failed_horizons else float(stats.beta.ppf(0.975, held + 1, judged.failed_horizons))
    if not 0 <= judged.confidence <= most + RELATIVE:
        yield broken(f"{where}.confidence", f"says {judged.confidence:.4f}, {held} of {judged.num_horizons} horizons "
                                            f"that held show at most {most:.4f}")  # fmt: skip
    if judged.holds != (judged.confidence >= promise.confidence) or judged.holds == bool(judged.why_not):
        yield broken(f"{where}.holds", f"says {judged.holds} with a confidence of {judged.confidence:.4f}")
    if _differs(judged.oversubscription_ratio, judged.num_servers / max(spec.num_by_rating, 1)):
        yield broken(f"{where}.oversubscription_ratio", "is not servers over those that fit by rating")
    slow = any(_slower(judged.slowdown[name], limits) for name, limits in allowed.items() if name in judged.slowdown)
    if judged.failed_horizons and not slow and judged.num_brakes <= promise.max_brakes:
        yield broken(f"{where}.failed_horizons", "no horizon can have failed: all slowdowns and brakes are allowed")
    if not judged.failed_horizons and (slow or judged.num_brakes > promise.max_brakes * judged.num_horizons):
        yield broken(f"{where}.failed_horizons", "none, yet a slowdown or the brakes are more than allowed")
    if not 0 <= judged.mean_utilisation <= judged.peak_utilisation:
        yield broken(f"{where}.mean_utilisation", f"{judged.mean_utilisation:.3f} is above the peak, or negative")
    if any(not 0 <= share <= 1 + RELATIVE for share in judged.capped_time_fraction.values()):
        yield broken(f"{where}.capped_time_fraction", "is not between 0 and 1")
    if any(not 0 <= slowdown.p50 <= slowdown.p99 for slowdown in judged.slowdown.values()):
        yield broken(f"{where}.slowdown", "the median is above the 99th percentile, or negative")


def _slower(slowdown: Slowdown, limits: tuple[float, float]) -> bool:
    return slowdown.p50 > limits[0] or slowdown.p99 > limits[1]


def _sensitivity(plan: PowerPlan) -> Iterator[Violation]:
    for found in plan.sensitivity:
        where = f"sensitivity to {found.assumption}"
        values = [found.values.low, found.values.middle, found.values.high]
        known = [value for value in values if value is not None]
        if len(known) < len(values) or sorted(known) != known:
            yield broken(where, "its values are not in order")
        servers = [found.num_servers.low, found.num_servers.middle, found.num_servers.high]
        if any(n is not None and (n < 1 or n != int(n)) for n in servers):
            yield broken(where, f"{servers} are no numbers of servers")
        if found.unit == "W per server":
            yield from _sensitivity_to_other_w(plan, where, found)


def _sensitivity_to_other_w(plan: PowerPlan, where: str, found: Sensitivity) -> Iterator[Violation]:
    """The range is the spec's, and peaks rise with it by what all servers draw more."""
    ranges = np.array([(plan.spec.server_of(w).other_range_w) for w in plan.spec.workloads])
    low_w, high_w = np.array([w.share for w in plan.spec.workloads]) @ ranges
    said = (found.values.low, found.values.middle, found.values.high)
    if any(_differs(value, end) for value, end in zip(said, (low_w, (low_w + high_w) / 2, high_w), strict=True)):
        yield broken(where, f"its range is not that of the spec, {low_w:,.0f} to {high_w:,.0f} W")
    peaks = found.natural_peak_utilisation
    rise = (high_w - low_w) * (plan.num_servers or 0) / (plan.budget_w or math.inf)
    if peaks.low is None or peaks.high is None or abs(peaks.high - peaks.low - rise) > PEAK_NEAR + PEAK_RELATIVE * rise:
        yield broken(where, f"natural peaks {peaks.low} and {peaks.high} are not {rise:.3f} apart")


def _stress(plan: PowerPlan) -> Iterator[Violation]:
    if [found.event for found in plan.stress] != [event.kind for event in plan.spec.events]:
        yield broken("stress", "is not about the events of the spec")
    for i, found in enumerate(plan.stress):
        if found.num_brakes < 0 or (found.seconds_over_budget > 0) != (found.peak_utilisation > 1):
            yield broken(f"stress[{i}]", f"{found.seconds_over_budget:g} s above the budget with a peak of "
                                         f"{found.peak_utilisation:.1%}")  # fmt: skip
        held = not found.num_brakes and not found.seconds_over_budget
        if found.outcome.startswith("held:") != held:
            yield broken(f"stress[{i}].outcome", "does not say what happened")


def _trace(plan: PowerPlan, policy: Policy) -> Iterator[Violation]:
    """Minutes of a day; caps lower power, and where none is on it is what it would be without."""
    if [minute.second for minute in plan.trace] != list(range(0, 60 * len(plan.trace), 60)):
        yield broken("trace", "is not minute by minute")
    for minute in plan.trace:
        if not 0 <= minute.step <= len(policy.steps) + 1:
            yield broken("trace", f"second {minute.second}: the policy has no step {minute.step}")
        elif minute.utilisation > minute.uncapped_utilisation + RELATIVE:
            yield broken("trace", f"second {minute.second}: more power with caps than without")
        elif not minute.step and not policy.always and _differs(minute.utilisation, minute.uncapped_utilisation):
            yield broken("trace", f"second {minute.second}: no cap, yet not the power of no cap")


def _differs(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return (a is None) != (b is None)
    return not math.isclose(a, b, rel_tol=RELATIVE, abs_tol=1e-9)
