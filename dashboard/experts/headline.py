"""The key figures of a placement, against experts in order and EPLB's greedy."""

from __future__ import annotations

import streamlit as st

from dashboard import figures, tables
from dashboard.client import Document

NAMES = {"plan": "this plan", "current": "in use", "default": "experts in order", "greedy": "EPLB's greedy"}
"""Of placements, in the order in which they are shown."""


def show(plan: Document) -> None:
    """Figures in a row, then the comparison as a table."""
    greedy = plan["baselines"].get("greedy")
    source = "from recorded routing" if plan["hops_measured"] else "layers taken as independent: no routing was given"
    gap = "" if plan["gap"] is None else f"; no placement can be better by more than {plan['gap']:.1%}"
    with figures.wall(4):
        figures.figure("Balancedness", f"{plan['balancedness']:.3f}",
                       "mean GPU load / hottest GPU load, mean over layers and workloads, with even dispatch; 1 is "
                       f"perfect{gap}. Computed from the recorded loads. Below: against EPLB's greedy",
                       delta=_delta(plan, greedy, "balancedness", ".3f"), delta_color="normal")  # fmt: skip
        if plan["balancedness_dispatched"] is not None:
            figures.figure("With weights", f"{plan['balancedness_dispatched']:.3f}",
                           "balancedness when copies get the plan's shares of tokens")  # fmt: skip
        else:
            figures.figure("MoE ms/step", f"{1000 * plan['seconds_per_step']:.2f}",
                           "of all layers, by the spec's cost model; not measured",
                           delta=_delta(plan, greedy, "seconds_per_step", ".3f", 1000))  # fmt: skip
        figures.figure("GPU hops/token", f"{plan['cross_gpu_hops_per_token']:.2f}", f"changes of GPU; {source}",
                       delta=_delta(plan, greedy, "cross_gpu_hops_per_token", ".2f"))  # fmt: skip
        figures.figure("Node hops/token", f"{plan['cross_node_hops_per_token']:.2f}", f"changes of node; {source}",
                       delta=_delta(plan, greedy, "cross_node_hops_per_token", ".2f"))  # fmt: skip
    checked = "checked independently" if plan["check"] and plan["check"]["passed"] else "not checked"
    bound = "" if plan["bound"] is None else f", proven bound {plan['bound']:.4g}"
    st.caption(f"{plan['outcome']}{bound}; {checked}; {plan['method']}, {plan['solve_seconds']:.2f} s")
    tables.show(compared(plan), name="placements compared", about=ABOUT)


ABOUT = {
    "balancedness": "mean GPU load / hottest GPU load, mean over layers; even dispatch",
    "hops between GPUs": "expected changes of GPU of a token on its way through all layers",
    "between nodes": "the same, of node",
    "MoE ms/step": "of all layers, by the spec's cost model",
}


def compared(plan: Document) -> list[tables.Row]:
    """A row per placement."""
    return [
        {
            "placement": NAMES[name],
            "balancedness": f"{one['balancedness']:.4f}",
            "hops between GPUs": f"{one['cross_gpu_hops_per_token']:.3f}",
            "between nodes": f"{one['cross_node_hops_per_token']:.3f}",
            "MoE ms/step": f"{1000 * one['seconds_per_step']:.3f}",
        }
        for name, one in {"plan": plan, **plan["baselines"]}.items()
    ]


def _delta(plan: Document, other: Document | None, name: str, form: str, factor: float = 1.0) -> str | None:
    if other is None:
        return None
    text = f"{(plan[name] - other[name]) * factor:+{form}}"
    return text if text.strip("+-0.") else None
