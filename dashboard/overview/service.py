"""One service in detail: what was decided on which night, planning one now, its terms, and removing it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from dashboard.client import Client
from dashboard.overview import actions, decision, terms
from dashboard.overview.standing import Standing

TABS = ("Decisions", "Plan now", "Terms")
MOST_NIGHTS = 30
"""Nights to choose from."""


def show(client: Client, standings: Sequence[Standing]) -> None:
    """The service that the address names, or the first."""
    by_name = {standing.name: standing for standing in standings}
    if len(by_name) > 1:
        name = st.selectbox("Service", [*by_name], key="service", bind="query-params")
    else:
        name = next(iter(by_name))
    tabs = dict(zip(TABS, st.tabs(TABS, key="part", bind="query-params", on_change="rerun"), strict=True))
    opened = next(part for part, tab in tabs.items() if tab.open)
    if opened != "Terms":
        terms.forget(name)
    with tabs[opened]:
        if opened == "Decisions":
            _decisions(client, name)
        elif opened == "Plan now":
            actions.plan_now(client, name)
        else:
            terms.edit(client, name)
            actions.remove(client, name, f'"{by_name[name].saved["version"]}"')


def _decisions(client: Client, name: str) -> None:
    reports = {r["date"]: r for r in client.get(f"/v1/services/{name}/decisions", limit=MOST_NIGHTS)["decisions"]}
    if not reports:
        st.markdown("Nothing is decided yet: *Plan now* does it, or `gpuplan replan` every night.")
        return
    night = st.selectbox("Night", [*reports], key="night", bind="query-params")
    decision.show(reports[night])
