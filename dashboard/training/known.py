"""What the service knows that the controls offer: models and GPU types."""

from __future__ import annotations

import streamlit as st

from dashboard.client import Client

KEPT_S = 60
"""Until what somebody imports meanwhile is offered here."""


@st.cache_data(ttl=KEPT_S, max_entries=16, show_spinner=False)
def names(url: str, key: str, kind: str) -> tuple[str, ...]:
    """The first thousand names of ``kind``, models or gpus, in order."""
    items = Client(url, key).get(f"/v1/profiles/{kind}", limit=1000)["items"]
    return tuple(sorted(str(item["name"]) for item in items))
