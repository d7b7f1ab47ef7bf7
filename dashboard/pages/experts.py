"""Experts: which GPU holds which expert of a mixture, and what that is worth."""

from __future__ import annotations

import streamlit as st

from dashboard import address, connection, downloads, replanning, start, states, tabs
from dashboard.client import Refused
from dashboard.experts import choices, controls, headline, load

st.title("Experts")
client = connection.client()
begin = start.spec(client, "experts")
with address.noted():
    top = st.container()
    left, right = st.columns([1, 2.6], gap="medium")
    with left:
        spec = controls.show(client, begin)
    with right:
        try:
            plan = begin.saved(spec) or replanning.plan(client, "experts", spec)
        except Refused as error:
            states.refused(error)
            st.stop()
        if not states.no_plan(plan):
            with top:
                headline.show(plan)
            parts = {
                "Load": lambda: load.show(client, plan),
                "Choices": lambda: choices.curves(plan),
                "Workloads": lambda: choices.workloads(plan),
                "Moves": lambda: choices.moves(plan),
                "Keep": lambda: downloads.show(client, plan),
            }
            tabs.show(parts, key="experts_view")
