"""Overview: saved services, what they run and cost, what was decided last, and what needs a person."""

from __future__ import annotations

import datetime as dt

import streamlit as st

from dashboard import address, connection, tables
from dashboard.history import latest
from dashboard.overview import actions, attention, service, standing, summary

st.title("Overview")
client = connection.client()
now = dt.datetime.now(dt.UTC)
standings = standing.read(client)
actions.told()
summary.show(client, standings)

st.header("What needs attention", anchor=False)
attention.show(attention.notices(client, standings, now))
attention.drift_on_request(client)

st.header("Services", anchor=False)
with address.noted():
    if standings:
        tables.show(standing.rows(standings, now), name="services", about=standing.ABOUT)
        service.show(client, standings)
    else:
        actions.none_yet(client)

st.header("Latest plans", anchor=False)
latest.show(client)
