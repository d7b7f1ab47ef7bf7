"""Files of a saved plan: its spec, the plan itself, and what other systems read."""

from __future__ import annotations

import re

import streamlit as st
import yaml

from dashboard import states
from dashboard.client import Client, Document, Refused
from dashboard.words import plain

MOST_LINES, MOST_COLUMNS = 400, 2000
"""Of a file that are shown; the download has all."""


def spec(plan: Document) -> None:
    """What was asked, as YAML to read and to keep."""
    text = yaml.safe_dump(plan["spec"], sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)
    name = file_name(plan)
    st.download_button("Spec as YAML", text, f"{name}.yaml", "application/yaml", icon=":material/download:",
                       on_click="ignore")  # fmt: skip
    st.markdown(f"Plan it again anywhere: `gpuplan plan {plan['kind']} {name}.yaml`")
    _shown(text)


def rendered(client: Client, plan_id: str, plan: Document) -> None:
    """The plan as the files of another system: which, a look at each, and all as one archive."""
    st.download_button("Plan as JSON", lambda: client.content(f"/v1/plans/{plan_id}", "application/json"),
                       f"{file_name(plan)}.json", "application/json", icon=":material/download:", on_click="ignore",
                       help="`gpuplan check` and `gpuplan render` take it")  # fmt: skip
    targets = {t["target"]: t["description"] for t in client.get(f"/v1/planners/{plan['kind']}")["targets"]}
    target = st.selectbox("Files for", [*targets], index=None, key="target", bind="query-params",
                          placeholder="choose a system")  # fmt: skip
    if target is None:
        return
    try:
        files = client.get(f"/v1/plans/{plan_id}/render", target=target)["files"]
    except Refused as error:
        states.refused(error)
        return
    st.markdown(plain(targets[target]))
    st.download_button(
        "All files as zip",
        lambda: client.content(f"/v1/plans/{plan_id}/render", "application/zip", target=target),
        f"{file_name(plan)}-{target}.zip", "application/zip", icon=":material/folder_zip:", on_click="ignore",
    )  # fmt: skip
    name = st.selectbox("Look at", sorted(files), key=f"file of {target}")
    if name is not None:
        _shown(files[name])


def file_name(plan: Document) -> str:
    """A name for files of the plan that any system takes."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", str(plan["spec"].get("name") or plan["kind"])).strip("-.")
    return name[:80] or plan["kind"]


def _shown(text: str) -> None:
    lines = text.splitlines()
    if len(lines) > MOST_LINES:
        st.markdown(f"The first {MOST_LINES} of {len(lines):,} lines; the download has all.")
    # Without a language: the colours of highlighting have too little contrast (WCAG 1.4.3). Wrapped: no keyboard
    # reaches what is scrolled out of sight.
    st.code("\n".join(line[:MOST_COLUMNS] for line in lines[:MOST_LINES]), language=None, wrap_lines=True)
