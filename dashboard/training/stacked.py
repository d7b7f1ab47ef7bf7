"""Where memory and time go: bars of the best configurations, one above the other, by part."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts
from dashboard.client import Document
from dashboard.training import words

MOST_BARS = 10
"""Of the ranking; the chosen one comes beside them."""

AROUND_PX = 170
"""Of a chart's height, for the axis and the legend below the bars."""


def memory(ranked: list[Document], row: int) -> None:
    """What the fullest GPU holds, against what it may."""
    found = [
        {**part, "limit GiB": ranked[part["row"] - 1]["memory_limit_gib"]}
        for part in parts(ranked, row, "memory", words.MEMORY_PARTS, "GiB")
    ]
    c = ranked[row]
    limit = alt.Chart(pd.DataFrame(found)).mark_tick(
        color=charts.LIMIT_COLOUR, thickness=3, height=alt.RelativeBandSize(0.9)
    ).encode(x="limit GiB:Q", y=_bars(found), tooltip=["bar", "limit GiB:Q"])  # fmt: skip
    st.markdown("The orange marks are what a GPU has, less the reserve: fuller configurations are not ranked.")
    charts.show(
        alt.layer(_chart(found, "GiB", "GiB on the fullest GPU", tuple(words.MEMORY_PARTS.values())), limit),
        found, "memory of the fullest GPU",
        f"Configuration {row + 1} holds {c['memory_gib_per_gpu']:.1f} of {c['memory_limit_gib']:g} GiB on its fullest "
        f"GPU, the most of it {_largest(found, row, 'GiB')}.",
    )  # fmt: skip
    beside = (("host memory", c["memory"]["host_gib_per_gpu"]), ("NVMe", c["memory"]["nvme_gib_per_gpu"]))
    for name, gib in beside:
        if gib > 0:
            st.markdown(f"Beside that, {gib:,.1f} GiB of {name} per GPU.")


def time(ranked: list[Document], row: int) -> None:
    """Where the time of a step goes; what computing hides is not counted."""
    found = parts(ranked, row, "parts", words.TIME_PARTS, "ms")
    c = ranked[row]
    charts.show(
        _chart(found, "ms", "ms of one step", tuple(words.TIME_PARTS.values())), found, "time of a step",
        f"Configuration {row + 1} takes {c['step_ms']:,.0f} ms a step, the most of it {_largest(found, row, 'ms')}.",
    )  # fmt: skip
    st.markdown(f"Configuration {row + 1} takes the most time, beside computing, for {c['binds']}.")


def parts(ranked: list[Document], row: int, of: str, names: Mapping[str, str], unit: str) -> list[dict[str, Any]]:
    """One row for each part of each bar that is not nothing. Bars: the best, and the chosen ``row``."""
    shown = [*range(min(len(ranked), MOST_BARS))]
    shown += [row] if row not in shown else []
    return [
        {
            "row": i + 1, "bar": f"{i + 1}{' ◀' if i == row else ''}  {words.degrees(ranked[i])}", "part": name,
            unit: ranked[i][of][field], "origin": ranked[i]["origin"] if of == "parts" else "counted from sizes",
            **({"90% of steps within ±": ranked[i]["step_error"]} if of == "parts" else {}), "order": order,
        }
        for i in shown
        for order, (field, name) in enumerate(names.items())
        if ranked[i][of][field] > 0
    ]  # fmt: skip


_THICK = alt.RelativeBandSize(0.7)


def _chart(found: list[dict[str, Any]], unit: str, title: str, names: tuple[str, ...]) -> alt.Chart:
    data = pd.DataFrame(found)
    there = [name for name in names if name in set(data["part"])]
    tooltips = ["bar", "part", alt.Tooltip(f"{unit}:Q", format=",.4g"), "origin"]
    if "90% of steps within ±" in data:
        tooltips.append(alt.Tooltip("90% of steps within ±:Q", format=".0%"))
    colours = alt.Scale(domain=there, range=[_COLOURS[names.index(name) % len(_COLOURS)] for name in there])
    chart: alt.Chart = alt.Chart(data).mark_bar(height=_THICK, stroke="white", strokeWidth=0.5).encode(
        x=alt.X(f"{unit}:Q", title=title),
        y=_bars(found),
        color=alt.Color("part:N", title="", scale=colours,
                        legend=alt.Legend(orient="bottom", columns=2, symbolStrokeWidth=0)),
        order=alt.Order("order:Q"),
        tooltip=tooltips,
    ).properties(height=AROUND_PX + 32 * len({part["bar"] for part in found}))  # fmt: skip
    return chart


def _bars(found: list[dict[str, Any]]) -> alt.Y:
    ordered = list(dict.fromkeys(part["bar"] for part in found))
    return alt.Y("bar:N", title=None, sort=ordered, axis=alt.Axis(labelLimit=220))


def _largest(found: list[dict[str, Any]], row: int, unit: str) -> str:
    best = max((part for part in found if part["row"] == row + 1), key=lambda part: float(part[unit]))
    return f"{best['part']} with {best[unit]:,.4g} {unit}"


_COLOURS = (*charts.COLOURS, "#88CCEE", "#AA4499", "#DDCC77", "#117733")
"""There are twelve parts of a step: Tol's muted colours (2018) after the shared ones."""
