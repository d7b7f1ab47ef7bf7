"""When nodes come, go or fail: the best configuration for other numbers of nodes, and what failures cost."""

from __future__ import annotations

import streamlit as st

from dashboard import figures, tables
from dashboard.client import Document
from dashboard.figures import hover
from dashboard.tables import Cell, Row
from dashboard.training import words


def show(plan: Document) -> None:
    """What failures cost, and the table of other numbers of nodes."""
    st.markdown("### Failures and checkpoints")
    if plan["goodput"]:
        _failures(plan["goodput"])
    st.markdown("### Other numbers of nodes")
    listing = elastic(plan["elastic"])
    if not listing:
        st.markdown("Several kinds of nodes work together here: nobody can say which of them would come or go.")
        return
    tables.show(listing, name="other numbers of nodes", about=ABOUT)
    tables.download(listing, "other_numbers_of_nodes")


def elastic(advice: list[Document]) -> list[Row]:
    """One row for each number of nodes; where nothing works, the reason in place of a configuration."""
    return [_row(one) for one in advice]


ABOUT = {
    "nodes": "that there would be",
    "links": "typical: nobody measured those of more nodes",
    "switch": "to write, reshard and read a checkpoint, and to restart",
}


def _row(one: Document) -> Row:
    c = one["configuration"]
    switch = Cell(f"{one['switch_s'] / 60:.3g} min", "from the storage's speed and the restart that the spec gives")
    if c is None:
        return {"nodes": one["num_nodes"], "links": None, "configuration": one["why_not"], "step": None, "days": None,
                "USD": None, "kWh": None, "switch": switch}  # fmt: skip
    links = "; links nobody measured, taken as typical" if one["on_typical_links"] else ""
    fewer = f"; uses {c['num_nodes']} of the nodes" if c["num_nodes"] != one["num_nodes"] else ""
    return {
        "nodes": one["num_nodes"],
        "links": "typical" if one["on_typical_links"] else "as given",
        "configuration": Cell(words.degrees(c), f"{c['framework']}, {c['num_gpus']:,} GPUs{fewer}{links}"),
        "step": Cell(figures.milliseconds(c["step_ms"]), words.by_step(c, f"time of one step{links}")),
        "days": Cell(f"{c['days_to_train']:,.4g}", words.by_step(c, "days to train")),
        "USD": Cell(words.usd(c), words.by_step(c, "for all GPUs until it is trained")),
        "kWh": Cell(f"{c['kwh']:,.0f}", words.by_step(c, "of all GPUs until it is trained")),
        "switch": switch,
    }


def _failures(goodput: Document) -> None:
    shown = (
        ("Between failures", _span(3600 * goodput["mtbf_hours"]), "mean time between failures of all GPUs together"),
        ("Checkpoint", f"{goodput['checkpoint_gib']:,.4g} GiB", "parameters and optimizer states: 14 bytes each"),
        ("Waits for it", _span(goodput["checkpoint_s"]), "what training waits for one checkpoint"),
        ("Checkpoint every", _span(goodput["checkpoint_every_s"]), "the interval that loses least (Daly, 2006)"),
        ("Restart", _span(goodput["restart_s"]), "after a failure, reading the checkpoint included"),
        ("Goodput", figures.percent(goodput["goodput_fraction"], 2), "share of time that trains"),
    )
    with figures.wall():
        for label, value, meaning in shown:
            figures.figure(label, value, hover(f"{meaning}; of the best configuration", "from the spec's failures"))


def _span(time_s: float) -> str:
    """Seconds, minutes, hours or days."""
    for size_s, unit in ((86_400, "days"), (3600, "h"), (60, "min")):
        if time_s >= 2 * size_s:
            return f"{time_s / size_s:,.3g} {unit}"
    return f"{time_s:,.3g} s"
