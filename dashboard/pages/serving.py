"""Serving what-if: move the traffic, SLO or offers, and see another mix."""

from __future__ import annotations

import streamlit as st

from dashboard import address, connection, figures, replanning, start, states

st.title("Serving what-if")
client = connection.client()
begin = start.spec(client, "serving")
with address.noted():
    rate = st.slider("Requests/s", 0.5, 100.0, 8.0, 0.5, key="rate", bind="query-params")
spec = {**begin.spec}
spec["services"] = [{**s, "workload": {**s["workload"], "requests_per_s": rate}} for s in spec["services"]]
plan = replanning.plan(client, "serving", spec)
if not states.no_plan(plan):
    figures.figure("Cost", figures.usd(plan["usd_per_hour"], "h"), "what the rented instances cost")
