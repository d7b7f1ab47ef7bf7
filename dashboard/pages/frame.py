"""The frame: which pages there are, and what surrounds each. ``dashboard.app`` runs it for every visitor."""

from __future__ import annotations

import streamlit as st

from dashboard import connection, theme

st.set_page_config(page_title="gpuplan", page_icon="🧮", layout="wide")

chosen = st.navigation([
    st.Page("overview.py", title="Overview", icon=":material/home:", default=True),
    st.Page("serving.py", title="Serving", icon=":material/dns:"),
    st.Page("experts.py", title="Experts", icon=":material/hub:"),
    st.Page("training.py", title="Training", icon=":material/model_training:"),
    st.Page("power.py", title="Power", icon=":material/bolt:"),
    st.Page("profiles.py", title="Profiles", icon=":material/speed:"),
    st.Page("history.py", title="History", icon=":material/history:"),
])  # fmt: skip
theme.complete()
connection.sidebar()
connection.guarded(chosen.run)
