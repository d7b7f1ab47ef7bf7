"""What the theme in ``.streamlit/config.toml`` cannot say."""

from __future__ import annotations

import streamlit as st

_TARGETS = """<style>
[data-testid="stMultiSelect"] button[aria-label="Clear all"] {min-width: 24px; min-height: 24px}
</style>"""
"""Streamlit sizes it by the font, and 24 px is the least that a finger can be asked to hit (WCAG 2.5.8)."""

_ON_BRIGHT = """<style>
[data-tag], [data-tag] * {color: #12171E !important}
button[kind^="primary"], button[kind^="primary"] * {color: #12171E !important}
</style>"""
"""The dark theme's primary colour has to stand out from a dark page, so what is written on it has to be dark too."""


def complete() -> None:
    """Add it to the page."""
    st.html(_TARGETS)
    if st.context.theme.type == "dark":
        st.html(_ON_BRIGHT)
