"""What is done with a plan that is good: its spec as a file, its page in the history, a service planned every night."""

from __future__ import annotations

import re
from typing import Any

import streamlit as st
import yaml

from dashboard import states
from dashboard.client import Answer, Client, Document, Refused
from dashboard.words import plain

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SEEN = "nightly services seen"


def show(client: Client, plan: Document) -> None:
    """The spec to download, links, and the form that saves a service."""
    spec = trimmed(plan["spec"])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download spec (YAML)", lambda: as_yaml(spec), f"{_file_name(plan)}.yaml", "application/yaml",
            key="spec_yaml", icon=":material/download:", on_click="ignore",
        )  # fmt: skip
        st.page_link("history.py", label="Open in History", icon=":material/history:",
                     query_params={"plan": plan["id"]})  # fmt: skip
    st.markdown("History has its check, and its files for Kubernetes, SkyPilot and others.")
    with st.expander("Spec", icon=":material/description:"):
        st.code(as_yaml(spec), language=None, wrap_lines=True)
    st.subheader("Plan it every night")
    _nightly(client, plan, spec)


def trimmed(document: Any) -> Any:
    """A document without what is not given: nulls and empty lists."""
    if isinstance(document, dict):
        kept = {name: trimmed(value) for name, value in document.items()}
        return {name: value for name, value in kept.items() if value not in (None, [], {}, "")}
    return [trimmed(value) for value in document] if isinstance(document, list) else document


def as_yaml(spec: Document) -> str:
    """A spec as people write it."""
    return yaml.safe_dump(spec, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


def _file_name(plan: Document) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", plan["spec"].get("name") or "serving").strip("-.") or "serving"


def _nightly(client: Client, plan: Document, spec: Document) -> None:
    st.markdown("A saved service is planned again every night, from its own demand, and says whether changing pays.")
    name = st.text_input("Name of the service", _suggested(plan), max_chars=63, key="nightly_name",
                         help="small letters, digits and dashes")  # fmt: skip
    if not _NAME.fullmatch(name):
        st.warning("A name has small letters, digits and dashes only, and neither begins nor ends with a dash.")
        return
    there = _seen(client, name)
    if there is None:
        label = "Save as a nightly service"
    else:
        label = f"Replace what {name} plans"
        when = there.document["updated_at"][:16].replace("T", " ")
        st.markdown(f"There is a service of this name (version {there.document['version']}, saved {when} UTC). "
                   "Its demand and terms stay; its spec becomes this one.")  # fmt: skip
    if st.button(label, key="save_nightly", icon=":material/bedtime:"):
        _save(client, name, spec, there)


def _save(client: Client, name: str, spec: Document, there: Answer | None) -> None:
    service = {**(there.document["service"] if there else {}), "name": name, "spec": spec}
    try:
        saved = client.put(f"/v1/services/{name}", service, there.etag if there else "")
    except Refused as error:
        if error.status in (412, 428):
            st.session_state[_SEEN].pop(name, None)
            st.error(f"**Somebody else saved {plain(name)} meanwhile**, so nothing was overwritten. "
                     "Look at theirs on the Overview page, then save again here to replace it.",
                     icon=":material/group:")  # fmt: skip
        else:
            states.refused(error)
        return
    st.session_state[_SEEN][name] = saved
    st.success(f"Saved as version {saved.document['version']}: `gpuplan replan` and the Overview page plan it.",
               icon=":material/check:")  # fmt: skip


def _seen(client: Client, name: str) -> Answer | None:
    """The service as this session saw it first: a change made meanwhile is found out when it is saved."""
    seen: dict[str, Answer | None] = st.session_state.setdefault(_SEEN, {})
    if name not in seen:
        try:
            seen[name] = client.read(f"/v1/services/{name}")
        except Refused as error:
            if error.status != 404:
                raise
            seen[name] = None
    return seen[name]


def _suggested(plan: Document) -> str:
    name = re.sub(r"[^a-z0-9-]+", "-", (plan["spec"].get("name") or "").lower()).strip("-")[:63].strip("-")
    return name or "serving"
