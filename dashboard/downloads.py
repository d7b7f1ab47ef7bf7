"""Files of a plan for other systems, and the plan itself."""

from __future__ import annotations

import json

import streamlit as st

from dashboard.client import Client, Document


def show(client: Client, plan: Document) -> None:
    """Choose a system; its files to look at and to keep. The plan itself as JSON, and where it is kept."""
    targets = {t["target"]: t["description"] for t in client.get(f"/v1/planners/{plan['kind']}")["targets"]}
    target = st.selectbox("Files for", list(targets), key=f"{plan['kind']}_target", bind="query-params",
                          format_func=lambda name: f"{name}: {targets[name]}")  # fmt: skip
    left, middle, right = st.columns(3)
    path = f"/v1/plans/{plan['id']}/render"
    with left:
        st.download_button(
            "Files (zip)", lambda: client.content(path, "application/zip", target=target),
            f"{plan['kind']}-{target}.zip", "application/zip", key="render zip", icon=":material/folder_zip:",
            on_click="ignore", width="stretch",
        )  # fmt: skip
    with middle:
        st.download_button(
            "Plan (JSON)", lambda: json.dumps(plan, indent=1), f"{plan['kind']}-{plan['id']}.json", "application/json",
            key="plan json", icon=":material/download:", on_click="ignore", width="stretch",
        )  # fmt: skip
    with right:
        st.page_link("history.py", label="Open in History", icon=":material/history:", width="stretch",
                     query_params={"plan": plan["id"]})  # fmt: skip
