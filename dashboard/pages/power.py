"""Power: how many servers share a row's power, under which capping, and who is slowed by how much."""

from __future__ import annotations

import streamlit as st

from dashboard import address, connection, replanning, start, states
from dashboard.client import Refused
from dashboard.power import controls, shown

TIME_LIMITS_S = (30, 60, 120, 300, 600)


def time_limit_text(seconds: int) -> str:
    """As people say it."""
    return f"{seconds} s" if seconds < 60 else f"{seconds // 60} min"


st.title("Power")
client = connection.client()
begin = start.spec(client, "power")
with address.noted():
    left, right = st.columns([1, 2.6], gap="medium")
    with left:
        spec = controls.show(begin)
        limit_s = st.select_slider("Simulate for", TIME_LIMITS_S, 120, key="simulate_s", bind="query-params",
                                   format_func=time_limit_text,
                                   help="the number of servers comes first, then comparisons")  # fmt: skip
        asked = st.button("Plan this row", type="primary", icon=":material/play_arrow:", width="stretch")
    with right:
        body = {"kind": "power", "spec": spec, "time_limit_s": float(limit_s)}
        plan = None
        try:
            if asked or replanning.is_kept(client, "/v1/plans", body):
                plan = replanning.answer(client, "/v1/plans", body, "Simulating weeks of this row")
            else:
                plan = begin.saved(spec)
        except Refused as error:
            states.refused(error)
            st.stop()
        if plan is None:
            states.empty("Weeks of a row take a while to simulate, so this page asks first.",
                         "Press *Plan this row*, or begin with a saved plan above.")  # fmt: skip
        else:
            shown.show(client, plan)
