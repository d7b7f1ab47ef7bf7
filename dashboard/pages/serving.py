"""Serving what-if: move the traffic, the limits or the offers, and see another mix."""

from __future__ import annotations

import streamlit as st

from dashboard import address, connection, replanning, start, states, tabs
from dashboard.client import Refused
from dashboard.serving import controls, curves, headline, keep, limits, lists, mix, replayed, single_types, sizes

st.title("Serving what-if")
client = connection.client()
begin = start.spec(client, "serving")
with address.noted():
    above, top = st.container(), st.container()
    left, right = st.columns([1, 2.6], gap="medium")
    with left:
        spec, index = controls.show(client, begin)
    with above:
        lists.show(client, spec, index)
    with right:
        try:
            plan = begin.saved(spec) or replanning.plan(client, "serving", spec)
        except Refused as error:
            states.refused(error)
            st.stop()
        st.session_state["serving plan shown"] = plan["id"]
        if not states.no_plan(plan):
            with top:
                headline.show(plan)
            service = spec["services"][index]["name"]
            parts = {
                "Mix": lambda: mix.show(plan),
                "Savings": lambda: single_types.show(plan),
                "Sizes": lambda: sizes.show(plan, service),
                "Curves": lambda: curves.show(client, plan, index),
                "Limits": lambda: limits.show(plan),
                "Simulate": lambda: replayed.show(client, plan),
                "Keep": lambda: keep.show(client, plan),
            }
            tabs.show(parts, key="view")
