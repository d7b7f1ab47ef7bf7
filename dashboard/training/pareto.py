"""Time against money or energy: which configurations nothing beats, and the others around them."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.client import Document
from dashboard.training import words

COSTS = {"money": ("usd_to_train", "USD to train"), "energy": ("kwh", "kWh to train")}

FRONT, RANKED, SIZES = "none is better in all", "ranked", "other numbers of nodes"
SHAPES = {FRONT: "diamond", RANKED: "circle", SIZES: "triangle-up"}


def show(plan: Document, chosen: Document) -> None:
    """The chart, and what is on it."""
    left, right = st.columns([1, 2])
    cost = left.segmented_control("Time against", tuple(COSTS), default="money", required=True, key="against",
                                  bind="query-params") or "money"  # fmt: skip
    on_it = right.pills("Show", tuple(SHAPES), selection_mode="multi", default=list(SHAPES), key="points",
                        bind="query-params")  # fmt: skip
    found = points(plan, cost, tuple(on_it))
    if not found:
        st.info("Nothing to draw: choose what to show, or another cost; without a price there are no USD.")
        return
    charts.show(_chart(found, cost, point(chosen, "chosen", cost)), found, "time and money", says(found, cost))


def points(plan: Document, cost: str, on_it: tuple[str, ...]) -> list[dict[str, Any]]:
    """One row for each configuration that has this cost; one that is on the front counts as that only."""
    groups = ((FRONT, plan["pareto"]), (RANKED, plan["ranked"]),
              (SIZES, [e["configuration"] for e in plan["elastic"] if e["configuration"]]))  # fmt: skip
    found: dict[tuple[float, float], dict[str, Any]] = {}
    for name, configurations in groups:
        for c in configurations if name in on_it else ():
            if c[COSTS[cost][0]] is not None:
                found.setdefault((c["days_to_train"], c[COSTS[cost][0]]), point(c, name, cost))
    return sorted(found.values(), key=lambda one: one["days"])


def point(c: Document, of: str, cost: str) -> dict[str, Any]:
    """A configuration as a row of the chart's data."""
    return {
        "of": of, "framework": c["framework"], "configuration": words.degrees(c), "GPUs": c["num_gpus"],
        "days": c["days_to_train"], COSTS[cost][1]: c[COSTS[cost][0]], "90% within ±": c["step_error"],
        "origin": c["origin"],
    }  # fmt: skip


def says(found: list[dict[str, Any]], cost: str) -> str:
    """What the chart shows, for who cannot see it."""
    field = COSTS[cost][1]
    fastest, cheapest = found[0], min(found, key=lambda one: one[field])
    return (
        f"{len(found)} configurations by days and {field}. Fastest: {fastest['configuration']} with "
        f"{fastest['days']:.4g} days and {fastest[field]:,.0f} {field}. Least {field}: "
        f"{cheapest['configuration']} with {cheapest['days']:.4g} days and {cheapest[field]:,.0f}."
    )


def _chart(found: list[dict[str, Any]], cost: str, chosen: dict[str, Any]) -> charts.Layers:
    data, field = pd.DataFrame(found), COSTS[cost][1]
    tooltips = [
        "configuration", "framework", "GPUs", alt.Tooltip("days:Q", format=",.4g"), alt.Tooltip(field, format=",.0f"),
        alt.Tooltip("90% within ±:Q", format=".0%"), "origin", "of",
    ]  # fmt: skip
    x = alt.X("days:Q", title="Days to train", scale=alt.Scale(zero=False, nice=False, padding=20))
    y = alt.Y(f"{field}:Q", title=field, scale=alt.Scale(zero=False, padding=20), axis=alt.Axis(format="~s"))
    front = alt.Chart(data[_is_least_so_far(data, field)]).mark_line(strokeDash=[3, 3], color="#888888")
    marks = alt.Chart(data).mark_point(size=90, filled=True, opacity=0.85).encode(
        color=alt.Color("framework:N", scale=charts.colours(_FRAMEWORKS), title="Framework",
                        legend=alt.Legend(orient="bottom", columns=2)),
        shape=alt.Shape("of:N", title="", scale=alt.Scale(domain=list(SHAPES), range=list(SHAPES.values())),
                        legend=alt.Legend(orient="top", columns=2, symbolFillColor="#888888")),
        tooltip=tooltips,
    )  # fmt: skip
    ring = alt.Chart(pd.DataFrame([chosen])).mark_point(size=320, strokeWidth=2, color=charts.LIMIT_COLOUR)
    return alt.layer(front.encode(x, y), marks.encode(x, y), ring.encode(x, y, tooltip=tooltips)).properties(
        height=charts.HEIGHT_PX + 160
    )


def _is_least_so_far(data: pd.DataFrame, field: str) -> pd.Series[bool]:
    """Of the front of time, money and energy, what is on that of time and this cost alone; ``data`` is by days."""
    costs = data[field].where(data["of"] == FRONT)
    return costs < costs.cummin().ffill().shift(fill_value=float("inf"))


_FRAMEWORKS = ("fsdp", "megatron-deepspeed", "megatron-lm")
