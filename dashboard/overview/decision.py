"""One night's decision for a service: why, what it costs, and what changes."""

from __future__ import annotations

import streamlit as st

from dashboard import figures, tables
from dashboard.client import Document
from dashboard.figures import cell
from dashboard.history.words import sentence
from dashboard.overview import hours
from dashboard.overview.standing import DECISIONS
from dashboard.words import plain

MONEY = {
    "usd_keep": ("going on as before", "at today's prices; where it cannot go on, only to compare with"),
    "usd_plan": ("planned afresh", "with everything that is started on the way"),
    "usd_plan_bound": ("no plan costs less than", "a proven bound for this demand"),
    "usd_saved": ("saved by changing", "against going on as before; negative: the change costs more and had to be"),
    "usd_static_peak": ("one plan for the busiest hour", "all day: what planning by the hour is measured against"),
}
"""Fields of a report, what they are called, and what they mean."""


def show(report: Document) -> None:
    """The decision, its reasons, the day, and what changes."""
    decision = report["decision"]
    st.markdown(f"### {plain(report['service'])} on {plain(report['date'])}: {plain(decision.replace('_', ' '))}")
    meaning, reason = DECISIONS.get(decision, plain(decision)), report["reason"]
    st.markdown(f"Decided: {meaning}." if reason == meaning else f"Decided: {meaning}. {sentence(reason)}")
    _why_not(report)
    for warning in report["warnings"]:
        st.markdown(f":material/warning: {sentence(warning)}")
    hours.show(report)
    _money(report)
    _changes(report)


def _why_not(report: Document) -> None:
    problem = report["problem"] or {}
    if problem.get("fix"):
        st.markdown(f"What helps: {sentence(problem['fix'])}")
    for conflict in report["conflicts"]:
        fixes = [f"    - would do: {sentence(relaxation['detail'])}" for relaxation in conflict["relaxations"]]
        st.markdown("\n".join([f"- {sentence(conflict['detail'])}", *fixes]))


def _money(report: Document) -> None:
    span = f"US dollars in {report['horizon_days']} day(s)"
    rows = [
        {"money": name, "over the horizon": cell(figures.usd(report[field]), f"{span}; {about}")}
        for field, (name, about) in MONEY.items()
        if report[field] is not None
    ]
    if rows:
        st.markdown("### Money")
        tables.show(rows, name=f"money of {report['service']}")


def _changes(report: Document) -> None:
    rows = [
        {
            "instances": change["instance_type"],
            "where": f"{change['provider']} {change['region']}",
            "market": change["market"].replace("_", " "),
            "hours before": change["instance_hours_before"],
            "hours after": change["instance_hours_after"],
            "most at once": f"{change['most_before']} → {change['most_after']}",
        }
        for change in report["changes"]
    ]
    about = {
        "hours before": "instance-hours over the horizon, going on as before",
        "hours after": "instance-hours over the horizon, as decided",
    }
    if rows:
        st.markdown("### What changes")
        tables.show(rows, name=f"changes of {report['service']}", about=about)
