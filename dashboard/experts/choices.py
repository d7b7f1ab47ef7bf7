"""What other numbers of slots would buy, how well each workload is served, and what has to move."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, figures, states, tables
from dashboard.client import Document
from dashboard.words import bullets


def curves(plan: Document) -> None:
    """Redundancy against balance, and hops against balance, where the plan has them."""
    if not plan["curve"]:
        states.empty("This spec does not ask for other choices.", "Write `curves: true` into it, and they are here.")
        return
    rows = [
        {"choice": p["label"], "slots": p["num_slots"], "balancedness": p["balancedness"],
         "at most": p["balancedness_bound"], "hops per token": p["hops_per_token"]}
        for p in plan["curve"]
    ]  # fmt: skip
    redundancy = [row for row in rows if row["hops per token"] is None]
    if redundancy:
        st.subheader("More copies, better balance")
        _redundancy(redundancy, plan["spec"]["topology"])
    if len(redundancy) < len(rows):
        st.subheader("Fewer hops against balance")
        _hops([row for row in rows if row["hops per token"] is not None])


def _redundancy(rows: list[Document], topology: Document) -> None:
    base = alt.Chart(pd.DataFrame(rows)).encode(x=alt.X("slots:Q", title="slots of a layer, all GPUs",
                                                        scale=alt.Scale(zero=False)))  # fmt: skip
    tips = ["choice:N", "slots:Q", alt.Tooltip("balancedness:Q", format=".4f"), alt.Tooltip("at most:Q", format=".4f")]
    found = base.mark_line(point=True, color=charts.COLOURS[0]).encode(
        y=alt.Y("balancedness:Q", title="balancedness (1: even)", scale=alt.Scale(zero=False)), tooltip=tips
    )
    bound = base.mark_line(color=charts.LIMIT_COLOUR, strokeDash=[6, 4]).encode(y="at most:Q", tooltip=tips)
    now = topology["gpus"] * topology["slots_per_gpu"]
    charts.show(alt.layer(found, bound).properties(height=charts.HEIGHT_PX), rows, "redundancy curve",
                f"Balancedness of the mean workload by number of slots; this plan has {now}. "
                "Dashed: what no placement can exceed.")  # fmt: skip
    st.caption("Of the mean workload. Dashed: what no placement can exceed.")


def _hops(rows: list[Document]) -> None:
    chart = alt.Chart(pd.DataFrame(rows)).mark_line(point=True).encode(
        x=alt.X("balancedness:Q", scale=alt.Scale(zero=False)),
        y=alt.Y("hops per token:Q", scale=alt.Scale(zero=False)),
        tooltip=["choice:N", alt.Tooltip("balancedness:Q", format=".4f"),
                 alt.Tooltip("hops per token:Q", format=".3f")],
    ).properties(height=charts.HEIGHT_PX)  # fmt: skip
    charts.show(chart, rows, "hops against balance", "Hops per token against balancedness, by allowed excess load.")


def workloads(plan: Document) -> None:
    """How well each workload is served by the one placement."""
    if len(plan["workloads"]) < 2:
        states.empty("There is one workload.", "Give recordings of several, and the plan is made for all of them.")
        return
    meanings = {
        "balancedness": "even dispatch",
        "balancedness_dispatched": "the plan's weights",
        "balancedness_best_dispatch": "its own best weights",
    }
    rows = [
        {"workload": one["name"], "dispatch": meaning, "balancedness": one[name]}
        for one in plan["workloads"] for name, meaning in meanings.items() if one[name] is not None
    ]  # fmt: skip
    order = list(meanings.values())
    chart = alt.Chart(pd.DataFrame(rows)).mark_bar().encode(
        y=alt.Y("workload:N", title=None), yOffset=alt.YOffset("dispatch:N", sort=order),
        x=alt.X("balancedness:Q", title="balancedness (1: even)", scale=alt.Scale(domain=[0, 1])),
        color=alt.Color("dispatch:N", sort=order, scale=charts.colours(order),
                        legend=alt.Legend(orient="bottom", title=None)),
        tooltip=["workload:N", "dispatch:N", alt.Tooltip("balancedness:Q", format=".4f")],
    ).properties(height=60 + 70 * len(plan["workloads"]))  # fmt: skip
    worst = min(rows, key=lambda row: row["balancedness"])
    charts.show(chart, rows, "balancedness by workload",
                f"Balancedness of each workload; lowest: {worst['workload']} with {worst['dispatch']}, "
                f"{worst['balancedness']:.3f}.")  # fmt: skip


def moves(plan: Document) -> None:
    """What has to move from the placement in use, and the plan's advice."""
    if plan["moves_per_layer"]:
        total = sum(plan["moves_per_layer"])
        figures.figure("To move", f"{total:,} experts", "slots of all layers that get other weights than they hold now")
        if plan["moved_gib"] is not None:
            figures.figure("Weights to load", f"{plan['moved_gib']:,.1f} GiB", "by costs.expert_gib of the spec")
        tables.show([{"layer": i, "moves": n} for i, n in enumerate(plan["moves_per_layer"])], name="moves by layer",
                    about={"moves": "slots of this layer that get another expert"})  # fmt: skip
    else:
        states.empty("Nothing is said of a placement in use.",
                     "Begin with a saved plan and turn on *Stay near the placement in use* under *Moves*.")  # fmt: skip
    st.markdown(bullets(plan["advice"]))
