"""Parity plot: predicted against measured, with what the errors come to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, figures, states, tables
from dashboard.client import Document
from dashboard.profiles import comparison
from dashboard.profiles.comparison import Quantity

BAND = 0.2
"""Half-width of the band around equality: what the field calls a good prediction."""

HEIGHT_PX = 440

COLOURED_BY = {"origin": "Origin", "GPU": "GPU"}


def show(found: Document, name: str, quantity: Quantity, coloured_by: str) -> None:
    """All that was found of one quantity; ``name`` is its name for people."""
    errors = found.get(quantity.field)
    rows = comparison.points(found, quantity)
    if not rows or errors is None:
        states.empty("No row could be predicted", "The table below says why, row by row.")
        _not_predicted(found)
        return
    _figures(name, errors, found["rows"])
    title = f"{name}: mean error {errors['mape']:.1%}, median {errors['median_ape']:.1%}"
    charts.show(
        plot(rows, quantity, coloured_by, title), rows, f"parity of {name}",
        f"Predicted against measured {name}, {len(rows):,} rows: the mean error is {errors['mape']:.1%}, "
        f"{errors['coverage']:.0%} of the rows lie inside their 90% interval.",
    )  # fmt: skip
    left_out = found["left_out"].get("predictions", 0)
    if left_out:
        st.text(f"{len(rows):,} points are drawn, {left_out:,} more are counted in the errors alone.")
    for note in found["notes"]:
        st.text(note)
    by_pair, by_origin, by_fold, others = st.tabs(["By model and GPU", "By origin", "By what was left out",
                                                   f"Not predicted ({len(found['unpredicted']):,})"])  # fmt: skip
    with by_pair:
        tables.show(comparison.broken_down(found["groups"], ("model", "gpu"), quantity.field), "errors by pair")
    with by_origin:
        tables.show(comparison.broken_down(found["origins"], ("origin",), quantity.field), "errors by origin")
    with by_fold:
        tables.show(comparison.broken_down(found["folds"], ("held_out",), quantity.field), "errors by fold")
        if not found["folds"]:
            st.text("Nothing was left out: all was predicted from what is stored.")
    with others:
        _not_predicted(found)


def plot(rows: Sequence[dict[str, Any]], quantity: Quantity, coloured_by: str, title: str) -> charts.Layers:
    """Points on logarithmic axes, the line of equality and a band around it; shapes tell the origin."""
    measured, predicted = f"Measured {quantity.unit}", f"Predicted {quantity.unit}"
    values = [row[measured] for row in rows] + [row[predicted] for row in rows]
    domain = [min(values) / 1.2, max(values) * 1.2]
    scale = alt.Scale(type="log", domain=domain, nice=False)
    x = alt.X("at:Q", scale=scale, title=f"{measured} (log)")
    ends = pd.DataFrame([{"at": v, "low": v * (1 - BAND), "high": v * (1 + BAND)} for v in domain])
    band = alt.Chart(ends).mark_area(opacity=0.15, color="#888888", clip=True).encode(
        x=x, y=alt.Y("low:Q", scale=scale), y2="high:Q")  # fmt: skip
    equal = alt.Chart(ends).mark_line(color="#888888", clip=True).encode(x=x, y=alt.Y("at:Q", scale=scale))
    field = COLOURED_BY[coloured_by]
    dots = alt.Chart(pd.DataFrame(rows)).mark_point(filled=True, size=45, opacity=0.75).encode(
        x=alt.X(f"{measured}:Q", scale=scale, title=f"{measured} (log)"),
        y=alt.Y(f"{predicted}:Q", scale=scale, title=f"{predicted} (log)"),
        color=alt.Color(f"{field}:N", scale=charts.colours([row[field] for row in rows]),
                        legend=alt.Legend(orient="bottom")),
        shape=alt.Shape("Origin:N", legend=None if field != "Origin" else alt.Undefined),
        tooltip=[alt.Tooltip(f"{name}:N") for name in rows[0]],
    )  # fmt: skip
    return alt.layer(band, equal, dots).properties(height=HEIGHT_PX, title=title)


def _figures(name: str, errors: Document, num_rows: int) -> None:
    with figures.wall(4):
        figures.figure("Mean error", figures.percent(errors["mape"], 1),
                       f"mean of |predicted / measured − 1| of {name} over {num_rows:,} measured rows")  # fmt: skip
        figures.figure("Median error", figures.percent(errors["median_ape"], 1), "half of the rows are closer")
        figures.figure("90th percentile", figures.percent(errors["p90_ape"], 1), "nine of ten rows are closer")
        figures.figure("Inside the interval", figures.percent(errors["coverage"]),
                       "rows that lie inside the 90% interval of their own prediction: 90% would be right")  # fmt: skip


def _not_predicted(found: Document) -> None:
    rows = [{"Row": f"{row['row']:,}", "Why": row["reason"]} for row in found["unpredicted"]]
    if not rows:
        st.text("Every row was predicted.")
    tables.show(rows, "rows not predicted")
