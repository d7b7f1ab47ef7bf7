"""What the mix costs against traffic and against each latency limit: the same spec planned at several values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, figures, replanning, tables
from dashboard.client import Client, Document
from dashboard.serving import workload

RATE_FACTORS = (0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4)
"""Times the rate: what a quiet night and a good year may bring."""

LIMIT_FACTORS = (0.4, 0.55, 0.7, 0.85, 1, 1.25, 1.6, 2)
"""Times a latency limit."""

POINT_S = 5.0
"""Time limit of each point."""

_LIMITS = {"ttft_ms": "TTFT limit, ms", "tpot_ms": "TPOT limit, ms", "e2e_ms": "end-to-end limit, ms"}


@dataclass(frozen=True)
class Axis:
    """What is varied: its name with the unit, the path in the spec, its values there, and as numbers to plot."""

    label: str
    path: str
    values: tuple[Any, ...]
    numbers: tuple[float, ...]
    now: float


def axes(spec: Document, index: int) -> dict[str, Axis]:
    """What can be varied of the service at ``index``, by label."""
    service = spec["services"][index]
    rate = workload.requests_per_s(service["workload"])
    found = []
    if rate:
        field = "buckets[*].requests_per_s" if service["workload"].get("buckets") else "requests_per_s"
        times = tuple({"times": factor} for factor in RATE_FACTORS)
        numbers = tuple(rate * factor for factor in RATE_FACTORS)
        found.append(Axis("requests/s", f"services[{index}].workload.{field}", times, numbers, rate))
    for name, label in _LIMITS.items():
        limit = (service.get("slo") or {}).get(name)
        if limit:
            numbers = tuple(float(f"{limit * factor:.4g}") for factor in LIMIT_FACTORS)
            found.append(Axis(label, f"services[{index}].slo.{name}", numbers, numbers, limit))
    return {axis.label: axis for axis in found}


def show(client: Client, plan: Document, index: int) -> None:
    """Choose an axis, ask for its curve, see it."""
    choices = axes(plan["spec"], index)
    if not choices:
        st.info("This service has neither traffic nor a latency limit to vary.", icon=":material/info:")
        return
    labels = list(choices)
    label = st.segmented_control("Cost against", labels, default=labels[0], key="curve", bind="query-params",
                                 required=True)  # fmt: skip
    axis = choices.get(label, choices[labels[0]])
    vary = [{"path": axis.path, "values": list(axis.values)}]
    body = {"kind": "serving", "spec": plan["spec"], "vary": vary, "time_limit_s": POINT_S}
    if not replanning.is_kept(client, "/v1/sweeps", body):
        st.markdown(f"Plans {len(axis.values)} times, which takes some seconds.")
        if not st.button("Draw the curve", key="draw_curve", icon=":material/show_chart:"):
            return
    answer = replanning.answer(client, "/v1/sweeps", body, "Planning along the curve")
    _draw(points(answer, axis), axis)


def points(answer: Document, axis: Axis) -> list[Document]:
    """A row for each point; one that cannot be planned has no numbers but says so."""
    return [
        {
            axis.label: float(f"{number:.4g}"),
            "$/h": row["figures"].get("usd_per_hour"),
            "$ per million tokens": row["figures"].get("usd_per_million_tokens"),
            "power": figures.watts(row["figures"].get("power_w")),
            "kg CO2/h": row["figures"].get("kg_co2_per_hour"),
            "outcome": row["outcome"],
            "mix": row["error"] or row["headline"].partition(": ")[2].rpartition(" for $")[0] or "–",
        }
        for number, row in zip(axis.numbers, answer["rows"], strict=True)
    ]


def _draw(rows: list[Document], axis: Axis) -> None:
    plotted = [
        {"at": row[axis.label], "cost": row["$/h"], "power": row["power"], "outcome": row["outcome"], "mix": row["mix"]}
        for row in rows
    ]
    x = alt.X("at:Q", scale=alt.Scale(nice=False, zero=False, padding=14), title=axis.label)
    tips = [
        alt.Tooltip("at:Q", title=axis.label, format=",.4g"), alt.Tooltip("cost:Q", title="$/h", format=",.2f"),
        alt.Tooltip("power:N"), alt.Tooltip("outcome:N"), alt.Tooltip("mix:N"),
    ]  # fmt: skip
    planned = pd.DataFrame([row for row in plotted if row["cost"] is not None], columns=list(plotted[0]))
    line = alt.Chart(planned).mark_line(
        color=charts.COLOURS[0], point=alt.OverlayMarkDef(size=80, color=charts.COLOURS[0]),
    ).encode(x=x, y=alt.Y("cost:Q", title="cost, $/h"), tooltip=tips)  # fmt: skip
    layers = [line, charts.limit_line(axis.now, "now", axis="x")]
    if len(planned) < len(plotted):
        unplanned = pd.DataFrame([row for row in plotted if row["cost"] is None])
        cross = alt.Chart(unplanned).mark_text(text="✕ no plan", color=charts.LIMIT_COLOUR, angle=270, align="left")
        layers.append(cross.encode(x=x, y=alt.value(charts.HEIGHT_PX - 80), tooltip=tips))
    said = ", ".join(f"{row['at']:,.4g}: {_cost(row)}" for row in plotted)
    chart = alt.layer(*layers).properties(height=charts.HEIGHT_PX)
    charts.show(chart, rows, f"cost against {axis.label}", f"Cost against {axis.label}. {said}.")
    tables.show(rows, name=f"cost by {axis.label}", about={"$/h": "of the best mix at this value"})


def _cost(row: Document) -> str:
    return "no plan" if row["cost"] is None else figures.usd(row["cost"], "h")
