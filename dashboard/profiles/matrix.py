"""What is measured: models against GPU types, by number, age and error."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, figures
from dashboard.client import Document
from dashboard.profiles.columns import KINDS
from dashboard.profiles.facts import age

SHADES = {"number": "Measurements", "age": "Months since the newest", "error": "Mean error %"}
"""What a cell can be shaded by, with the unit."""

ERRORS_OF = "TPOT"
"""The quantity whose errors the matrix shows."""

KINDS_OF_PAIRS = ("measurements", "training-measurements", "layer-measurements", "rate-profiles")
"""Facts about a model on a GPU type."""

ROW_PX, AROUND_PX, MOST_LABEL_PX = 20, 150, 170
"""Of the chart: the height of a model's row and of what is above and below all rows; the width of a model's name."""

MONTH_DAYS = 30.4

Row = dict[str, str | int | float | None]


def headline(cells: Sequence[Document], num: Mapping[str, int], today: dt.date) -> None:
    """How much is known, in four numbers."""
    num_measured = sum(sum(cell["num"].values()) for cell in cells)
    gpus = {cell["gpu"] for cell in cells}
    with figures.wall(4):
        figures.figure("Measurements", f"{num_measured:,}", "rows of a model on a GPU type: serving, training, layers, "
                       "rates; each with its source and date below")  # fmt: skip
        figures.figure("Models × GPU types", f"{len(cells):,}", "pairs with at least one measurement; for other pairs "
                       "predictions come from datasheets or from other GPUs, and say so")  # fmt: skip
        figures.figure("GPU types measured", f"{len(gpus)} of {num['gpus']}", "of the GPU types in the catalogue")
        newest = max((cell["newest"] for cell in cells), default=None)
        figures.figure("Newest", age(newest, today) if newest else "–", f"age of the newest measurement ({newest})")


def rows(cells: Sequence[Document], errors: Mapping[tuple[str, str], float], today: dt.date) -> list[Row]:
    """One row per model and GPU type; ``errors`` are mean errors of TPOT as fractions, by model and GPU type."""
    found: list[Row] = []
    for cell in cells:
        error = errors.get((cell["model"], cell["gpu"]))
        found.append({
            "Model": cell["model"],
            "GPU": cell["gpu"],
            "Measurements": sum(cell["num"].values()),
            "Kinds": ", ".join(f"{num:,} {KINDS[kind].title.lower()}" for kind, num in cell["num"].items()),
            "GPUs of a replica": ", ".join(map(str, cell["num_gpus"])),
            "Precisions": ", ".join(cell["precisions"]) or "–",
            "Engines": ", ".join(cell["engines"]) or "–",
            "Newest": cell["newest"],
            "Months since the newest": round((today - dt.date.fromisoformat(cell["newest"])).days / MONTH_DAYS),
            "Mean error %": None if error is None else round(100 * error, 1),
            "Sources": "; ".join(cell["sources"]),
        })  # fmt: skip
    return found


def kinds(cells: Sequence[Document], model: str | None, gpu: str | None) -> list[str]:
    """Of which kinds there is something about a model on a GPU type (None: any)."""
    chosen = [cell for cell in cells if model in (None, cell["model"]) and gpu in (None, cell["gpu"])]
    found = {kind for cell in chosen for kind in cell["num"]}
    return [kind for kind in KINDS_OF_PAIRS if kind in found] or [KINDS_OF_PAIRS[0]]


def heatmap(found: Sequence[Row], shade: str) -> None:
    """The matrix. ``shade`` is one of ``SHADES``; cells without a value are left blank."""
    field = SHADES[shade]
    shown = [row for row in found if row[field] is not None]
    if not shown:
        st.info("No prediction of a measured pair was compared yet.")
        return
    counted = shade == "number"  # the more the brighter; of age and error the less
    scale = alt.Scale(scheme=charts.SEQUENTIAL, type="log" if counted else "linear", reverse=not counted)
    values = [float(row[field] or 0) for row in shown]
    middle = (max(values) * min(values)) ** 0.5 if counted else (max(values) + min(values)) / 2
    on_dark = alt.datum[field] < middle if counted else alt.datum[field] > middle
    base = alt.Chart(pd.DataFrame(shown)).encode(
        x=alt.X("GPU:N", title="GPU type", axis=alt.Axis(orient="top", labelAngle=-45, labelOverlap=False)),
        y=alt.Y("Model:N", title=None, sort=alt.EncodingSortField("Measurements", op="sum", order="descending"),
                axis=alt.Axis(labelExpr="split(datum.label, '/')[1] || datum.label", labelLimit=MOST_LABEL_PX,
                              labelOverlap=False, labelFlush=False)),
        tooltip=[alt.Tooltip(f"{name}:N") for name in shown[0]],
    )  # fmt: skip
    chart = alt.layer(
        base.mark_rect().encode(color=alt.Color(f"{field}:Q", scale=scale, legend=alt.Legend(orient="bottom"))),
        base.mark_text(fontSize=11).encode(
            text=alt.Text(f"{field}:Q", format=",.3~g" if shade == "error" else ",d"),
            color=alt.condition(on_dark, alt.value("white"), alt.value("black")),
        ),
    ).properties(height=ROW_PX * len({row["Model"] for row in shown}) + AROUND_PX)
    charts.show(chart, shown, f"measured by {shade}", _says(shown, field))


def _says(shown: Sequence[Row], field: str) -> str:
    most = max(shown, key=lambda row: float(row[field] or 0))
    return (
        f"Heatmap of {len({row['Model'] for row in shown})} models against {len({row['GPU'] for row in shown})} GPU "
        f"types, shaded by {field.lower()}: {len(shown)} pairs are measured; the most is {most[field]:,} for "
        f"{most['Model']} on {most['GPU']}."
    )
