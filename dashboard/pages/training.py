"""Training: which degrees of parallelism train a model fastest, cheapest or with the least energy, and why."""

from __future__ import annotations

import streamlit as st

from dashboard import address, connection, start, states, tables, tabs
from dashboard.client import Client, Document
from dashboard.tables import Cell
from dashboard.training import controls, links, pareto, ranked, schedule, sizes, stacked
from dashboard.words import bullets


def explore(client: Client, plan: Document) -> None:
    """The plan from every side; what is behind a tab is computed when it is open."""
    row = ranked.choose(plan)
    chosen = plan["ranked"][row]
    ranked.key_figures(plan, row)
    tabs.show({
        "Ranking": lambda: ranking(plan),
        "Time and money": lambda: pareto.show(plan, chosen),
        "Memory": lambda: stacked.memory(plan["ranked"], row),
        "Step": lambda: stacked.time(plan["ranked"], row),
        "Schedule": lambda: schedule.show(client, plan["id"], chosen, row),
        "Links": lambda: links.show(plan),
        "Failures and nodes": lambda: sizes.show(plan),
    }, key="look")  # fmt: skip


def ranking(plan: Document) -> None:
    """Configurations, best first, and why."""
    ranked.table(plan)
    st.markdown(bullets(plan["explanation"]))
    st.markdown(ranked.proof(plan))


def what_would_fit(plan: Document) -> None:
    """Single changes, where nothing fits in memory."""
    if plan["fixes"]:
        st.header("What would fit")
        rows = [
            {"change": fix["change"], "GiB per GPU": Cell(f"{fix['memory_gib']:.1f}", "then on the fullest GPU")}
            for fix in plan["fixes"]
        ]
        tables.show(rows, name="what would fit")


st.title("Training")
service = connection.client()
begin = start.spec(service, "training")
with address.noted():
    spec = controls.spec(service, begin)
    answer = controls.plan(service, begin, spec)
    if answer is not None and states.no_plan(answer):
        what_would_fit(answer)
    elif answer is not None:
        explore(service, answer)
