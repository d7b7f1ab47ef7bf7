"""What can be rented, as the service knows it: the choices that the controls offer."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from dashboard.client import Client, Document

MOST_PAGES = 20
"""Of 1,000 facts each: more than one cloud's whole price list, read in about a second."""

KEPT_S = 60
"""Until prices that somebody imports meanwhile are offered here."""


@dataclass(frozen=True)
class Known:
    """Names to choose from, in order."""

    providers: tuple[str, ...]
    regions: tuple[str, ...]
    gpus: tuple[str, ...]
    markets: tuple[str, ...]
    instance_types: tuple[str, ...]


@st.cache_data(ttl=KEPT_S, max_entries=8, show_spinner=False)
def offers(url: str, key: str) -> Known:
    """The names in all prices and instances that a service knows."""
    client = Client(url, key)
    prices, instances = _all(client, "prices"), _all(client, "instances")
    return Known(
        providers=_names(prices, "provider"), regions=_names(prices, "region"), gpus=_names(instances, "gpu"),
        markets=_names(prices, "market"), instance_types=_names(instances, "name"),
    )  # fmt: skip


def _all(client: Client, kind: str) -> list[Document]:
    found: list[Document] = []
    cursor = None
    for _ in range(MOST_PAGES):
        page = client.get(f"/v1/profiles/{kind}", limit=1000, cursor=cursor)
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    return found


def _names(facts: list[Document], field: str) -> tuple[str, ...]:
    return tuple(sorted({str(fact[field]) for fact in facts}))
