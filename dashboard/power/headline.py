"""The key figures of a row."""

from __future__ import annotations

import streamlit as st

from dashboard import figures, tables
from dashboard.client import Document
from dashboard.words import plain


def show(plan: Document) -> None:
    """Figures in two rows, then what the promise is."""
    judged, promise = plan["judged"], plan["spec"]["promise"]
    simulated = f"simulated over {judged['weeks']} weeks of modelled power, not measured on this row"
    with figures.wall():
        figures.figure("Servers", f"{plan['num_servers']:,}",
                       f"{plan['num_by_rating']:,} fit by rated power; at most {plan['bound']:,.0f} under any policy",
                       delta=f"{plan['oversubscription_ratio'] - 1:+.0%}", delta_color="normal")  # fmt: skip
        figures.figure("Confidence", f"{plan['confidence']:.2%}",
                       f"that {promise['weeks']} weeks pass with every limit kept: lower end of the 95% interval, "
                       f"{judged['num_horizons'] - judged['failed_horizons']} of {judged['num_horizons']} simulated "
                       "spans held")  # fmt: skip
        figures.figure("Peak power", figures.percent(plan["peak_utilisation"], 1),
                       f"of the budget of {figures.watts(plan['budget_w'])}, with capping; {simulated}",
                       delta=f"{figures.percent(plan['natural_peak_utilisation'], 1)} uncapped",
                       delta_color="off")  # fmt: skip
        figures.figure("Emergency brakes", f"{plan['num_brakes']:,}", f"in all weeks; {simulated}")
        figures.figure("Safe for GPUs", figures.watts(plan["safe_limit_w"]),
                       "what GPUs on this row may draw by a serving plan: its limits.power_w")  # fmt: skip
        figures.figure("Budget", figures.watts(plan["budget_w"]), "given in the spec")
    checked = "checked independently" if plan["check"] and plan["check"]["passed"] else "not checked"
    st.caption(f"{plan['outcome']}; {checked}; {plain(judged['policy'])}; {plan['solve_seconds']:.0f} s of simulation")


def classes(plan: Document) -> None:
    """How long each priority is capped, and by how much it slows, against its limits."""
    rows = [
        {
            "class": one["name"],
            "capped": figures.cell(figures.percent(plan["capped_time_fraction"].get(one["name"]), 2), "of the time",
                                   "simulated"),
            "slowdown p50": _slow(plan, one, "p50"), "limit p50": figures.percent(one["max_slowdown_p50"], 1),
            "slowdown p99": _slow(plan, one, "p99"), "limit p99": figures.percent(one["max_slowdown_p99"], 1),
        }
        for one in plan["spec"]["priorities"]
    ]  # fmt: skip
    tables.show(rows, name="slowdown by class", about={
        "capped": "time with any cap on this class, in the worst span of the promise's weeks",
        "slowdown p50": "more time than uncapped, for half of the requests", "slowdown p99": "the same, for 99 of 100",
    })  # fmt: skip


def _slow(plan: Document, priority: Document, percentile: str) -> tables.Cell:
    slowdown = plan["slowdown"].get(priority["name"])
    share = slowdown and slowdown[percentile]
    return figures.cell(
        figures.percent(share, 2), "more time than uncapped; what caps do to speed is a model", "simulated"
    )
