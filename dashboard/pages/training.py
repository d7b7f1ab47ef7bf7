"""Training: which degrees of parallelism train a model fastest, cheapest or with the least energy, and why."""

from __future__ import annotations

import streamlit as st

from dashboard import address, connection, start, states, tables
from dashboard.client import Client, Document
from dashboard.tables import Cell
from dashboard.training import controls, links, pareto, ranked, schedule, sizes, stacked
from dashboard.words import plain


def explore(client: Client, plan: Document) -> None:
    """The plan from every side; what is behind a tab is computed when it is open."""
    row = ranked.choose(plan)
    chosen = plan["ranked"][row]
    ranked.key_figures(plan, row)
    names = ("Ranking", "Time and money", "Memory", "Step", "Schedule", "Links", "Failures and nodes")
    tabs = st.tabs(names, key="look", on_change="rerun", bind="query-params")
    ranking, money, memory, step, timeline, mapping, other = tabs
    if ranking.open:
        with ranking:
            st.header("Configurations, best first")
            ranked.table(plan)
            for line in plan["explanation"]:
                st.markdown("- " + plain(line))
            st.markdown(ranked.proof(plan))
    if money.open:
        with money:
            st.header("Time against money or energy")
            pareto.show(plan, chosen)
    if memory.open:
        with memory:
            st.header("What the fullest GPU holds")
            stacked.memory(plan["ranked"], row)
    if step.open:
        with step:
            st.header("Where the time of a step goes")
            stacked.time(plan["ranked"], row)
    if timeline.open:
        with timeline:
            st.header("Pipeline schedule of one step")
            schedule.show(client, plan["id"], chosen, row)
    if mapping.open:
        with mapping:
            st.header("Links between nodes, and what runs where")
            links.show(plan)
    if other.open:
        with other:
            st.header("When nodes fail, come or go")
            sizes.show(plan)


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
