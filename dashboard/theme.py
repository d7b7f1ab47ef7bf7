"""What the theme in ``.streamlit/config.toml`` cannot say."""

from __future__ import annotations

import streamlit as st

_ON_BRIGHT = """<style>
[data-baseweb="tag"], [data-baseweb="tag"] * {color: #12171E !important}
button[kind^="primary"], button[kind^="primary"] * {color: #12171E !important}
</style>"""
"""The dark theme's primary colour has to stand out from a dark page, so what is written on it has to be dark too."""


def complete() -> None:
    """Add it to the page."""
    if st.context.theme.type == "dark":
        st.html(_ON_BRIGHT)
