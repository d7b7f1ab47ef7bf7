"""The newest plans in short, for other pages."""

from __future__ import annotations

import streamlit as st

from dashboard import states, tables
from dashboard.client import Client
from dashboard.history import entries
from dashboard.history.objective import units

NUM_SHOWN = 5


def show(client: Client) -> None:
    """The newest plans, and the way to all of them."""
    plans = client.get("/v1/plans", limit=NUM_SHOWN)["plans"]
    if not plans:
        states.empty("No plan is saved yet", "The pages *Serving*, *Experts*, *Training* and *Power* make some, and so "
                     "does `gpuplan plan serving examples/chat.yaml`.")  # fmt: skip
        return
    tables.show(entries.rows(plans, units(client, plans)), name="latest plans", about=entries.ABOUT)
    st.page_link("history.py", label="All plans", icon=":material/history:")
