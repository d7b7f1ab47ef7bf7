"""A power plan for people: how many servers, under which caps, how surely; what else would do, and what it rests on."""

from __future__ import annotations

from planner.power.plan import Interval, Judged, Loaded, Placement, PowerPlan
from planner.power.policy import GpuCap, Policy
from planner.types import Table, View

MOST_LOADS = 12
"""Fullest budgets that are shown of a site."""

EMPTY = Table(title="", columns=(), rows=())


def view(plan: PowerPlan) -> View:
    """What to show of ``plan``. Everything is here; a surface only decides how to draw it."""
    tables = (_steps(plan), _slowdowns(plan), _baselines(plan), _pareto(plan), _sensitivity(plan), _stress(plan),
              _loads(plan.placement), _relaxations(plan))  # fmt: skip
    why = plan.explanation or tuple(conflict.detail for conflict in plan.conflicts)
    return View(
        headline=_headline(plan),
        facts=tuple(_facts(plan)),
        tables=tuple(table for table in tables if table.rows),
        notes=(*why, *(f"assumed: {assumption}" for assumption in plan.assumptions)),
    )


def _headline(plan: PowerPlan) -> str:
    said = []
    if plan.num_servers is not None and plan.num_by_rating is not None:
        more = plan.num_servers / max(plan.num_by_rating, 1) - 1
        said.append(f"{plan.num_servers} servers where {plan.num_by_rating} fit by rating ({more:+.0%})")
    elif plan.spec.row is not None:
        asked = plan.spec.num_servers
        said.append(
            "no number of servers keeps the promise" if asked is None else f"{asked} servers cannot be promised"
        )
    if plan.placement is not None:
        said.append(f"{plan.placement.num_placed} of {plan.placement.num_asked} servers placed")
    return f"{plan.spec.name}: {'; '.join(said)}"


def _facts(plan: PowerPlan) -> list[tuple[str, str]]:
    facts = []
    if plan.budget_w is not None:
        beside = ", ".join(f"{name} {watts:,.0f} W" for name, watts in plan.other_w.items())
        facts.append(("budget", f"{plan.budget_w / 1000:,.1f} kW; beside the GPUs: {beside}"))
    if plan.policy is not None:
        facts.append(("policy", in_words(plan.policy)))
    if plan.judged is not None:
        facts += _judged(plan, plan.judged)
    if plan.safe_limit_w is not None:
        facts.append(("for a serving plan", f"power_limit_w {plan.safe_limit_w:,.0f} (GPUs of the row, busiest hour)"))
    if plan.placement is not None:
        facts.append(("placement", _placed(plan.placement)))
    facts.append(("proof", _proof(plan)))
    return facts


def _judged(plan: PowerPlan, judged: Judged) -> list[tuple[str, str]]:
    uncapped = plan.natural_peak_utilisation
    natural = "" if uncapped is None else f", {uncapped:.1%} without caps"
    promise = plan.spec.promise
    return [
        ("peak", f"{judged.peak_utilisation:.1%} of the budget{natural}; {judged.mean_utilisation:.1%} on average"),
        ("brakes", f"{judged.num_brakes} in {judged.weeks} weeks"),
        ("confidence", f"{judged.confidence:.2%} that {promise.weeks} weeks keep the promise, "
                       f"{promise.confidence:.2%} asked"),
    ]  # fmt: skip


def in_words(policy: Policy) -> str:
    """The policy in a sentence."""
    always = [f"always {_cap(cap)}" for cap in policy.always]
    if policy.steps:
        at = ", ".join(f"{at:.0%}" for at in dict.fromkeys(step.at for step in policy.steps))
        always.append(f"caps above {at} of the budget")
    caps = "; ".join(always) or "no caps"
    return f"{policy.name}: {caps}; brake above {policy.brake_at:.0%}"


def _cap(cap: GpuCap) -> str:
    return f"{cap.priority} to {cap.clock_mhz:g} MHz" if cap.clock_mhz else f"{cap.priority} to {cap.power_w:g} W a GPU"


def _proof(plan: PowerPlan) -> str:
    bound = "" if plan.bound is None or plan.objective is None else f", {_bound(plan)}"
    verdict = "not checked" if plan.check is None else "check passed" if plan.check.passed else "CHECK FAILED"
    return f"{plan.outcome}{bound}; {verdict}; {plan.solve_seconds:.1f} s"


def _bound(plan: PowerPlan) -> str:
    if plan.num_servers is None:
        return f"within {plan.gap or 0:.2%} of the bound"
    return f"at most {plan.bound:.0f} servers" if plan.objective != plan.bound else "no policy carries more"


def _steps(plan: PowerPlan) -> Table:
    """The ladder, with what is on at each step besides what the steps below it set."""
    policy, budget_w = plan.policy, plan.budget_w or 0.0
    if policy is None:
        return EMPTY
    rows = [
        (str(i), f"{step.at:.1%}", f"{step.at * budget_w:,.0f} W", f"{step.release:.1%}",
         ", ".join(_cap(cap) for cap in step.caps) + (" if the step before was not enough" if step.waits else ""))
        for i, step in enumerate(policy.steps, 1)
    ]  # fmt: skip
    brake = f"every GPU to {plan.spec.controls.brake_clock_mhz:g} MHz"
    rows.append(("brake", f"{policy.brake_at:.1%}", f"{policy.brake_at * budget_w:,.0f} W",
                 f"{policy.brake_release:.1%}", brake))  # fmt: skip
    return Table(
        title="Policy",
        columns=("step", "above", "row power", "off below", "caps"),
        rows=tuple(rows),
        numeric=("above", "row power", "off below"),
    )


