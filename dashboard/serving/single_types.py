"""What the mix saves: against each GPU type alone, and split against unified pools."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, figures, tables
from dashboard.client import Document
from dashboard.serving.words import OBJECTIVE_UNITS
from dashboard.words import plain

MIX = "this mix"


def show(plan: Document) -> None:
    """Bars of every type that can serve alone; the others by name with why not."""
    unit = OBJECTIVE_UNITS[plan["spec"]["objective"]]
    able = compared(plan)
    if len(able) > 1:
        _savings(plan, able)
        _bars(able, unit)
    unable = [{"GPU": b["gpu"], "why not": b["detail"]} for b in plan["baselines"] if b["objective"] is None]
    if unable:
        st.subheader("Types that cannot serve this alone")
        tables.show(unable, name="types that cannot serve alone")
    if plan["pool_baselines"]:
        st.subheader("Unified or split pools")
        tables.show(pools(plan), name="unified or split pools")


def compared(plan: Document) -> list[Document]:
    """The mix and every type that can serve alone, best first, in the unit of the objective."""
    unit = OBJECTIVE_UNITS[plan["spec"]["objective"]]
    rows = [{"GPU": MIX, unit: plan["objective"], "$/h": plan["usd_per_hour"]}]
    rows += [
        {"GPU": b["gpu"], unit: b["objective"], "$/h": b["usd_per_hour"]}
        for b in plan["baselines"]
        if b["objective"] is not None
    ]
    best = plan["objective"] or None
    for row in rows:
        row["× the mix"] = row[unit] / best if best else None
    sign = -1 if plan["spec"]["objective"] == "goodput" else 1
    return [rows[0], *sorted(rows[1:], key=lambda row: (sign * row[unit], row["GPU"]))]


def _savings(plan: Document, able: list[Document]) -> None:
    saving, best = plan["savings_vs_best_single_type"], plain(able[1]["GPU"])
    verb = "serves more than" if plan["spec"]["objective"] == "goodput" else "saves against"
    if saving is None:
        return
    if saving < 1e-3:
        st.markdown(f"One type alone does as well: **{best}**.")
    else:
        st.markdown(f"The mix {verb} the best single type (**{best}**): **{figures.percent(saving)}**.")


def _bars(able: list[Document], unit: str) -> None:
    rows = [{"type": row["GPU"], "value": row[unit], "times": row["× the mix"]} for row in able]
    is_mix = alt.datum.type == MIX
    base = alt.Chart(pd.DataFrame(rows)).encode(
        y=alt.Y("type:N", sort=[row["type"] for row in rows], title=None),
        x=alt.X("value:Q", title=unit),
        tooltip=[
            alt.Tooltip("type:N"),
            alt.Tooltip("value:Q", title=unit, format=",.4g"),
            alt.Tooltip("times:Q", title="× the mix", format=".2f"),
        ],
    )
    bars = base.mark_bar().encode(color=alt.when(is_mix).then(alt.value(charts.COLOURS[0])).otherwise(
        alt.value(charts.COLOURS[5])))  # fmt: skip
    texts = base.transform_calculate(text="format(datum.times, '.2f') + ' ×'").mark_text(
        align="left", dx=4, color="gray"
    )
    says = ", ".join(f"{row['type']} {row['value']:,.4g}" for row in rows[:8])
    chart = alt.layer(bars, texts.encode(text="text:N")).properties(height=60 + 26 * len(rows))
    charts.show(chart, able, "against single types", f"{unit} of the mix and of single GPU types: {says}.")


def pools(plan: Document) -> list[tables.Row]:
    """Unified pools only, and split pools only."""
    unit = OBJECTIVE_UNITS[plan["spec"]["objective"]]
    explained = any(b["detail"] for b in plan["pool_baselines"])
    return [
        {
            "pools": f"{b['pools']} only",
            "$/h": figures.usd(b["usd_per_hour"]),
            **({unit: b["objective"]} if unit != "$/h" else {}),
            **({"why not": b["detail"] or "–"} if explained else {}),
        }
        for b in plan["pool_baselines"]
    ]
