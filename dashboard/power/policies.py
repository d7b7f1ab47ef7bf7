"""Servers against risk, policies against each other, and how much hangs on what nobody measured."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, figures, states, tables
from dashboard.client import Document

LATER = "Give it a longer time limit: this comes after the number of servers is proven."


def risk(plan: Document) -> None:
    """How much slower the least important class gets with more servers."""
    first = plan["spec"]["priorities"][0]
    points = [*plan["pareto"], plan["judged"]]
    if len(points) < 2:
        states.empty("No other numbers of servers were simulated.", LATER)
        return
    rows = [
        {"servers": p["num_servers"], "slowdown": p["slowdown"].get(first["name"], {}).get("p99", 0.0),
         "confidence": p["confidence"], "holds": "keeps the promise" if p["holds"] else "does not",
         "policy": p["policy"]}
        for p in points
    ]  # fmt: skip
    base = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("servers:Q", scale=alt.Scale(zero=False), axis=alt.Axis(tickMinStep=1)),
        y=alt.Y("slowdown:Q", title=f"slowdown p99 of {first['name']}", axis=alt.Axis(format="%")),
        tooltip=["servers:Q", alt.Tooltip("slowdown:Q", format=".2%"), alt.Tooltip("confidence:Q", format=".2%"),
                 "policy:N"],
    )  # fmt: skip
    dots = base.mark_point(size=90, filled=True).encode(
        color=alt.Color("holds:N", scale=charts.colours(["keeps the promise", "does not"]), title=None),
        shape=alt.Shape("holds:N", title=None),
    )
    limit = charts.limit_line(first["max_slowdown_p99"], "limit")
    drawn = alt.layer(base.mark_line(color=charts.COLOURS[7]), dots, limit).properties(height=charts.HEIGHT_PX)
    charts.show(drawn, rows,
                "servers against slowdown", "Slowdown of the least important class by number of servers.")  # fmt: skip


def compared(plan: Document) -> None:
    """The same number of servers under other policies."""
    if not plan["baselines"]:
        states.empty("No other policies were simulated.", LATER)
        return
    rows = [
        {
            "policy": ("this plan: " if one is plan["judged"] else "") + one["policy"],
            "servers": one["num_servers"],
            "holds": one["holds"],
            "brakes": one["num_brakes"],
            "peak": figures.cell(figures.percent(one["peak_utilisation"], 1), "of the budget", "simulated"),
            "confidence": figures.percent(one["confidence"], 2),
            "why not": "; ".join(one["why_not"]) or None,
        }
        for one in (plan["judged"], *plan["baselines"])
    ]  # fmt: skip
    bars = [{"policy": r["policy"], "peak": one["peak_utilisation"], "brakes": one["num_brakes"]}
            for r, one in zip(rows, (plan["judged"], *plan["baselines"]), strict=True)]  # fmt: skip
    chart = alt.Chart(pd.DataFrame(bars)).mark_bar(color=charts.COLOURS[0]).encode(
        y=alt.Y("policy:N", title=None, sort=None, axis=alt.Axis(labelLimit=260)),
        x=alt.X("peak:Q", title="peak power, share of the budget", axis=alt.Axis(format="%")),
        tooltip=["policy:N", alt.Tooltip("peak:Q", format=".1%"), "brakes:Q"],
    )  # fmt: skip
    charts.show(alt.layer(chart, charts.limit_line(1.0, "budget", "x")).properties(height=60 + 40 * len(bars)), bars,
                "peak power by policy", "Peak power of the same row under each policy.")  # fmt: skip
    tables.show(rows, name="policies compared", about={
        "brakes": "emergency brakes in all simulated weeks", "confidence": "that the promised weeks hold",
    })  # fmt: skip


def sensitivity(plan: Document) -> None:
    """How the number of servers hangs on what nobody measured."""
    rows: list[dict[str, Any]] = [
        {"assumption": s["assumption"], "end": end, "value": f"{s['values'][end]:,.4g} {s['unit']}",
         "servers": s["num_servers"][end], "uncapped peak": s["natural_peak_utilisation"][end]}
        for s in plan["sensitivity"] for end in ("low", "middle", "high") if s["values"][end] is not None
    ]  # fmt: skip
    if not rows:
        states.empty("Nothing is assumed in a range, or there was no time to vary it.", LATER)
    else:
        known = [row for row in rows if row["servers"] is not None]
        chart = alt.Chart(pd.DataFrame(known)).encode(
            y=alt.Y("assumption:N", title=None, axis=alt.Axis(labelLimit=260)),
            x=alt.X("servers:Q", scale=alt.Scale(zero=False), title="servers that can be promised"),
            tooltip=["assumption:N", "end:N", "value:N", "servers:Q", alt.Tooltip("uncapped peak:Q", format=".1%")],
        )  # fmt: skip
        drawn = alt.layer(chart.mark_line(color=charts.COLOURS[7], strokeWidth=6, opacity=0.4),
                          chart.mark_point(filled=True, size=90).encode(
                              shape=alt.Shape("end:N", title=None, legend=alt.Legend(orient="bottom"))))  # fmt: skip
        charts.show(drawn.properties(height=90 + 40 * len(plan["sensitivity"])), rows, "sensitivity",
                    "Servers that can be promised over the range of each assumption.")  # fmt: skip
    _stress(plan["stress"])


def _stress(events: list[Document]) -> None:
    if not events:
        return
    st.subheader("When something goes wrong")
    rows = [
        {"event": one["event"], "brakes": one["num_brakes"], "peak": figures.percent(one["peak_utilisation"], 1),
         "over budget": f"{one['seconds_over_budget']:,.0f} s", "what happens": one["outcome"]}
        for one in events
    ]  # fmt: skip
    tables.show(rows, name="stress events", about={"over budget": "seconds of the stress day", "peak": "of the budget"})