def _slowdowns(plan: PowerPlan) -> Table:
    if plan.judged is None:
        return EMPTY
    told = plan.judged
    return Table(
        title="Slowdown by class, in the worst horizon simulated",
        columns=("class", "p50", "p50 limit", "p99", "p99 limit", "capped"),
        rows=tuple(
            (
                priority.name,
                f"{told.slowdown[priority.name].p50:.1%}",
                f"{priority.max_slowdown_p50:.1%}",
                f"{told.slowdown[priority.name].p99:.1%}",
                f"{priority.max_slowdown_p99:.1%}",
                _share_of_time(told.capped_time_fraction[priority.name]),
            )
            for priority in plan.spec.priorities
        ),
        numeric=("p50", "p50 limit", "p99", "p99 limit", "capped"),
    )


def _baselines(plan: PowerPlan) -> Table:
    """Other policies beside the plan's, or beside the closest where nothing holds."""
    if plan.judged is None or not plan.baselines:
        return EMPTY
    return _comparison("Against other policies", (plan.judged, *plan.baselines), plan)


def _pareto(plan: PowerPlan) -> Table:
    return _comparison("More servers against more slowdown", plan.pareto, plan) if len(plan.pareto) > 1 else EMPTY


def _comparison(title: str, judged: tuple[Judged, ...], plan: PowerPlan) -> Table:
    """``judged`` row by row; slowdowns of every class as median / 99th percentile."""
    names = [priority.name for priority in plan.spec.priorities]
    classes = tuple(f"{name} p50/p99" for name in names)
    return Table(
        title=title,
        columns=("policy", "servers", "peak", "brakes", "weeks", *classes, "confidence", "promise"),
        rows=tuple(
            (
                j.policy,
                str(j.num_servers),
                f"{j.peak_utilisation:.1%}",
                str(j.num_brakes),
                str(j.weeks),
                *(f"{j.slowdown[name].p50:.1%}/{j.slowdown[name].p99:.1%}" for name in names),
                f"{j.confidence:.2%}",
                "held" if j.holds else _first(j.why_not),
            )
            for j in judged
        ),
        numeric=("servers", "peak", "brakes", "weeks", *classes, "confidence"),
    )


def _first(reasons: tuple[str, ...]) -> str:
    """What broke first, short: all of it is in the plan."""
    what = reasons[0].split(" ")[0].rstrip(":,") if reasons else ""
    return "not proven" if what in ("held", "") else f"broken: {what}"


def _sensitivity(plan: PowerPlan) -> Table:
    return Table(
        title="What is not measured, one at a time: low / middle / high",
        columns=("assumption", "value", "unit", "most servers", "natural peak"),
        rows=tuple(
            (
                found.assumption,
                _three(found.values, ",g"),
                found.unit,
                _three(found.num_servers, ",.0f"),
                _three(found.natural_peak_utilisation, ".1%"),
            )
            for found in plan.sensitivity
        ),
        numeric=("value", "most servers", "natural peak"),
    )


def _three(interval: Interval, form: str) -> str:
    ends = (interval.low, interval.middle, interval.high)
    return " / ".join("none" if end is None else format(end, form) for end in ends)


def _stress(plan: PowerPlan) -> Table:
    return Table(
        title="When something goes wrong",
        columns=("event", "brakes", "s over budget", "peak", "outcome"),
        rows=tuple(
            (found.event, str(found.num_brakes), f"{found.seconds_over_budget:,.0f}", f"{found.peak_utilisation:.1%}",
             found.outcome)
            for found in plan.stress
        ),
        numeric=("brakes", "s over budget", "peak"),
    )  # fmt: skip


def _placed(placement: Placement) -> str:
    fullest = max(placement.loads, key=_fullness, default=None)
    full = "" if fullest is None else f"; fullest: {fullest.name}, {_fullness(fullest):.1%} of its budget"
    return f"{placement.num_placed} of {placement.num_asked} servers, gap {placement.gap:.2%}{full}"


def _fullness(load: Loaded) -> float:
    return load.load_w / load.budget_w


def _loads(placement: Placement | None) -> Table:
    if placement is None:
        return EMPTY
    fullest = sorted(placement.loads, key=_fullness, reverse=True)
    shown = fullest[:MOST_LOADS]
    more = f" ({len(fullest) - len(shown)} more are less full)" if len(shown) < len(fullest) else ""
    return Table(
        title=f"Loads that are exceeded no more often than may be, the fullest first{more}",
        columns=("where", "level", "load kW", "budget kW", "full", "sum of peaks kW", "when down"),
        rows=tuple(
            (
                load.name,
                load.level,
                f"{load.load_w / 1000:,.1f}",
                f"{load.budget_w / 1000:,.1f}",
                f"{_fullness(load):.1%}",
                f"{load.sum_of_peaks_w / 1000:,.1f}",
                load.failed_feed or "",
            )
            for load in shown
        ),
        numeric=("load kW", "budget kW", "full", "sum of peaks kW"),
    )


def _relaxations(plan: PowerPlan) -> Table:
    return Table(
        title="What would have to give, each alone",
        columns=("limit", "is", "would do", "in words"),
        rows=tuple(
            (r.limit, f"{r.current:,g}", f"{r.needed:,g}", r.detail) for c in plan.conflicts for r in c.relaxations
        ),
        numeric=("is", "would do"),
    )


def _share_of_time(share: float) -> str:
    return "never" if share == 0 else f"{share:.1%} of the time"
