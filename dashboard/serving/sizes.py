"""Which unit serves which request size: a heatmap, and the routes in a table."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import groupby

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, figures, tables
from dashboard.client import Document
from dashboard.serving.words import unit_name
from dashboard.serving.workload import span

MOST_CELLS = 600
"""Routes that the heatmap shows, the busiest; the table pages through all."""

MOST_LABELLED = 80
"""Cells that still have room for the name of a GPU."""

LEAST_LABELLED = 0.4
"""Share of a cell's width that a name needs."""

ALL = 0.9995
"""A share that is shown as 100%."""

ROW_PX, FRAME_PX = 40, 110
"""Height of a row of cells, and of what surrounds them."""

MOST_ROWS = 14
"""Rows with their full height and their label; more share the room."""

_TIPS = ("GPU", "input tokens", "output tokens", "unit", "rate", "TTFT", "TPOT", "E2E", "origin")

_ABOUT = {
    "unit": "GPU × how many of them; on hover also precision and engine",
    "rate": "requests/s of this size on this unit, with its share where others serve this size too",
    "TTFT": "time to the first token at the SLO's percentile, on a replica full of this size alone",
    "TPOT": "time per output token after the first, likewise",
    "E2E": "time to the last token, likewise",
    "origin": "where these rates and times are from; on hover how far off they may be",
}


def show(plan: Document, service: str) -> None:
    """The heatmap of one service and its routes."""
    routes = [route for route in plan["routing"] if route["service"] == service]
    if not routes:
        st.info("This service has no traffic to route.", icon=":material/info:")
        return
    _heatmap(routes, {a["unit"]: a["gpu"] for a in plan["allocation"]})
    st.subheader("Routing")
    tables.show([row_of(route) for route in routes], name="routing", about=_ABOUT)


def cells(routes: list[Document], gpu_of: dict[str, str]) -> list[Document]:
    """A rectangle for each route. Cells count from 0; where several units share one they lie side by side in it,
    as wide as their shares.
    """
    inputs = sorted({tuple(route["input_tokens"]) for route in routes})
    outputs = sorted({tuple(route["output_tokens"]) for route in routes})
    found = []
    ordered = sorted(routes, key=lambda r: (r["input_tokens"], r["output_tokens"], -r["fraction"]))
    for (size_in, size_out), shared in groupby(
        ordered, lambda r: (tuple(r["input_tokens"]), tuple(r["output_tokens"]))
    ):
        left = float(outputs.index(size_out))
        top = inputs.index(size_in)
        for route in shared:
            right = left + route["fraction"]
            found.append({
                "GPU": _gpus(route, gpu_of), "left": left, "right": right, "top": top, "bottom": top + 1,
                "middle": (left + right) / 2, "center": top + 0.5, **row_of(route),
            })  # fmt: skip
            left = right
    return found


def _gpus(route: Document, gpu_of: dict[str, str]) -> str:
    """The GPU; of split pools both."""
    units = (route["unit"], route["decode_unit"])
    return " → ".join(gpu_of.get(unit, unit_name(unit)) for unit in units if unit)


def _heatmap(routes: list[Document], gpu_of: dict[str, str]) -> None:
    busiest = sorted(routes, key=lambda r: -r["requests_per_s"])[:MOST_CELLS]
    if len(busiest) < len(routes):
        st.markdown(f"The {MOST_CELLS:,} busiest of {len(routes):,} routes; the table below has all.")
    found = cells(busiest, gpu_of)
    inputs, outputs = _spans(busiest, "input_tokens"), _spans(busiest, "output_tokens")
    across = alt.Scale(domain=[0, len(outputs)], nice=False)
    down = alt.Scale(domain=[len(inputs), 0], nice=False)
    base = alt.Chart(pd.DataFrame(found)).encode(
        x=alt.X("left:Q", title="output tokens", scale=across, axis=_ranges(outputs)),
        y=alt.Y("top:Q", title="input tokens", scale=down, axis=_ranges(inputs)),
        tooltip=[alt.Tooltip(f"{tip}:N") for tip in _TIPS],
    )
    colours = charts.colours([cell["GPU"] for cell in found])
    boxes = base.mark_rect(stroke="white", strokeWidth=2).encode(
        x2="right:Q",
        y2="bottom:Q",
        color=alt.Color("GPU:N", scale=colours, legend=alt.Legend(orient="top", title=None)),
    )
    layers = [boxes]
    if len(found) <= MOST_LABELLED:
        wide = base.transform_filter(alt.datum.right - alt.datum.left >= LEAST_LABELLED)
        texts = wide.mark_text(fontSize=12, fontWeight="bold", color="black")
        layers.append(texts.encode(x="middle:Q", y="center:Q", text="GPU:N"))
    height = FRAME_PX + ROW_PX * min(len(inputs), MOST_ROWS)
    data = [{name: cell[name] for name in _TIPS} for cell in found]
    charts.show(alt.layer(*layers).properties(height=height), data, "who serves which size", _says(busiest, gpu_of))


def _says(routes: list[Document], gpu_of: dict[str, str]) -> str:
    rates: dict[str, float] = defaultdict(float)
    for route in routes:
        rates[_gpus(route, gpu_of)] += route["requests_per_s"]
    total = sum(rates.values()) or 1.0
    parts = ", ".join(f"{gpu} serves {rate / total:.0%}" for gpu, rate in rates.items())
    return f"Requests by input and output tokens, and which GPU serves them: {parts}."


def _spans(routes: list[Document], name: str) -> list[str]:
    return [span(limits) for limits in sorted({tuple(route[name]) for route in routes})]


def _ranges(labels: list[str]) -> alt.Axis:
    """Labels in the middle of each cell; of many, every so many."""
    step = -(-len(labels) // MOST_ROWS)
    named = {f"{i + 0.5:g}": label for i, label in enumerate(labels) if i % step == 0}
    return alt.Axis(values=[float(at) for at in named], labelExpr=f"{json.dumps(named)}[datum.value]", grid=False,
                    ticks=False, labelAngle=0, labelOverlap=False)  # fmt: skip


def row_of(route: Document) -> tables.Row:
    """What is shown of one route."""
    error = route["relative_error"]

    def cell(value: str, meaning: str) -> tables.Cell:
        return figures.cell(value, meaning, route["origin"], error, route["num_measurements"])

    units = [unit_name(unit, route["service"]) for unit in (route["unit"], route["decode_unit"]) if unit]
    to = " → ".join(" ".join(unit.split()[:2]) for unit in units)
    share = "" if route["fraction"] > ALL else f" ({figures.percent(route['fraction'])})"
    alone = f"requests/s; one replica carries {route['requests_per_s_per_replica']:,.3g} of this size alone"
    return {
        "input tokens": span(route["input_tokens"]),
        "output tokens": span(route["output_tokens"]),
        "unit": figures.cell(to, " → ".join(units)),
        "rate": cell(f"{route['requests_per_s']:,.3g}/s{share}", alone),
        "TTFT": cell(figures.milliseconds(route["ttft_ms"]), "time to the first token"),
        "TPOT": cell(figures.milliseconds(route["tpot_ms"]), "time per output token after the first"),
        "E2E": cell(figures.milliseconds(route["e2e_ms"]), "time to the last token"),
        "origin": cell(route["origin"], "rates and times"),
    }
