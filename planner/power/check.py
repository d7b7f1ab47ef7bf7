"""Proof that a power plan holds, re-derived from its spec, the facts and days simulated again.

Shares no code with the simulation, the search or the placement: figures are worked out from the spec,
``check_statements`` holds them against each other, ``check_row`` lives through days of its own, and
``check_placement`` counts every server.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from pydantic import ValidationError
from scipy import stats

from planner.power.check_placement import check_placement
from planner.power.check_row import Lived, Servers, busiest_day, live, mean_gpu_w, row_of, servers_of, week_of_loads
from planner.power.check_statements import check_judged, check_statements
from planner.power.plan import Judged, PowerPlan
from planner.power.policy import Policy
from planner.power.spec import PowerSpec
from planner.power.traces.pools import gpus_of, pools
from planner.types import Check, Violation, broken
from profiles.types import Facts

RELATIVE = 1e-6

QUANTILES = (0.50, 0.99)

NUM_WORST_DAYS, BLOCKS_PER_HOUR = 3, 6
"""Each the busiest day of as many weeks as the promise has, with all of its blocks."""

CHANCE_OF_FALSE_ALARM = 1e-3
"""Days that brake speak against a plan when they would be rarer than this if its confidence were true."""

MORE_BEYOND = (0.20, 0.03)
"""Share of a week's requests that may be slower than the plan's worst horizon says of the median and the 99th
percentile, on top of the half and the hundredth that may be anyway: weeks differ more than horizons."""

CAPPED_NEAR = 0.15
"""Of the time: a week may be capped for longer than the worst horizon on average."""

PEAK_NEAR, MEAN_NEAR = 0.05, 0.02
"""Shares of the budget by which one week's peak and mean may be off those of the weeks that were judged. As weeks
differ by the spread of their days and hours, it is added to what peaks may be off, a third of it to the mean."""


def check(plan: PowerPlan, facts: Facts) -> Check:
    """Every constraint of ``plan.spec`` that ``plan`` breaks, and every statement of it that is not so.

    Days are simulated again only of plans whose statements are sound. Raises what ``pools`` raises.
    """
    if plan.outcome in ("infeasible", "no_solution"):
        violations = tuple(_without_answer(plan))
        if plan.placement is not None:  # the row has no answer, the site may have one
            violations = violations or tuple(_derived(plan, facts))
    else:
        violations = tuple(_present(plan)) or tuple(_stated(plan)) or tuple(_derived(plan, facts))
    return Check(passed=not violations, violations=violations)


def _without_answer(plan: PowerPlan) -> Iterator[Violation]:
    for field in ("num_servers", "policy", "objective"):
        if getattr(plan, field) is not None:
            yield broken("outcome", f"{plan.outcome}, yet there is {field}")
    if plan.outcome == "infeasible" and not plan.conflicts:
        yield broken("conflicts", "the plan is infeasible and does not say why")
    if plan.judged is not None:
        if plan.judged.holds:
            yield broken("judged", "the plan is infeasible, yet what was judged holds")
        yield from check_judged("judged", plan.judged, plan.spec)
    if plan.placement is not None and set(plan.other_w) != {server.name for server in plan.spec.servers}:
        yield broken("other_w", "is not told of every kind of server")
    for i, judged in enumerate(plan.baselines):
        yield from check_judged(f"baselines[{i}]", judged, plan.spec)


OF_A_ROW = ("budget_w", "num_by_rating", "num_servers", "oversubscription_ratio", "policy", "num_brakes",
            "peak_utilisation", "natural_peak_utilisation", "confidence", "safe_limit_w", "judged")  # fmt: skip


def _present(plan: PowerPlan) -> Iterator[Violation]:
    """What the spec asks for is there, what it does not ask for is not, and everything is about its classes."""
    spec = plan.spec
    for field in OF_A_ROW:
        if (getattr(plan, field) is None) == (spec.row is not None):
            yield broken(field, "is missing" if spec.row is not None else "is given without a row in the spec")
    if (plan.placement is None) == (spec.site is not None):
        yield broken("placement", "is missing" if spec.site is not None else "is given without a site in the spec")
    if set(plan.other_w) != {server.name for server in spec.servers}:
        yield broken("other_w", "is not told of every kind of server")
    if spec.row is None:
        return
    classes = {priority.name for priority in spec.priorities}
    judged = [("judged", plan.judged), *((f"baselines[{i}]", j) for i, j in enumerate(plan.baselines)),
              *((f"pareto[{i}]", j) for i, j in enumerate(plan.pareto))]  # fmt: skip
    for where, told in [("plan", plan), *judged]:
        if told is not None and not set(told.slowdown) == set(told.capped_time_fraction) == classes:
            yield broken(f"{where}.slowdown", "and capped_time_fraction are not told of every priority class")
    if plan.policy is not None:
        yield from _policy(plan.policy, spec)


def _policy(policy: Policy, spec: PowerSpec) -> Iterator[Violation]:
    """Thresholds in order, caps on classes that exist, and the least important capped first."""
    try:
        Policy.model_validate(policy.model_dump())
    except ValidationError as error:
        yield broken("policy", error.errors()[0]["msg"])
    names = [priority.name for priority in spec.priorities]
    steps = [policy.always, *(step.caps for step in policy.steps)]
    first = {cap.priority: i for i, caps in reversed(list(enumerate(steps))) for cap in caps}
    for name in set(first) - set(names):
        yield broken("policy", f"caps {name!r}, which is no priority class")
    if isinstance(spec.policy, Policy):
        if policy != spec.policy:
            yield broken("policy", "is not the one that the spec gives")
        return
    capped = [(first[name], name) for name in names if name in first]
    for (before, lower), (after, higher) in pairwise(capped):
        if after < before:
            yield broken("policy", f"caps {higher!r} before {lower!r}, which is less important")
    if spec.policy == "none" and steps != [()]:
        yield broken("policy", "caps, and the spec asks for none")
    if spec.policy == "power_cap" and (policy.steps or any(cap.power_w is None for cap in policy.always)):
        yield broken("policy", "is more than a power cap, which the spec asks for")
    if spec.policy == "one_threshold" and (len(policy.steps) != 1 or policy.always):
        yield broken("policy", "has not the one threshold that the spec asks for")


def _stated(plan: PowerPlan) -> Iterator[Violation]:
    """What can be told from the plan alone."""
    yield from _other_w(plan)
    if plan.spec.row is not None:
        yield from _row(plan)
        yield from check_statements(plan)
    elif plan.placement is not None and (plan.objective, plan.bound) != (
        plan.placement.objective,
        plan.placement.bound,
    ):
        yield broken("objective", "and bound are not those of the placement")
    yield from _gap(plan)


def _derived(plan: PowerPlan, facts: Facts) -> Iterator[Violation]:
    """What it takes the demands of the workloads to tell."""
    spec = plan.spec
    fleet = servers_of(spec, pools(spec, facts), gpus_of(spec, facts), plan.other_w, plan.num_servers or 0)
    if plan.num_servers is not None:
        yield from _safe_limit(plan, fleet)
        yield from _relived(plan, fleet)
    if plan.placement is not None:
        yield from check_placement(plan, plan.placement, fleet)


def _other_w(plan: PowerPlan) -> Iterator[Violation]:
    """Watts beside the GPUs are at the asked end of their range, or, where a row was observed, anywhere in it."""
    spec = plan.spec
    share = {"low": 0.0, "middle": 0.5, "high": 1.0}[spec.assume]
    for server in spec.servers:
        (low, high), said = server.other_range_w, plan.other_w[server.name]
        asked = low + share * (high - low)
        if not low - RELATIVE <= said <= high + RELATIVE:
            yield broken("other_w", f"{server.name}: {said:,.0f} W are outside {low:,.0f} to {high:,.0f} W")
        elif not (spec.row and spec.row.observed) and not math.isclose(said, asked, rel_tol=RELATIVE, abs_tol=1e-6):
            yield broken("other_w", f"{server.name}: {said:,.0f} W, {spec.assume} of the range is {asked:,.0f} W")


def _row(plan: PowerPlan) -> Iterator[Violation]:
    """Budget, number by rating, places, ratio, objective and bound."""
    spec, row = plan.spec, plan.spec.row
    assert row is not None and plan.num_servers is not None  # noqa: S101, PT018 - the caller asked
    rated = {server.name: server.rated_w for server in spec.servers}
    mean_rated_w = sum(workload.share * rated[workload.server] for workload in spec.workloads)
    budget_w = row.budget_w if row.budget_w is not None else (row.budget_servers or 0) * mean_rated_w
    by_rating = math.floor(budget_w / mean_rated_w + 1e-9)
    places = row.max_servers if row.max_servers is not None else 2 * max(by_rating, 1)
    ratio = plan.num_servers / max(by_rating, 1)
    if _differs(plan.budget_w, budget_w):
        yield broken("budget_w", f"says {plan.budget_w}, the row has {budget_w:,.0f} W")
    if plan.num_by_rating != by_rating:
        yield broken("num_by_rating", f"says {plan.num_by_rating}, {by_rating} servers fit by their rated power")
    if _differs(plan.oversubscription_ratio, ratio):
        yield broken("oversubscription_ratio", f"says {plan.oversubscription_ratio}, it is {ratio:.4f}")
    if plan.num_servers < 1 or (spec.num_servers is None and plan.num_servers > places):
        yield broken("num_servers", f"{plan.num_servers} servers in {places} places")
    if spec.num_servers is not None and plan.num_servers != spec.num_servers:
        yield broken("num_servers", f"{plan.num_servers}, the spec asks for {spec.num_servers}")
    if plan.objective != plan.num_servers:
        yield broken("objective", f"is {plan.objective}, not the {plan.num_servers} servers")
    if plan.bound is None or not plan.num_servers <= plan.bound <= max(places, plan.num_servers):
        yield broken("bound", f"{plan.bound} is not between {plan.num_servers} servers and {places} places")
    elif plan.outcome == "optimal" and plan.bound != plan.num_servers:
        yield broken("outcome", f"optimal with {plan.num_servers} of {plan.bound:g} servers")


def _gap(plan: PowerPlan) -> Iterator[Violation]:
    if plan.objective is None or plan.bound is None or plan.gap is None:
        yield broken("gap", "objective, bound or gap is missing")
    elif abs(plan.gap - abs(plan.objective - plan.bound) / max(abs(plan.objective), 1e-12)) > 1e-4:
        yield broken("gap", f"says {plan.gap:g}, objective {plan.objective:g} and bound {plan.bound:g} give another")


def _safe_limit(plan: PowerPlan, fleet: Sequence[Servers]) -> Iterator[Violation]:
    """GPU watts of the busiest hour, uncapped, on average over the recording."""
    shares = [workload.share * (plan.num_servers or 0) for workload in plan.spec.workloads]
    watts = sum(share * mean_gpu_w(s.pool, s.calendar.shape) for share, s in zip(shares, fleet, strict=True))
    if _differs(plan.safe_limit_w, float(np.max(watts))):
        yield broken("safe_limit_w", f"says {plan.safe_limit_w}, the busiest hour draws {np.max(watts):,.0f} W")


def _relived(plan: PowerPlan, fleet: tuple[Servers, ...]) -> Iterator[Violation]:
    """A week, and the busiest days of some horizons, of fresh seeds: as few brakes and as little delay as is said."""
    spec, policy, judged = plan.spec, plan.policy, plan.judged
    assert policy is not None and judged is not None and plan.budget_w is not None  # noqa: S101, PT018
    classes = [priority.name for priority in spec.priorities]
    limits = np.array([[getattr(judged.slowdown[name], field) for name in classes] for field in ("p50", "p99")])
    row = row_of(spec, policy, fleet, plan.budget_w, limits)
    week = live(row, week_of_loads(fleet, plan.seed, 0), (plan.seed, 0))
    days = []
    for i in range(NUM_WORST_DAYS):
        weeks = range(1 + i * spec.promise.weeks, 1 + (i + 1) * spec.promise.weeks)
        hours = busiest_day(fleet, plan.seed, weeks)
        days.append(live(row, np.repeat(hours, BLOCKS_PER_HOUR, axis=1), (plan.seed, 1 + i)))
    braked = sum(each.num_brakes > spec.promise.max_brakes for each in (week, *days))
    if stats.binom.sf(braked - 1, len(days) + 1, 1 - judged.confidence) < CHANCE_OF_FALSE_ALARM:
        yield broken("brakes", f"{braked} of {len(days) + 1} simulated horizons brake more often than "
                               f"{spec.promise.max_brakes} times; promised with {judged.confidence:.2%}")  # fmt: skip
    for i, (quantile, more) in enumerate(zip(QUANTILES, MORE_BEYOND, strict=True)):
        for name, share in zip(classes, week.beyond[i].tolist(), strict=True):
            if share > 1 - quantile + more:
                yield broken("slowdown", f"{name}: {share:.1%} of a simulated week's requests are slower than the plan "
                                         f"says of {1 - quantile:.0%}")  # fmt: skip
    for name, share in zip(classes, week.capped.tolist(), strict=True):
        said = judged.capped_time_fraction[name]
        if share > said + CAPPED_NEAR:
            yield broken("capped_time_fraction", f"{name}: says {said:.1%}, a week simulated again has {share:.1%}")
    yield from _levels(plan, judged, week, days, fleet)


def _levels(
    plan: PowerPlan, judged: Judged, week: Lived, days: Sequence[Lived], fleet: Sequence[Servers]
) -> Iterator[Violation]:
    """Peaks and mean of the simulated days are about those of the plan."""
    spread = max(math.hypot(each.calendar.daily_spread, each.calendar.hourly_spread) for each in fleet)
    peak = max(each.peak for each in (week, *days))
    natural_peak = max(each.natural_peak for each in (week, *days))
    for field, said, seen, near in (
        ("peak_utilisation", judged.peak_utilisation, peak, PEAK_NEAR + spread),
        ("natural_peak_utilisation", plan.natural_peak_utilisation or 0.0, natural_peak, PEAK_NEAR + spread),
        ("mean_utilisation", judged.mean_utilisation, week.mean, MEAN_NEAR + spread / 3),
    ):
        if abs(said - seen) > near:
            yield broken(field, f"says {said:.3f}, days simulated again have {seen:.3f}")


def _differs(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return (a is None) != (b is None)
    return not math.isclose(a, b, rel_tol=RELATIVE, abs_tol=1e-9)
