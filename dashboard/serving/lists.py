"""Tables of a spec that are edited as such: the mix of sizes, caps, discounts and prices of one's own.

What is in them does not fit into an address, so it is planned and saved first; then the page begins with that plan.
"""

from __future__ import annotations

import hashlib
import json

import pandas as pd
import streamlit as st

from dashboard import address, replanning, states
from dashboard.client import Client, Document, Refused
from dashboard.serving import known, workload

_CHOSEN = ("gpu", "provider", "region", "instance_type", "market")
LISTS = {
    ("limits", "availability"): ("Caps", ("gpu", "max_gpus", "max_instances", *_CHOSEN[1:])),
    ("offers", "discounts"): ("Discounts", ("provider", "fraction", "gpu", "region", "instance_type", "market")),
    ("offers", "prices"): ("Own prices", ("provider", "instance_type", "region", "usd_per_hour", "market")),
}
"""Lists of a spec by their place in it: title, and the fields of an entry. One left empty matches all."""

COUNTS = ("max_gpus", "max_instances")
ABOUT = {
    "max_gpus": "GPUs at most; give this or max_instances",
    "max_instances": "instances at most; give this or max_gpus",
    "fraction": "0.3 takes 30% off the list price",
    "usd_per_hour": "of one instance, instead of the list price",
}


def show(client: Client, spec: Document, index: int) -> None:
    """Edit the lists of ``spec``, and the mix of sizes of the service at ``index``."""
    part = st.expander("Edit the mix of sizes, caps, discounts and own prices", icon=":material/table_edit:",
                       key="edit_lists", on_change="rerun")  # fmt: skip
    if not part.open:
        return
    choices = known.offers(client.url, client.key)
    digest = hashlib.sha256(json.dumps([spec, index], sort_keys=True).encode()).hexdigest()
    with part, st.form(f"lists of serving {digest}", border=False):
        left, right = st.columns([1, 2.2], gap="medium")
        with left:
            shares = _shares(spec["services"][index], digest)
        with right:
            edited = {place: _rows(spec, place, choices, digest) for place in LISTS}
        asked = st.form_submit_button("Plan with these", icon=":material/play_arrow:")
    if asked and shares and not any(share > 0 for share in shares):
        st.error("**No size has any share.** Give at least one a number above zero.", icon=":material/edit:")
    elif asked:
        _begin_with(client, changed(spec, index, shares, edited))


def changed(spec: Document, index: int, shares: list[float], edited: dict[tuple[str, str], list[Document]]) -> Document:
    """The spec with edited lists, by their place in it, and with the shares of sizes of the service at ``index``."""
    new = dict(spec)
    for (group, field), rows in edited.items():
        new[group] = {**(new.get(group) or {}), field: [row for row in rows if row]}
    now = spec["services"][index]["workload"]
    if not shares or shares == [size["share %"] for size in workload.sizes(now)]:
        return new
    return workload.replaced(new, index, workload.with_shares(now, shares))


def _begin_with(client: Client, spec: Document) -> None:
    try:
        plan = replanning.plan(client, "serving", spec)
    except Refused as error:
        states.refused(error)
    else:
        address.begin_with(plan["id"])


def _shares(service: Document, digest: str) -> list[float]:
    """The shares of the sizes, edited; none where there are too many to edit."""
    sizes = workload.sizes(service["workload"])
    if not sizes:
        return []
    if len(sizes) > workload.MOST_EDITED:
        st.markdown(f"{len(sizes):,} sizes are too many to edit one by one: scale them above, or give another trace.")
        return []
    st.markdown("**Mix of sizes**")
    columns = {"share %": st.column_config.NumberColumn(min_value=0, format="%.4g", required=True)}
    table = st.data_editor(
        pd.DataFrame(sizes), key=f"sizes {digest}", hide_index=True, column_config=columns, height=420,
        disabled=["input tokens", "output tokens"], alt="share of requests by input and output tokens",
    )  # fmt: skip
    st.markdown("Shares need not add up to 100: their proportions count.")
    return [0.0 if pd.isna(share) else float(share) for share in table["share %"]]


def _rows(spec: Document, place: tuple[str, str], choices: known.Known, digest: str) -> list[Document]:
    """The entries of one list, edited."""
    title, fields = LISTS[place]
    st.markdown(f"**{title}**")
    entries: list[Document] = (spec.get(place[0]) or {}).get(place[1]) or []
    if len(entries) > workload.MOST_EDITED:
        st.markdown(f"{len(entries):,} entries are too many to edit here: change them in the spec file.")
        return entries
    table = pd.DataFrame([{name: entry.get(name) for name in fields} for entry in entries], columns=list(fields))
    options = {name: list(getattr(choices, f"{name}s")) for name in _CHOSEN}
    columns = {
        name: st.column_config.SelectboxColumn(options=options[name], width="small")
        if name in options
        else st.column_config.NumberColumn(min_value=0, help=ABOUT[name], width="small")
        for name in fields
    }
    typed = table.astype({name: "object" if name in options else "float64" for name in fields})
    edited = st.data_editor(typed, key=f"{title} {digest}", num_rows="dynamic", hide_index=True, column_config=columns,
                            alt=f"{title}: add a row at the end")  # fmt: skip
    return [_entry({str(name): value for name, value in row.items()}) for row in edited.to_dict("records")]


def _entry(row: Document) -> Document:
    """Without what was left empty."""
    given = {name: value for name, value in row.items() if value not in (None, "") and not pd.isna(value)}
    return {name: int(value) if name in COUNTS else value for name, value in given.items()}
