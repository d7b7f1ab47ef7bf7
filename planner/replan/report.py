"""What a night's planning tells: as data (JSON), and as Markdown for people."""

from __future__ import annotations

import datetime as dt
from typing import Any

from pydantic import AwareDatetime, Field

from planner.replan.decide import Decision
from planner.replan.fleets import counts_of
from planner.replan.service import Fleet, Mode, Running
from planner.types import Conflict, Frozen, Outcome

BAD_FIRST = (1, 2, 5, 4, 3, 0)
"""Exit codes from worst to best: a defect, bad input (or a store out of reach), a missing profile, no solution within
the limit, infeasible, fine. Of several services the worst one counts."""


class Problem(Frozen):
    """Why a service could not be planned, as RFC 9457 has it, and the exit code of a command that meets it."""

    title: str
    status: int
    detail: str
    field: str | None = None
    fix: str | None = None
    exit_code: int = 1


class DemandReport(Frozen):
    """The demand of one service of the spec over the horizon, and what the forecast rests on."""

    service: str
    method: str
    num_origins: int = Field(description="earlier nights whose errors made the quantiles")
    mean_requests_per_s: float
    busiest_requests_per_s: float
    planned_requests_per_s: float = Field(description="of the busiest hour, at the quantile")
    week_ahead_requests_per_s: tuple[float, ...] = Field(description="median by hour from the planned day on")
    week_ahead_planned_requests_per_s: tuple[float, ...] = Field(description="likewise, at the quantile")
    notes: tuple[str, ...] = ()


class Hour(Frozen):
    """One planned hour: the demand planned for by service, and what is rented."""

    start: AwareDatetime
    planned_requests_per_s: dict[str, float]
    fleet: Fleet
    usd: float


class Change(Frozen):
    """What becomes of one offer, over the horizon."""

    provider: str
    instance_type: str
    region: str
    market: str
    instance_hours_before: int
    instance_hours_after: int
    most_before: int
    most_after: int


class Report(Frozen):
    """One service on one night. Money is over the horizon and counts what is started on the way."""

    service: str
    date: dt.date
    decision: Decision
    reason: str
    service_version: int
    mode: Mode
    quantile: float
    horizon_days: int
    time_zone: str
    usd_keep: float | None = Field(default=None, description="going on as before, at today's prices")
    usd_plan: float | None = Field(default=None, description="planned afresh")
    usd_plan_bound: float | None = Field(default=None, description="no plan for this demand costs less")
    usd_saved: float | None = Field(default=None, description="by changing, against keeping")
    usd_static_peak: float | None = Field(default=None, description="one plan for the busiest hour, all hours")
    outcome: Outcome | None = Field(default=None, description="of the fresh plan")
    gap: float | None = None
    demand: tuple[DemandReport, ...] = ()
    hours: tuple[Hour, ...] = Field(default=(), description="of the horizon, as they will run")
    before: Running | None = None
    after: Running | None = None
    changes: tuple[Change, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    warnings: tuple[str, ...] = ()
    profile_digest: str = ""
    problem: Problem | None = None

    @property
    def plan_ids(self) -> tuple[str, ...]:
        """The saved serving plans that run from now on."""
        plans = () if self.after is None else self.after.plans
        return tuple(dict.fromkeys(plan.plan_id for plan in plans if plan.plan_id is not None))

    @property
    def exit_code(self) -> int:
        """0: all is well. 3: infeasible. 4: no solution within the limit. A failure has the code of its problem."""
        if self.decision == "failed":
            return self.problem.exit_code if self.problem is not None else 4
        return 3 if self.decision == "infeasible" else 0

    @property
    def is_final(self) -> bool:
        """Whether the night is decided. What failed is tried again."""
        return self.decision != "failed"


def exit_code(reports: tuple[Report, ...]) -> int:
    """The worst of all."""
    return min((report.exit_code for report in reports), key=BAD_FIRST.index, default=0)


def changes(before: tuple[Fleet, ...], after: tuple[Fleet, ...]) -> tuple[Change, ...]:
    """Every offer whose instances differ in some hour."""
    old, new = [counts_of(fleet) for fleet in before], [counts_of(fleet) for fleet in after]
    found = []
    for place in sorted({place for counts in (*old, *new) for place in counts}):
        was, will = [counts.get(place, 0) for counts in old], [counts.get(place, 0) for counts in new]
        if was != will:
            provider, region, instance_type, market = place
            found.append(
                Change(provider=provider, instance_type=instance_type, region=region, market=market,
                       instance_hours_before=sum(was), instance_hours_after=sum(will),
                       most_before=max(was, default=0), most_after=max(will, default=0))
            )  # fmt: skip
    return tuple(found)


def as_markdown(report: Report) -> str:
    """The report for people."""
    lines = [
        f"# {report.service}, {report.date}: {report.decision.replace('_', ' ')}",
        "",
        _sentence(report.reason),
        "",
    ]
    if report.problem is not None and report.problem.fix:
        lines += [f"Fix: {_cell(report.problem.fix)}", ""]
    lines += _table(("", "USD over the horizon"), money(report))
    lines += _demand(report)
    if report.changes:
        rows = [
            (f"{c.provider}/{c.region}/{c.instance_type}", c.market, f"{c.instance_hours_before:,}",
             f"{c.instance_hours_after:,}", f"{c.most_before} → {c.most_after}")
            for c in report.changes
        ]  # fmt: skip
        lines += ["## What changes", ""]
        lines += _table(("instances", "market", "hours before", "hours after", "most at once"), rows)
    if report.hours:
        lines += ["## Hours", "", *_table(("local hour", "planned requests/s", "instances", "USD"), _hours(report))]
    if report.conflicts:
        lines += ["## Why it cannot be", ""]
        for conflict in report.conflicts:
            lines.append(f"- {_cell(conflict.detail)}")
            lines += [f"  - would do: {_cell(relaxation.detail)}" for relaxation in conflict.relaxations]
        lines.append("")
    if report.warnings:
        lines += ["## Mind", "", *(f"- {_cell(warning)}" for warning in report.warnings), ""]
    if report.plan_ids:
        lines += [f"Saved plans: {', '.join(f'`{plan_id}`' for plan_id in report.plan_ids)}", ""]
    lines.append(f"Facts: `{report.profile_digest}`" if report.profile_digest else "No plan was made.")
    return "\n".join(lines) + "\n"


def _sentence(text: str) -> str:
    text = _cell(text)
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}"


