"""Sensitivity: which limits the plan uses up, and what one unit more of each is worth."""

from __future__ import annotations

import re

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, tables
from dashboard.client import Document
from dashboard.serving.words import OBJECTIVE_UNITS

_PATH = re.compile(r"(limits\.)?(?P<group>services|availability)\[(?P<index>\d+)\]\.(?P<field>\w+)")
_PLACE = ("market", "provider", "region", "instance_type", "gpu")
_NAMES = {
    "limits.budget_usd_per_hour": "budget",
    "limits.power_w": "power limit",
    "limits.max_gpu_types": "number of GPU types",
    "max_spot_fraction": "spot share",
    "max_gpus": "GPUs",
    "max_instances": "instances",
}


def show(plan: Document) -> None:
    """A bar and a row for each limit that binds."""
    if not plan["binding_limits"]:
        st.info("No limit holds this plan back: more GPUs, budget or power would not change it.",
                icon=":material/check:")  # fmt: skip
        return
    worth = _worth(plan)
    rows = [
        {
            "limit": named(plan["spec"], b["limit"]),
            "used": b["used"],
            "of": b["value"],
            "one more": b["unit"],
            worth: b["saving_per_unit"],
        }
        for b in plan["binding_limits"]
    ]
    valued = [row for row in rows if row[worth]]
    if valued:
        _bars(valued, worth)
    tables.show(rows, name="limits that bind", about={
        "used": "by this plan",
        "of": "what the limit allows",
        worth: "by how much the objective gets better with one unit more, from planning again; – where it is not known",
    })  # fmt: skip


def _bars(rows: list[Document], worth: str) -> None:
    frame = pd.DataFrame([{"limit": row["limit"], "worth": row[worth], "unit": row["one more"]} for row in rows])
    chart = (
        alt.Chart(frame)
        .mark_bar(color=charts.COLOURS[0])
        .encode(
            y=alt.Y("limit:N", sort="-x", title=None, axis=alt.Axis(labelLimit=260)),
            x=alt.X("worth:Q", title=f"one more {worth}"),
            tooltip=["limit:N", "unit:N", alt.Tooltip("worth:Q", title=worth, format=",.4g")],
        )
        .properties(height=70 + 30 * len(rows))
    )
    says = "; ".join(f"one {row['one more']} more of {row['limit']} {worth} {row[worth]:,.4g}" for row in rows[:8])
    charts.show(chart, rows, "worth of one more", f"What more of a scarce thing is worth: {says}.")


def named(spec: Document, path: str) -> str:
    """A limit in words; one that is not known here by its path in the spec."""
    match = _PATH.fullmatch(path)
    if match is None:
        return _NAMES.get(path, path)
    group, index, field = match["group"], int(match["index"]), match["field"]
    if group == "services":
        return f"{_NAMES.get(field, field)} of {spec['services'][index]['name']}"
    cap = spec["limits"]["availability"][index]
    what = " ".join(str(cap[name]) for name in _PLACE if cap.get(name))
    return f"{_NAMES.get(field, field)} of {what or 'everything'}"


def _worth(plan: Document) -> str:
    """What one unit more brings, with its unit."""
    objective = plan["spec"]["objective"]
    return "gains requests/s" if objective == "goodput" else f"saves {OBJECTIVE_UNITS[objective]}"
