"""The list of saved plans: filters, rows, and one to open. What is set is in the address."""

from __future__ import annotations

import math

import streamlit as st

from dashboard import states, tables
from dashboard.client import Client, Document, Refused
from dashboard.history import entries
from dashboard.history.entries import Wanted, Window
from dashboard.history.objective import units

KINDS = ("", "serving", "experts", "training", "power")
PAGE_ROWS = 20
"""Plans that are shown, and whose specs are read, at once."""


def show(client: Client) -> None:
    """Filters, the plans that they leave, and which one to open."""
    wanted = _filters()
    window, cursor = _window(client, wanted.kind)
    found = entries.chosen(window.plans, wanted)
    if not window.plans and wanted == Wanted() and not cursor:
        states.empty("No plan is saved yet", "Every plan is kept here: make one on the pages *Serving*, *Experts*, "
                     "*Training* or *Power*, or with `gpuplan plan serving examples/chat.yaml`.")  # fmt: skip
        return
    if found:
        _page(client, found)
    else:
        states.empty("No plan is like that", "Allow more kinds and outcomes, or a shorter part of the name.")
    _older(window.older, cursor, len(window.plans))


def open_plan(plan_id: str, second_id: str = "") -> None:
    """Show one plan, or two; with neither, the list. The filters stay as they are."""
    for name, value in (("plan", plan_id), ("with", second_id)):
        if value:
            st.query_params[name] = value
        else:
            st.query_params.pop(name, None)
    st.rerun()


def _filters() -> Wanted:
    kind_at, outcome_at, name_at = st.columns(3)
    kind = kind_at.selectbox("Kind", KINDS, key="kind", bind="query-params", format_func=lambda k: k or "all")
    outcome = outcome_at.selectbox("Outcome", ("", *entries.OUTCOMES), key="outcome", bind="query-params",
                                   format_func=lambda o: o or "all")  # fmt: skip
    name = name_at.text_input("Name", key="named", bind="query-params", max_chars=200, placeholder="any part of it")
    newest_only = st.toggle(
        "Newest of each name only", value=True, key="newest", bind="query-params",
        help="Every change of a what-if is a plan of its own: without this, all of them are listed.",
    )  # fmt: skip
    return Wanted(kind, outcome, name or "", newest_only)


def _window(client: Client, kind: str) -> tuple[Window, str]:
    """The plans to look through, and the cursor of the address; one that is none is left out."""
    cursor = st.query_params.get("before", "")
    try:
        return entries.window(client, kind, cursor), cursor
    except Refused as error:
        if error.field != "cursor":
            raise
    del st.query_params["before"]
    return entries.window(client, kind), ""


def _page(client: Client, found: list[Document]) -> None:
    num_pages = math.ceil(len(found) / PAGE_ROWS)
    slot = st.container()
    page = st.pagination(num_pages, key="page", bind="query-params") if num_pages > 1 else 1
    part = found[(page - 1) * PAGE_ROWS : page * PAGE_ROWS]
    known = units(client, part)
    by_id = {plan["id"]: entries.label(plan, known.get(plan["spec_id"], "")) for plan in part}
    with slot:
        opened = st.selectbox("Open a plan", [*by_id], index=None, key=f"open of {page}", format_func=by_id.__getitem__,
                              placeholder="one of those below")  # fmt: skip
        tables.show(entries.rows(part, known), name="plans", about=entries.ABOUT)
    if opened:
        open_plan(opened)


def _older(older: str, cursor: str, num_plans: int) -> None:
    if older:
        st.markdown(f"These are from {num_plans:,} plans; there are older ones.")
        st.button("Older plans", icon=":material/history:", on_click=_look_before, args=(older,))
    if cursor:
        st.button("Newest plans", icon=":material/first_page:", on_click=_look_before, args=("",))


def _look_before(cursor: str) -> None:
    """From the next run on: plans that are older than those so far; the newest where there is no cursor."""
    st.session_state["page"] = 1
    if cursor:
        st.query_params["before"] = cursor
    else:
        st.query_params.pop("before", None)
