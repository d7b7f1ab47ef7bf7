"""What a saved plan says: the planner's own view of it."""

from __future__ import annotations

import streamlit as st

from dashboard import tables
from dashboard.client import Document
from dashboard.history.words import sentence
from dashboard.words import plain

COLUMNS = {
    "replicas": "running copies of the model",
    "GPUs each": "GPUs of one replica",
    "load": "share of its capacity that a replica uses at the planned rate",
    "$/h": "US dollars per hour, at the prices of the plan's facts",
    "input": "range of tokens of the prompt",
    "output": "range of tokens of the answer",
    "requests/s": "requests per second at the planned rate",
    "share": "part of the requests of this size",
    "TTFT ms": "time to first token, predicted for a replica full of this size alone",
    "TPOT ms": "time per output token after the first, predicted likewise",
    "origin": "where the prediction is from, and within how much 90% of such predictions are",
    "used": "what the plan uses of the limit",
    "of": "the limit",
    "one more unit": "what the worth is counted by",
    "saves $/h": "how much cheaper the plan becomes with one unit more",
    "balancedness": "mean load of a GPU over that of the fullest one: 1 is even",
    "step": "time of one training step, predicted",
    "MFU": "share of the GPUs' datasheet FLOPs that the model uses",
    "GiB": "memory per GPU, of the fullest",
}
"""What stands in the columns that plans have, by their names."""


def show(view: Document) -> None:
    """Facts, tables and notes; the headline is the page's."""
    if view["facts"]:
        tables.show([{"figure": name, "value": value} for name, value in view["facts"]], name="facts")
    for table in view["tables"]:
        st.markdown(f"### {plain(table['title'])}")
        names = [column or "note" for column in table["columns"]]
        rows = [dict(zip(names, row, strict=True)) for row in table["rows"]]
        tables.show(rows, name=table["title"], about=COLUMNS)
    if view["notes"]:
        st.markdown("### Notes")
        st.markdown("\n".join(f"- {sentence(note)}" for note in view["notes"]))
