"""One saved plan: its answer, whether it holds, what was asked, its files, and another to compare it with."""

from __future__ import annotations

from urllib.parse import quote

import streamlit as st

from dashboard import states
from dashboard.client import Client, Document, Refused
from dashboard.history import answer, check, comparison, entries, files, listing
from dashboard.history.objective import amount, unit
from dashboard.words import plain

TABS = ("Answer", "Check", "Spec", "Files", "Compare")
MOST_OFFERED = 50
"""Plans that are offered to compare with."""


def show(client: Client, plan_id: str) -> None:
    """The plan that the address names."""
    back, what_if = st.columns([3, 1], vertical_alignment="center")
    if back.button("All plans", icon=":material/arrow_back:"):
        listing.open_plan("")
    plan = _read(client, plan_id)
    if plan is None:
        return
    what_if.page_link(f"{plan['kind']}.py", label="Open in what-if", icon=":material/tune:",
                      query_params={"plan": plan_id})  # fmt: skip
    view = client.get(f"/v1/plans/{plan_id}/view")
    st.header(plain(view["headline"]), anchor=False)
    st.markdown(f":small[{plain(_provenance(plan_id, plan))}]")
    default = "Compare" if "with" in st.query_params else "Answer"
    drawn = st.tabs(TABS, default=default, key="tab", bind="query-params", on_change="rerun")
    tabs = dict(zip(TABS, drawn, strict=True))
    opened = next(name for name, tab in tabs.items() if tab.open)
    with tabs[opened]:
        if opened == "Answer":
            if not states.no_plan(plan):
                answer.show(view)
        elif opened == "Check":
            check.show(client, plan_id, plan)
        elif opened == "Spec":
            files.spec(plan)
        elif opened == "Files":
            files.rendered(client, plan_id, plan)
        else:
            _compare(client, plan_id, plan)


def _read(client: Client, plan_id: str) -> Document | None:
    """The plan; None, and said so, where there is none or not yet."""
    named = plain(plan_id[:64])
    try:
        read = client.read(f"/v1/plans/{quote(plan_id, safe='')}")
    except Refused as error:
        if error.status not in (404, 422):
            raise
        st.warning(f"The address names a plan {named} that this service does not have.", icon=":material/link_off:")
        return None
    if "spec" in read.document:
        return read.document
    st.info(f"Plan {named} is not made: its job is {read.document['status']}.", icon=":material/hourglass_empty:")
    return None


def _provenance(plan_id: str, plan: Document) -> str:
    gap = "no bound" if plan["gap"] is None else f"within {plan['gap']:.2%} of the proven bound"
    worth = f"objective {amount(plan['objective'], unit(plan['kind'], plan['spec']))}, {gap}; "
    solved = f"{plan['solver'] or 'no solver'} in {plan['solve_seconds']:.2f} s; "
    said = f"{worth if plan['objective'] is not None else ''}{solved}{plan['outcome'].replace('_', ' ')}"
    return f"{plan['kind']} plan {plan_id}: {said}"


def _compare(client: Client, plan_id: str, plan: Document) -> None:
    others = [p for p in entries.window(client, plan["kind"]).plans if p["id"] != plan_id]
    name = plan["spec"].get("name")
    others = sorted(others, key=lambda other: other["name"] != name)[:MOST_OFFERED]
    counted_in = unit(plan["kind"], plan["spec"])
    labels = {p["id"]: entries.label(p, counted_in if p["name"] == name else "") for p in others}
    other_id = st.query_params.get("with", "")
    if other_id:
        labels.setdefault(other_id, other_id)
    options = [*labels]
    picked = st.selectbox("Second plan", options, index=options.index(other_id) if other_id else None,
                          key=f"second of {plan_id}", format_func=labels.__getitem__,
                          placeholder=f"another {plan['kind']} plan")  # fmt: skip
    if picked and picked != other_id:
        listing.open_plan(plan_id, picked)
    if not picked:
        states.empty("Choose a second plan", "This one is the first: what changed from it to the other is shown.")
        return
    if st.button("Swap", icon=":material/swap_horiz:"):
        listing.open_plan(picked, plan_id)
    other = _read(client, picked)
    if other is None:
        return
    if other["kind"] != plan["kind"]:
        st.warning(f"That is a plan of the {other['kind']} planner: only plans of one kind have something to compare.")
        return
    comparison.show(client, plan_id, picked, plan, other)
