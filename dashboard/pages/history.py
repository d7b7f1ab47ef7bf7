"""History: every plan, what it says, whether it still holds, and what differs between two of them."""

from __future__ import annotations

import streamlit as st

from dashboard import address, connection
from dashboard.history import listing, one

st.title("History")
client = connection.client()
plan_id = st.query_params.get("plan", "")
with address.noted():
    if plan_id:
        one.show(client, plan_id)
    else:
        listing.show(client)
