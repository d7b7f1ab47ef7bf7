"""What a page begins with: a spec from an example, a saved plan (``?plan=ID`` in the address) or a file."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

import streamlit as st

from dashboard import address, uploads
from dashboard.client import Client, Document, Refused
from dashboard.words import plain


@dataclass(frozen=True)
class Start:
    """A spec to begin with, and the saved plan that it is from; None for the example."""

    spec: Document
    plan: Document | None = None

    @property
    def plan_id(self) -> str:
        """Of the saved plan; empty for the example."""
        return "" if self.plan is None else str(self.plan["id"])

    def saved(self, spec: Document) -> Document | None:
        """The saved plan while nothing is changed."""
        return self.plan if spec == self.spec else None


def spec(client: Client, kind: str) -> Start:
    """The spec that a page of this kind begins with, and the controls that choose another one.

    What is chosen is in the address as ``plan``, so the address restores it.
    """
    plan_id = st.query_params.get("plan", "")
    with st.expander("Start from a spec file or a saved plan", icon=":material/folder_open:"):
        _choose(client, kind, plan_id)
    if plan_id:
        try:
            plan = client.get(f"/v1/plans/{quote(plan_id, safe='')}")
        except Refused as error:
            if error.status not in (404, 422):
                raise
            st.warning(f"The address names a plan {plain(plan_id[:64])} that this service does not have: "
                       "this is the example instead.")  # fmt: skip
        else:
            if plan.get("kind") == kind and "spec" in plan:
                return Start(plan["spec"], plan)
            st.warning(f"Plan {plain(plan_id[:64])} is not a {kind} plan: this is the example instead.")
    return Start(_example(client, kind))


def _choose(client: Client, kind: str, plan_id: str) -> None:
    saved = client.get("/v1/plans", kind=kind, limit=20)["plans"]
    labels = {p["id"]: _label(p, kind) for p in saved}
    if plan_id:
        labels.setdefault(plan_id, plan_id)
    options = ["", *labels]
    chosen = st.selectbox("Saved plan", options, index=options.index(plan_id), key=f"start of {kind} {plan_id}",
                          format_func=lambda i: labels.get(i, "the built-in example"))  # fmt: skip
    if chosen != plan_id:
        address.begin_with(chosen)
    given = uploads.ask("Spec file", ("yaml", "yml", "json"), key=f"spec of {kind}")
    if given is None or st.session_state.get(f"used spec of {kind}") == given:
        return
    try:
        document = uploads.spec(*given)
    except uploads.BadFile as error:
        st.error(plain(str(error)))
        return
    if document.get("kind", kind) != kind:
        st.error(f"This is a spec of the {plain(str(document['kind']))} planner: open it on that page.")
        return
    made = client.post("/v1/plans", {"kind": kind, "spec": {**document, "kind": kind}}, wait_s=60)
    if made.status == 202:
        st.warning("This takes longer than a minute: it will be in the list of saved plans.")
        return
    st.session_state[f"used spec of {kind}"] = given
    address.begin_with(made.document["id"])


def _label(entry: Document, kind: str) -> str:
    """A plan in a list; with its id, because Streamlit tells choices apart by what they are called."""
    when = entry["created_at"][:16].replace("T", " ")
    return f"{entry['name'] or kind}, {entry['outcome']}, {when}, {entry['id'][:6]}"


def _example(client: Client, kind: str) -> Document:
    example: Document = client.get(f"/v1/planners/{kind}")["example"]
    return example
