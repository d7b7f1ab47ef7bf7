"""Row power through the worst simulated day, with the thresholds of the policy and what was capped when."""

from __future__ import annotations

from itertools import groupby

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, states
from dashboard.client import Document

CAPPED_COLOURS = ("#E69F00", "#D55E00", "#CC79A7", "#8C8C00", "#009E73", "#56B4E9", "#0072B2", "#808080")
"""Of the steps of a policy, the lowest first; each span is labelled too."""


def show(plan: Document) -> None:
    """The day as lines over shaded spans."""
    trace = plan["trace"]
    if not trace:
        states.empty("There is no day to show.", "The time limit ended the simulation before one was kept.")
        return
    rows = [
        {"hour": minute["second"] / 3600, "power": minute[name], "which": which, "step": minute["step"]}
        for minute in trace
        for name, which in (("utilisation", "with capping"), ("uncapped_utilisation", "uncapped"))
    ]  # fmt: skip
    order = ["with capping", "uncapped"]
    legend = alt.Legend(orient="bottom", title=None, columns=1)
    lines = alt.Chart(pd.DataFrame(rows)).mark_line(strokeWidth=1.5).encode(
        x=alt.X("hour:Q", title="hour of the worst simulated day", scale=alt.Scale(domain=[0, 24])),
        y=alt.Y("power:Q", title="row power, share of the budget", axis=alt.Axis(format="%"),
                scale=alt.Scale(zero=False)),
        color=alt.Color("which:N", sort=order, legend=legend,
                        scale=alt.Scale(domain=order, range=[charts.COLOURS[0], charts.COLOURS[7]])),
        strokeDash=alt.StrokeDash("which:N", sort=order, legend=None),
        tooltip=[alt.Tooltip("hour:Q", format=".2f"), "which:N", alt.Tooltip("power:Q", format=".1%"), "step:O"],
    )  # fmt: skip
    layers: list[alt.Chart | charts.Layers] = [lines]
    spans = capped(trace)
    if spans:
        layers.insert(0, alt.Chart(pd.DataFrame(spans)).mark_rect(opacity=0.18).encode(
            x="from:Q", x2="to:Q",
            color=alt.Color("caps:N", legend=legend, scale=alt.Scale(
                domain=sorted({s["caps"] for s in spans}), range=list(CAPPED_COLOURS))),
            tooltip=["caps:N", alt.Tooltip("from:Q", format=".2f"), alt.Tooltip("to:Q", format=".2f")],
        ))  # fmt: skip
    limits = [*thresholds(plan), (1.0, "budget")]
    layers += [charts.limit_line(at, name) for at, name in limits]
    chart = alt.layer(*layers).resolve_scale(color="independent").properties(height=380)
    peak, hours = max(m["utilisation"] for m in trace), sum(s["to"] - s["from"] for s in spans)
    charts.show(chart, [{"second": m["second"], "utilisation": m["utilisation"],
                         "uncapped_utilisation": m["uncapped_utilisation"], "step": m["step"]} for m in trace],
                "row power", f"Row power through the worst simulated day: at most {peak:.1%} of the budget, "
                f"capped for {hours:.1f} hours. {', '.join(f'{name} is at {at:.0%}' for at, name in limits)}.",
                )  # fmt: skip
    st.caption("Shaded: caps in force, by step of the policy. Dashed: thresholds, and the budget.")


def thresholds(plan: Document) -> list[tuple[float, str]]:
    """Share of the budget and name of each threshold, the lowest first."""
    policy = plan["policy"] or {"steps": []}
    at = sorted({step["at"] for step in policy["steps"]})
    return [(share, f"T{i + 1}") for i, share in enumerate(at)]


def capped(trace: list[Document]) -> list[Document]:
    """Spans with one step in force, in hours."""
    spans = []
    bin_s = trace[1]["second"] - trace[0]["second"] if len(trace) > 1 else 60
    for step, minutes in groupby(trace, key=lambda minute: minute["step"]):
        seconds = [minute["second"] for minute in minutes]
        if step:
            spans.append({"caps": f"step {step}", "from": seconds[0] / 3600, "to": (seconds[-1] + bin_s) / 3600})
    return spans
