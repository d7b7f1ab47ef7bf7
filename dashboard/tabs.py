"""Tabs of which only the open one is drawn, and which the address remembers."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import streamlit as st


def show(parts: Mapping[str, Callable[[], object]], key: str) -> None:
    """One tab per part, by title; ``key`` is its name in the address."""
    tabs = st.tabs(list(parts), key=key, on_change="rerun", bind="query-params")
    for tab, draw in zip(tabs, parts.values(), strict=True):
        if tab.open:
            with tab:
                draw()
