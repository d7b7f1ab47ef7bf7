"""Charts: Altair, in colours that colour-blind readers can tell apart, each with its data to read and to keep."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import tables
from dashboard.tables import Row

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C8C00", "#808080")
"""Okabe and Ito (2008), without their black and yellow, which vanish on dark and light pages."""

LIMIT_COLOUR = "#D55E00"
"""Of lines that must not be crossed: SLOs, budgets, memory limits. They are dashed too: never colour alone."""

SEQUENTIAL: Final = "cividis"
"""Of heatmaps: even in lightness, and the same to colour-blind readers."""

HEIGHT_PX = 300

Layers = alt.LayerChart | alt.FacetChart
"""What ``alt.layer`` gives."""


def show(chart: alt.Chart | alt.LayerChart | alt.HConcatChart | alt.VConcatChart | alt.FacetChart, rows: Sequence[Row],
         name: str, says: str) -> None:  # fmt: skip
    """Show a chart; ``rows`` is its data, to be read as a table and saved as CSV; ``says`` is what a reader who
    cannot see it is told.
    """
    st.altair_chart(chart, width="stretch", alt=says, key=f"chart {name}")
    with st.popover("Data", icon=":material/table:"):
        tables.show(rows, name=f"data of {name}", page_rows=10)
        tables.download(rows, name.replace(" ", "_"))


def colours(names: Sequence[str]) -> alt.Scale:
    """The same name in the same colour wherever it appears among the same names."""
    domain = sorted(set(names))
    return alt.Scale(domain=domain, range=[COLOURS[i % len(COLOURS)] for i in range(len(domain))])


def limit_line(value: float, label: str, axis: str = "y") -> Layers:
    """A dashed line at a limit, with its name beside it."""
    data = pd.DataFrame({"value": [value], "label": [label]})
    line = alt.Chart(data).mark_rule(color=LIMIT_COLOUR, strokeDash=[6, 4], strokeWidth=2)
    text = alt.Chart(data).mark_text(color=LIMIT_COLOUR, align="left", dx=4, dy=-6)
    if axis == "y":
        return alt.layer(line.encode(y="value:Q"), text.encode(y="value:Q", x=alt.value(0), text="label:N"))
    return alt.layer(line.encode(x="value:Q"), text.encode(x="value:Q", y=alt.value(10), text="label:N"))
