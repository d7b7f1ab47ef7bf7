"""The load of every GPU in every layer, before and after, and the balance of each layer."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.client import Client, Document
from dashboard.experts.headline import NAMES

HOTTEST = 2.0
"""Loads from here on have the same colour, in mean GPU loads."""

AROUND_PX = 215
"""Height of title, axis and legend of a heatmap."""

MOST_CELLS = 20_000
"""Of one heatmap; beyond, the hottest layers are shown."""


def show(client: Client, plan: Document) -> None:
    """Heatmaps side by side, then a line per placement."""
    found = client.get(f"/v1/plans/{plan['id']}/loads")
    placements = {p["name"]: p for p in found["placements"]}
    layers = shown_layers(found)
    before = st.segmented_control(
        "Compare with", [name for name in NAMES if name in placements and name != "plan"], default=_first(placements),
        format_func=NAMES.__getitem__, key="compare_load", bind="query-params", required=True,
    ) or _first(placements)  # fmt: skip
    if len(layers) < len(found["layers"]):
        st.caption(f"The {len(layers)} layers that are balanced worst, of {len(found['layers'])}.")
    rows = [
        {"placement": NAMES[name], "layer": found["layers"][i], "GPU": gpu, "load": load}
        for name in (before, "plan") for i in layers
        for gpu, load in enumerate(placements[name]["gpu_loads"][i])
    ]  # fmt: skip
    _heatmaps(rows, [NAMES[before], NAMES["plan"]])
    st.subheader("Balance of each layer")
    _balance(found["layers"], placements)


def shown_layers(found: Document) -> list[int]:
    """Places in ``found["layers"]`` of those that a heatmap has room for, in order."""
    plan = next(p for p in found["placements"] if p["name"] == "plan")
    most = max(1, MOST_CELLS // len(plan["gpu_loads"][0]))
    worst = sorted(range(len(found["layers"])), key=lambda i: plan["balancedness"][i])[:most]
    return sorted(worst)


def _first(placements: Document) -> str:
    return "current" if "current" in placements else "default"


def _heatmaps(rows: list[Document], titles: list[str]) -> None:
    num_layers = len({row["layer"] for row in rows})
    cells = alt.Chart(pd.DataFrame(rows)).mark_rect().encode(
        x=alt.X("GPU:O", axis=alt.Axis(labelOverlap=True, labelAngle=0)),
        y=alt.Y("layer:O", axis=alt.Axis(labelOverlap=True)),
        color=alt.Color("load:Q", title="load, in mean GPU loads",
                        scale=alt.Scale(scheme=charts.SEQUENTIAL, domain=[0, HOTTEST], clamp=True),
                        legend=alt.Legend(orient="bottom", gradientLength=220, titleLimit=260)),
        tooltip=["placement:N", "layer:O", "GPU:O", alt.Tooltip("load:Q", format=".3f", title="load (mean = 1)")],
    ).properties(height=min(AROUND_PX + max(16 * num_layers, 60), 640), width="container")  # fmt: skip
    columns = st.columns(2)
    for column, title in zip(columns, titles, strict=True):
        hottest = max(row["load"] for row in rows if row["placement"] == title)
        with column:
            charts.show(
                cells.transform_filter(alt.datum.placement == title).properties(title=title),
                [row for row in rows if row["placement"] == title], f"load with {title}",
                f"Load of every GPU in {num_layers} layers with {title}: the hottest has {hottest:.2f} times the mean.",
            )  # fmt: skip


def _balance(layers: list[int], placements: dict[str, Document]) -> None:
    rows = [
        {"layer": layer, "placement": NAMES[name], "balancedness": balance}
        for name in NAMES if name in placements
        for layer, balance in zip(layers, placements[name]["balancedness"], strict=True)
    ]  # fmt: skip
    names = [NAMES[name] for name in NAMES if name in placements]
    legend = alt.Legend(orient="bottom", title=None, symbolStrokeWidth=0)
    chart = alt.Chart(pd.DataFrame(rows)).mark_line(point=True).encode(
        x=alt.X("layer:O", axis=alt.Axis(labelOverlap=True, labelAngle=0)),
        y=alt.Y("balancedness:Q", title="balancedness (1: even)", scale=alt.Scale(zero=False)),
        color=alt.Color("placement:N", scale=charts.colours(names), legend=legend),
        strokeDash=alt.StrokeDash("placement:N", legend=None), shape=alt.Shape("placement:N", legend=legend),
        tooltip=["layer:O", "placement:N", alt.Tooltip("balancedness:Q", format=".4f")],
    ).properties(height=charts.HEIGHT_PX)  # fmt: skip
    worst = min(placements["plan"]["balancedness"])
    charts.show(chart, rows, "balancedness by layer",
                f"Balancedness of each layer by placement; the worst layer of this plan has {worst:.3f}.")  # fmt: skip
