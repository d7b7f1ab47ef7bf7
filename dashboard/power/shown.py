"""A power plan: its figures, then a tab per question."""

from __future__ import annotations

import streamlit as st

from dashboard import downloads, states, tabs
from dashboard.client import Client, Document
from dashboard.power import day, feeds, headline, policies
from dashboard.words import bullets


def show(client: Client, plan: Document) -> None:
    """Everything there is to see of a plan, or why there is none."""
    if states.no_plan(plan):
        return
    if plan["judged"] is not None:
        headline.show(plan)
        headline.classes(plan)
    parts = {
        "Day": lambda: day.show(plan),
        "Risk": lambda: policies.risk(plan),
        "Policies": lambda: policies.compared(plan),
        "Sensitivity": lambda: policies.sensitivity(plan),
        "Feeds": lambda: feeds.show(plan),
        "Assumptions": lambda: st.markdown(bullets((*plan["explanation"], *plan["assumptions"]))),
        "Keep": lambda: downloads.show(client, plan),
    }
    tabs.show(parts, key="power_view")
