"""How long requests took in a simulation: distributions against their limits, and percentiles."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd
import streamlit as st

from dashboard import charts, figures, tables
from dashboard.client import Document
from dashboard.tables import Cell, Row

METRICS = {
    "ttft_ms": ("TTFT", "time to the first token"),
    "tpot_ms": ("TPOT", "time per output token after the first"),
    "e2e_ms": ("E2E", "time to the last token"),
}
PERCENTILES = ("mean", "p50", "p90", "p95", "p99")


def show_curves(outcome: Document, slo: Document) -> None:
    """The distributions of TTFT and TPOT of a service beside each other, each with its limit."""
    for column, metric in zip(st.columns(2), ("ttft_ms", "tpot_ms"), strict=True):
        with column:
            _show_curve(outcome[metric], metric, slo.get(metric), slo.get("percentile", "mean"))


def _show_curve(latency: Document, metric: str, limit_ms: float | None, percentile: str) -> None:
    short, meaning = METRICS[metric]
    asked = "no limit" if limit_ms is None else f"limit {limit_ms:,g} ms on the {percentile}"
    st.markdown(f"**{short}**, {meaning}: {asked}")
    points = latency["distribution"]
    if not points:
        st.markdown("No request had any.")
        return
    rows: list[Row] = [{"share of requests": share, "ms": ms} for share, ms in points]
    line = alt.Chart(pd.DataFrame(rows)).mark_line(color=charts.COLOURS[0], strokeWidth=2.5).encode(
        alt.X("ms:Q").title(f"{short}, ms").scale(type="log", nice=False).axis(format="~s", tickCount=5, grid=False),
        alt.Y("share of requests:Q").title("share of requests").axis(format="%"),
        order="share of requests:Q",
        tooltip=[alt.Tooltip("share of requests:Q", format=".1%"),
                 alt.Tooltip("ms:Q", title=f"{short} at most, ms", format=",.4~g")],
    )  # fmt: skip
    says = (
        f"Cumulative distribution of {short}: half of the requests within {figures.milliseconds(latency['p50'])}, "
        f"99% within {figures.milliseconds(latency['p99'])}."
    )
    layers: list[alt.Chart | charts.Layers] = [line]
    if limit_ms is not None:
        says += (
            f" {within(latency, limit_ms):.1%} are within the limit of {limit_ms:,g} ms, which is on the {percentile}."
        )
        layers.append(charts.limit_line(limit_ms, "SLO", axis="x"))
    charts.show(alt.layer(*layers).properties(height=charts.HEIGHT_PX), rows, f"{short} of requests", says)


def within(latency: Document, limit_ms: float) -> float:
    """Share of the requests that took no longer, by their distribution."""
    shares, times_ms = np.array(latency["distribution"]).T
    if limit_ms >= times_ms[-1]:
        return 1.0
    if limit_ms < times_ms[0]:
        return 0.0
    return float(np.interp(limit_ms, times_ms, shares))


def show_percentiles(found: Document, slos: dict[str, Document]) -> None:
    """Percentiles of every service, each with its limit and whether it was met."""
    tables.show(percentiles(found, slos), name="latencies", about={
        "limit": "of the SLO, in ms, and what it is on", "met": "whether this simulation was within the limit",
    })  # fmt: skip


def percentiles(found: Document, slos: dict[str, Document]) -> list[Row]:
    """A row for each service and metric."""
    error = max((unit["relative_error"] for unit in found["utilisation"]), default=None)
    several = len(found["services"]) > 1
    return [
        ({"service": outcome["service"]} if several else {})
        | _row(outcome, metric, slos.get(outcome["service"], {}), error)
        for outcome in found["services"] for metric in METRICS
    ]  # fmt: skip


def _row(outcome: Document, metric: str, slo: Document, error: float | None) -> dict[str, str]:
    (short, meaning), latency = METRICS[metric], outcome[metric]
    limit_ms, percentile = slo.get(metric), slo.get("percentile", "mean")
    seen_ms = latency[percentile]
    numbers = {
        name: figures.cell(figures.milliseconds(latency[name]),
                           f"{name} over the measured requests that completed; replayed with predicted iterations",
                           relative_error=error)
        for name in PERCENTILES
    }  # fmt: skip
    met = "–" if limit_ms is None or seen_ms is None else "yes" if seen_ms <= limit_ms else "NO"
    limit = "–" if limit_ms is None else f"{limit_ms:,g} ms ({percentile})"
    return {"latency": Cell(short, meaning), **numbers, "limit": limit, "met": met}
