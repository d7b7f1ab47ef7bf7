"""What can be done to a service: plan a night now, remove it, and make a first one."""

from __future__ import annotations

import datetime as dt

import streamlit as st

from dashboard import replanning, states
from dashboard.client import Client, Document, Refused
from dashboard.history.words import sentence
from dashboard.overview.standing import DECISIONS
from dashboard.words import plain

SOLVE_LIMIT_S = 60
"""For each solve of a night, as `gpuplan replan` has it."""


def plan_now(client: Client, name: str) -> None:
    """A night, planned when the button is pressed."""
    with st.form(f"night of {name}", border=False):
        day = st.date_input("Day", key=f"day of {name}", help="in the service's time zone; a day is decided once")
        again = st.checkbox("Decide anew", key=f"again of {name}", help="also where that day is decided already")
        pressed = st.form_submit_button("Plan tonight's now", icon=":material/dark_mode:", type="primary")
    if not pressed or not isinstance(day, dt.date):
        return
    replanning.forget()  # a night changes what runs, and may import prices
    options = {"again": again, "solve": {"time_limit_s": SOLVE_LIMIT_S}}
    asked = {"date": day.isoformat(), "services": [name], "options": options}
    try:
        made = replanning.answer(client, "/v1/replans", asked, "Planning the night")
    except Refused as error:
        states.refused(error)
        return
    _tell(made, name)
    st.rerun()


def told() -> None:
    """What the last action came to, once."""
    if text := st.session_state.pop("told", None):
        st.success(text, icon=":material/done:")
    if text := st.session_state.pop("told badly", None):
        st.warning(text, icon=":material/error:")


def remove(client: Client, name: str, etag: str) -> None:
    """Forget a service; asks first."""
    with st.popover("Remove", icon=":material/delete:"):
        st.markdown(f"Forget **{plain(name)}** and its decisions? What runs goes on running, and its plans stay saved.")
        if not st.button("Yes, remove it", key=f"remove {name}", type="primary"):
            return
        try:
            client.delete(f"/v1/services/{name}", if_match=etag)
        except Refused as error:
            states.refused(error)
            return
    st.session_state["told"] = f"{plain(name)} is removed."
    st.query_params.pop("service", None)
    st.rerun()


def none_yet(client: Client) -> None:
    """What a service is, and how to have one."""
    states.empty(
        "No service is saved yet",
        "A *service* is a serving spec that is planned again every night: its demand is forecast, a fleet is chosen "
        "for each hour of the day, and what runs is changed only where that pays. Save one on the page *Serving*, or "
        "with `gpuplan services save examples/replan/chat_service.yaml`.",
    )
    if not st.button("Save the example as a service", icon=":material/add:"):
        return
    example = client.get("/v1/planners/serving")["example"]
    service = {"name": example["name"], "spec": example, "terms": {"mode": "hourly"}}
    try:
        client.put(f"/v1/services/{example['name']}", service)
    except Refused as error:
        states.refused(error)
        return
    st.rerun()


def _tell(made: Document, name: str) -> None:
    """Keep for the next run of the page what the night came to; a night without a plan is no success."""
    reports = made.get("reports") or (made.get("result") or {}).get("reports") or []
    for said in reports:
        decision, problem = said["decision"], said["problem"] or {}
        text = f"**{plain(name)}, {said['date']}: {decision.replace('_', ' ')}** ({DECISIONS.get(decision, '')})."
        if decision in ("infeasible", "failed"):
            fix = f" What helps: {sentence(problem['fix'])}" if problem.get("fix") else ""
            st.session_state["told badly"] = f"{text} {sentence(problem.get('detail') or said['reason'])}{fix}"
        else:
            st.session_state["told"] = text
