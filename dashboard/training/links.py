"""Links between nodes, and which ranks of the best configuration were put on which of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd
import streamlit as st

from dashboard import charts, figures, tables
from dashboard.client import Document
from dashboard.figures import hover
from dashboard.tables import Cell, Row

MOST_NODES = 40
"""That a matrix on a screen can show."""

LEAST_SAID = 0.005
"""Smaller differences between mappings are none."""

BY_CLUSTER, BY_MAPPING = "as in the cluster", "as they are mapped"

LINE_RATE = "line rate of the node group, as the spec has it"


def show(plan: Document) -> None:
    """What mapping is worth, the matrix of links, and what runs on which node."""
    _gain(plan)
    names = host_names(plan["spec"]["cluster"])
    used = list(dict.fromkeys(place["node"] for place in plan["mapping"]))
    order = BY_CLUSTER
    if len(names) > 1 and used:
        order = st.segmented_control("Order of the nodes", (BY_MAPPING, BY_CLUSTER), default=BY_MAPPING, required=True,
                                     key="node_order", bind="query-params") or BY_MAPPING  # fmt: skip
    shown = [*used, *(name for name in names if name not in set(used))] if order == BY_MAPPING else names
    if len(shown) > MOST_NODES:
        st.markdown(f"The first {MOST_NODES} of {len(shown):,} nodes.")
    cells = matrix(plan["spec"]["cluster"], shown[:MOST_NODES])
    if cells:
        charts.show(_heatmap(cells, shown[:MOST_NODES]), cells, "links between nodes", says(cells))
    else:
        st.markdown("There is a single node, so there are no links between nodes.")
    if used:
        st.markdown("### Who runs where")
        st.markdown("Ranks of configuration 1, the best. Neighbours in a group talk to each other the most.")
        tables.show(places(plan["mapping"], plan["ranked"][0]), name="mapping", about=ABOUT)
        tables.download(plan["mapping"], "ranks", "CSV of every rank")


def host_names(cluster: Document) -> list[str]:
    """A name for each node, as plans have them."""
    return [
        name
        for group in cluster["groups"]
        for name in (group.get("hosts") or [f"{group.get('name', 'nodes')}-{i}" for i in range(group["nodes"])])
    ]


def matrix(cluster: Document, shown: Sequence[str]) -> list[dict[str, Any]]:
    """GB/s from each node to each other one: measured, or by their groups."""
    number = {name: i for i, name in enumerate(host_names(cluster))}
    groups = [group for group in cluster["groups"] for _ in range(group["nodes"])]
    measured, joined = cluster.get("gb_per_s"), cluster.get("between_groups_gb_per_s")
    cells = []
    for one in shown:
        for other in shown:
            i, j = number[one], number[other]
            if i == j:
                continue
            if measured is not None:
                gb_per_s, origin = measured[i][j], "measured, given in the spec"
            elif groups[i] is not groups[j] and joined is not None:
                gb_per_s, origin = joined, "between groups, given in the spec"
            else:
                gb_per_s, origin = min(g.get("between_gb_per_s", 50.0) for g in (groups[i], groups[j])), LINE_RATE
            cells.append({"from": one, "to": other, "GB/s": gb_per_s, "origin": origin})
    return cells


def says(cells: list[dict[str, Any]]) -> str:
    """What the heatmap shows, for who cannot see it."""
    slowest, fastest = min(cells, key=lambda c: float(c["GB/s"])), max(cells, key=lambda c: float(c["GB/s"]))
    if slowest["GB/s"] == fastest["GB/s"]:
        return f"All {len(cells)} links between nodes carry {slowest['GB/s']:g} GB/s."
    return (
        f"{len(cells)} links between nodes. The slowest, {slowest['from']} to {slowest['to']}, carries "
        f"{slowest['GB/s']:g} GB/s, the fastest, {fastest['from']} to {fastest['to']}, {fastest['GB/s']:g} GB/s."
    )


def places(mapping: Sequence[Document], best: Document) -> list[Row]:
    """What each node has of the best configuration. Rank = ((stage · DP + replica) · CP + part) · TP + position."""
    tp, cp, dp = best["tensor_parallel"], best["context_parallel"], best["data_parallel"]
    by_node: dict[str, list[int]] = {}
    for place in mapping:
        by_node.setdefault(place["node"], []).append(place["rank"])
    return [
        {
            "node": node, "ranks": spans(ranks), "stages": spans([r // (tp * cp * dp) for r in ranks]),
            "replicas": spans([r // (tp * cp) % dp for r in ranks]),
            "context parts": spans([r // tp % cp for r in ranks]), "tensor parts": spans([r % tp for r in ranks]),
        }
        for node, ranks in by_node.items()
    ]  # fmt: skip


def spans(numbers: Sequence[int]) -> Cell:
    """Whole numbers as ``0–7, 12``; spelled out on hover."""
    ordered = sorted(set(numbers))
    runs: list[list[int]] = []
    for number in ordered:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    text = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}–{run[-1]}" for run in runs)
    return Cell(text, f"{len(ordered)} of them" if len(ordered) > 1 else "")


ABOUT = {
    "ranks": "numbers that processes have", "stages": "pipeline stages, from 0", "replicas": "of the data, from 0",
    "context parts": "of each sequence, from 0", "tensor parts": "of each matrix, from 0",
}  # fmt: skip


def _gain(plan: Document) -> None:
    gain = plan["mapping_gain"]
    if gain is None:
        st.markdown("All links that it uses are alike, so ranks stay in order: no other mapping is faster.")
        return
    c = plan["ranked"][0]
    kinds = (
        ("Ranks in order", "default_seconds", "communication of a step with ranks on nodes as they are numbered"),
        ("Best simple order", "best_simple_seconds", "the best of the simple orders of nodes and degrees"),
        ("This mapping", "seconds", f"{gain['method']}; configuration 1"),
        ("No mapping is below", "bound_seconds", "proven for these links and this configuration"),
    )
    with figures.wall(4):
        for label, field, meaning in kinds:
            saved = gain[field] / gain["default_seconds"] - 1
            figures.figure(
                label, figures.milliseconds(1000 * gain[field]),
                hover(f"{meaning}; by the links alone, nothing hidden", "from measured links", c["step_error"]),
                f"{saved:+.0%}" if field != "bound_seconds" and abs(saved) >= LEAST_SAID else None,
            )  # fmt: skip


def _heatmap(cells: list[dict[str, Any]], order: Sequence[str]) -> alt.Chart:
    chart: alt.Chart = alt.Chart(pd.DataFrame(cells)).mark_rect().encode(
        x=alt.X("to:N", sort=list(order), title="To node", axis=alt.Axis(labelAngle=-60)),
        y=alt.Y("from:N", sort=list(order), title="From node"),
        color=alt.Color("GB/s:Q", title="GB/s", scale=alt.Scale(scheme=charts.SEQUENTIAL, zero=True)),
        tooltip=["from", "to", alt.Tooltip("GB/s:Q", format=",.4g"), "origin"],
    ).properties(height=130 + max(100, 22 * len(order)))  # fmt: skip
    return chart
