"""The hours of a planned day: the demand that was forecast and planned for, and the fleet that is rented."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from zoneinfo import ZoneInfo

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.client import Document
from dashboard.tables import Row

TOP = alt.Legend(orient="top", title=None, labelLimit=320)
HOUR = alt.Tooltip("hour:T", format="%a %H:%M", title="hour")


def show(report: Document) -> None:
    """Demand and fleet by the hour; nothing where the night has no hours."""
    if not report["hours"]:
        return
    _demand(report, demand(report))
    _fleet(report, fleet(report))


def demand(report: Document) -> list[Row]:
    """Each hour and service: requests/s that are planned for, and the median of their forecast."""
    zone = ZoneInfo(report["time_zone"])
    medians = {d["service"]: d["week_ahead_requests_per_s"] for d in report["demand"]}
    return [
        {
            "hour": _local(hour["start"], zone),
            "service": service,
            "planned requests/s": rate,
            "median requests/s": medians[service][i] if i < len(medians.get(service, ())) else None,
        }
        for i, hour in enumerate(report["hours"])
        for service, rate in hour["planned_requests_per_s"].items()
    ]


def fleet(report: Document) -> list[Row]:
    """Each hour and offer: instances, and what all instances of that hour cost."""
    zone = ZoneInfo(report["time_zone"])
    return [
        {
            "hour": _local(hour["start"], zone),
            "offer": f"{one['instance_type']} {one['market'].replace('_', ' ')}",
            "where": f"{one['provider']} {one['region']}",
            "instances": one["instances"],
            "all instances ($)": hour["usd"],
        }
        for hour in report["hours"]
        for one in hour["fleet"]
    ]


def _demand(report: Document, rows: list[Row]) -> None:
    planned = f"planned for (p{100 * report['quantile']:g})"
    lines = ((planned, "planned requests/s"), ("median forecast", "median requests/s"))
    how = {d["service"]: f"{d['method']}, errors of {d['num_origins']} earlier nights" for d in report["demand"]}
    data = pd.DataFrame(
        {
            "hour": row["hour"],
            "service": row["service"],
            "demand": line,
            "requests/s": row[column],
            "forecast by": how.get(row["service"], "the rate of its spec"),
        }
        for row in rows
        for line, column in lines
        if row[column] is not None
    )
    chart = (
        alt.Chart(data)
        .mark_line(interpolate="step-after", strokeWidth=2)
        .encode(
            x=_hours(report),
            y=alt.Y("requests/s:Q", title="demand (requests/s)", scale=alt.Scale(zero=True)),
            color=alt.Color("service:N", scale=charts.colours(list(data["service"])), legend=_legend(data["service"])),
            strokeDash=alt.StrokeDash("demand:N", sort=[planned, "median forecast"], legend=_legend(data["demand"])),
            tooltip=[HOUR, "service:N", "demand:N", alt.Tooltip("requests/s:Q", format=".3g"), "forecast by:N"],
        )
        .properties(height=charts.HEIGHT_PX * 0.8)
    )
    most = max(rows, key=lambda row: row["planned requests/s"])
    least = min(rows, key=lambda row: row["planned requests/s"])
    says = (
        f"Demand that is planned for by the hour on {report['date']}: from {least['planned requests/s']:.3g} to "
        f"{most['planned requests/s']:.3g} requests/s, busiest at {most['hour'][11:]}."
    )
    st.markdown("### Demand")
    charts.show(chart, rows, f"demand of {report['service']}", says)


def _fleet(report: Document, rows: list[Row]) -> None:
    st.markdown("### Fleet")
    if not rows:
        st.markdown("Nothing is rented in these hours.")
        return
    data = pd.DataFrame(rows)
    chart = (
        alt.Chart(data)
        .mark_bar(binSpacing=1)
        .encode(
            x=_hours(report).timeUnit("yearmonthdatehours"),
            y=alt.Y("instances:Q", title="instances rented", axis=alt.Axis(tickMinStep=1, format="d")),
            color=alt.Color("offer:N", scale=charts.colours(list(data["offer"])), legend=TOP),
            tooltip=[HOUR, "offer:N", "where:N", "instances:Q", alt.Tooltip("all instances ($):Q", format="$.2f")],
        )
        .properties(height=charts.HEIGHT_PX * 0.7)
    )
    usd = sum(hour["usd"] for hour in report["hours"])
    most = max(sum(one["instances"] for one in hour["fleet"]) for hour in report["hours"])
    says = f"Instances rented by the hour: at most {most} at once, ${usd:,.2f} for {len(report['hours'])} hours."
    charts.show(chart, rows, f"fleet of {report['service']}", says)


def _hours(report: Document) -> alt.X:
    return alt.X("hour:T", title=f"hour ({report['time_zone']})", axis=alt.Axis(format="%a %H:%M", labelOverlap=True))


def _legend(names: Iterable[str]) -> alt.Legend | None:
    return TOP if len(set(names)) > 1 else None


def _local(start: str, zone: ZoneInfo) -> str:
    """The local time of an hour, without its zone: charts would move it to the reader's."""
    return dt.datetime.fromisoformat(start).astimezone(zone).replace(tzinfo=None).isoformat(timespec="minutes")