def money(report: Report) -> list[tuple[str, str]]:
    """What is known of the cost over the horizon: (of what, USD), formatted."""
    rows = (
        ("keeping what runs", report.usd_keep),
        ("planned afresh", report.usd_plan),
        ("no plan costs less than", report.usd_plan_bound),
        ("saved by changing", report.usd_saved),
        ("one plan for the busiest hour", report.usd_static_peak),
    )
    return [(name, f"{usd:,.2f}") for name, usd in rows if usd is not None]


def _demand(report: Report) -> list[str]:
    if not report.demand:
        return []
    rows = [
        (d.service, f"{d.mean_requests_per_s:.3g}", f"{d.busiest_requests_per_s:.3g}",
         f"{d.planned_requests_per_s:.3g}", f"{d.method}, {d.num_origins} nights")
        for d in report.demand
    ]  # fmt: skip
    names = ("service", "mean requests/s", "busiest hour", f"planned (p{100 * report.quantile:g})", "forecast")
    return ["## Demand", "", *_table(names, rows)]


def _hours(report: Report) -> list[tuple[str, ...]]:
    from zoneinfo import ZoneInfo

    zone = ZoneInfo(report.time_zone)
    rows: list[tuple[str, ...]] = []
    for hour in report.hours:
        demand = ", ".join(f"{rate:.3g}" for rate in hour.planned_requests_per_s.values())
        fleet = ", ".join(f"{i.instances} × {i.instance_type} ({i.market})" for i in hour.fleet)
        rows.append((f"{hour.start.astimezone(zone):%a %H:%M}", demand, fleet or "none", f"{hour.usd:,.2f}"))
    return rows


def _table(names: tuple[str, ...], rows: list[Any]) -> list[str]:
    if not rows:
        return []
    lines = [names, tuple("---" for _ in names), *rows]
    return [f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines] + [""]


def _cell(text: str) -> str:
    """Text that stays text in Markdown: names come from files that anybody may have written."""
    flat = " ".join(text.split())
    for mark in "\\`*_[]<>|#":
        flat = flat.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return flat
