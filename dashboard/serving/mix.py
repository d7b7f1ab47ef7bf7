"""The mix: what is rented, what runs on it, and why."""

from __future__ import annotations

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, figures, tables
from dashboard.client import Document
from dashboard.serving.words import place, unit_name
from dashboard.words import bullets

_RENTAL_ABOUT = {"GPUs used": "of those rented: instances are paid whole", "$/h": "of all these instances"}
_UNIT_ABOUT = {
    "each": "GPUs of a replica, precision of its weights, engine (roofline: any, estimated from datasheets)",
    "load": "planned traffic as a share of what the replicas can carry within the SLO",
    "$/h": "their share, by GPUs used, of the instances they run on",
    "power": "with every replica busy",
}


def show(plan: Document) -> None:
    """Bars by GPU type, then tables."""
    if not plan["rentals"] and not plan["allocation"]:
        st.info("Nothing needs to be rented.", icon=":material/check:")
    else:
        _bars(plan)
        st.subheader("Rented")
        tables.show(rented(plan), name="rented instances", about=_RENTAL_ABOUT)
        st.subheader("Running on it")
        tables.show(units(plan), name="units", about=_UNIT_ABOUT)
    if plan["explanation"]:
        st.subheader("Why")
        st.markdown(bullets(plan["explanation"]))


def _bars(plan: Document) -> None:
    rows = [
        {
            "GPU": a["gpu"],
            "unit": unit_name(a["unit"], a["service"]),
            "service": a["service"],
            "replicas": a["replicas"],
            "cost": a["usd_per_hour"],
            "load": figures.percent(a["utilisation"]),
            "power": figures.watts(a["power_w"]),
            "where": place(a),
        }
        for a in plan["allocation"]
    ]
    if not rows:
        return
    gpus = list(dict.fromkeys(row["GPU"] for row in rows))
    chart = (
        alt.Chart(pd.DataFrame(rows))
        .mark_bar(stroke="white", strokeWidth=1)
        .encode(
            y=alt.Y("GPU:N", title=None, sort="-x"),
            x=alt.X("cost:Q", title="cost, $/h", stack="zero"),
            color=alt.Color("GPU:N", scale=charts.colours(gpus), legend=None),
            detail=["service:N", "unit:N", "where:N"],
            tooltip=["service:N", "unit:N", "replicas:Q", "load:N", "power:N", "where:N",
                     alt.Tooltip("cost:Q", title="$/h", format=",.2f")],
        )
        .properties(height=70 + 32 * len(gpus))
    )  # fmt: skip
    parts = ", ".join(f"{r['replicas']} × {r['unit']} for {figures.usd(r['cost'], 'h')}" for r in rows[:8])
    charts.show(chart, rows, "mix by GPU type", f"Cost of the mix by GPU type: {parts}.")


def rented(plan: Document) -> list[tables.Row]:
    """A row for each kind of instance."""
    return [
        {
            "instances": r["instances"],
            "instance": place(r),
            "GPU": f"{r['gpus_per_instance']} × {r['gpu']}",
            "GPUs used": f"{r['gpus_used']} of {r['instances'] * r['gpus_per_instance']}",
            "$/h each": figures.cell(figures.usd(r["usd_per_instance_hour"]), "list price, after discounts, or given"),
            "$/h": figures.usd(r["usd_per_hour"]),
        }
        for r in plan["rentals"]
    ]


def units(plan: Document) -> list[tables.Row]:
    """A row for each unit: what runs."""
    roles = any(a["role"] != "unified" for a in plan["allocation"])
    return [
        {
            "service": a["service"],
            **({"role": a["role"]} if roles else {}),
            "replicas": a["replicas"],
            "each": f"{a['gpus_per_replica']} × {a['gpu']}, {a['precision']}, {a['engine']}",
            "on": place(a),
            "load": figures.percent(a["utilisation"]),
            "power": figures.watts(a["power_w"]),
            "$/h": figures.usd(a["usd_per_hour"]),
        }
        for a in plan["allocation"]
    ]
