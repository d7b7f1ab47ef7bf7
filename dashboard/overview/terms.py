"""The terms of a service, to change. Two people may change the same one: the second is told what the first wrote."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

from dashboard import states, tables
from dashboard.client import Client, Document, Refused
from dashboard.tables import Row


@dataclass(frozen=True)
class Field:
    """A number of the terms: its path in them, what it is called, what it means, its limits and its step."""

    path: tuple[str, ...]
    label: str
    about: str
    least: float
    most: float
    step: float


FIELDS = (
    Field(("quantile",), "Demand to plan for (quantile)",
          "of the forecast of each hour: 0.95 is exceeded in one hour of twenty", 0.01, 0.999, 0.01),
    Field(("horizon_days",), "Horizon (days)", "planned, and compared in money, together", 1, 7, 1),
    Field(("least_saving_fraction",), "Least saving (share of cost)",
          "of what keeping costs: a smaller saving changes nothing", 0.0, 0.99, 0.01),
    Field(("least_saving_usd",), "Least saving ($ over the horizon)", "likewise, in US dollars", 0.0, 1e9, 1.0),
    Field(("schedule", "start_up_s"), "Start-up (s)", "from the order until an instance serves; it is paid",
          0, 86400, 60),
    Field(("schedule", "usd_per_start"), "Cost of a start ($)", "beside the time it takes", 0.0, 1e6, 0.1),
    Field(("schedule", "min_up_hours"), "Shortest run (h)", "hours that an instance serves before it may stop",
          1, 168, 1),
)  # fmt: skip
WHOLE = {("horizon_days",), ("schedule", "min_up_hours")}
"""Fields that are counts."""


def edit(client: Client, name: str) -> None:
    """The form; what was read when it was opened is what a change is of (ETag and If-Match)."""
    key = f"terms of {name}"
    if key not in st.session_state:
        read = client.read(f"/v1/services/{name}")
        st.session_state[key] = {"etag": read.etag, "service": read.document["service"], "round": 0}
    opened: Document = st.session_state[key]
    if "mine" in opened:
        _settle(client, name, opened)
        return
    terms = opened["service"]["terms"]
    with st.form(f"{key} {opened['round']}", border=False):
        modes = ["hourly", "static"]
        mode = st.selectbox("Fleet", modes, index=modes.index(terms["mode"]), key=f"mode, {key} {opened['round']}",
                            help="hourly: by the hour of the day; static: one plan, for the busiest hour")  # fmt: skip
        changes: dict[tuple[str, ...], Any] = {("mode",): mode}
        for field in FIELDS:
            changes[field.path] = _number(field, _at(terms, field.path), f"{field.label}, {key} {opened['round']}")
        if st.form_submit_button("Save the terms", icon=":material/save:", type="primary"):
            _save(client, name, opened, _changed(terms, changes))


def forget(name: str) -> None:
    """Read the terms again when they are edited next."""
    st.session_state.pop(f"terms of {name}", None)


def differences(read: Document, theirs: Document, mine: Document) -> list[Row]:
    """Terms that somebody changed: as they were read, as they are now, and as they were to be."""
    labels = {("mode",): "Fleet", **{field.path: field.label for field in FIELDS}}
    rows: list[Row] = []
    for path, label in labels.items():
        was, now, wanted = _at(read, path), _at(theirs, path), _at(mine, path)
        if not was == now == wanted:
            by = "both" if was != now and was != wanted else "they" if was != now else "you"
            rows.append({"term": label, "as you read it": was, "theirs": now, "yours": wanted, "changed by": by})
    return rows


def _save(client: Client, name: str, opened: Document, mine: Document) -> None:
    now = client.read(f"/v1/services/{name}")
    if now.document["service"] == opened["service"]:
        opened["etag"] = now.etag  # at most what runs is another: that is no conflict with terms
    try:
        client.put(f"/v1/services/{name}", {**opened["service"], "terms": mine}, if_match=opened["etag"])
    except Refused as error:
        if error.status != 412:
            states.refused(error)
            return
        opened["mine"] = mine
        st.rerun()
    _close(name, "The terms are saved; they hold from the next night on.")


def _settle(client: Client, name: str, opened: Document) -> None:
    """Both versions, and which is to be."""
    now = client.read(f"/v1/services/{name}")
    theirs, mine = now.document["service"], opened["mine"]
    st.warning("**Somebody else changed this service meanwhile.** Nothing of yours is written yet.",
               icon=":material/sync_problem:")  # fmt: skip
    rows = differences(opened["service"]["terms"], theirs["terms"], mine)
    tables.show(rows, name=f"both versions of {name}")
    if {**theirs, "terms": {}} != {**opened["service"], "terms": {}}:
        st.markdown("They changed more than the terms (what is served, or its demand); that stays as they wrote it.")
    load, write = st.columns(2)
    if load.button("Load theirs", key=f"load {name}", icon=":material/download:", help="what you typed is dropped"):
        _reopen(name, now.etag, theirs)
    if write.button("Write mine", key=f"write {name}", icon=":material/upload:",
                    help="your terms over theirs; all else as it is now"):  # fmt: skip
        try:
            client.put(f"/v1/services/{name}", {**theirs, "terms": mine}, if_match=now.etag)
        except Refused as error:
            if error.status != 412:
                states.refused(error)
                return
            st.rerun()  # changed once more: the newest version is shown
        _close(name, "Your terms are saved over theirs.")


def _close(name: str, said: str) -> None:
    del st.session_state[f"terms of {name}"]
    st.session_state["told"] = said
    st.rerun()


def _reopen(name: str, etag: str, service: Document) -> None:
    turn = st.session_state[f"terms of {name}"]["round"] + 1
    st.session_state[f"terms of {name}"] = {"etag": etag, "service": service, "round": turn}
    st.rerun()


def _number(field: Field, value: float, key: str) -> float:
    kind: Any = int if field.path in WHOLE else float
    least, most = min(field.least, value), max(field.most, value)
    given = st.number_input(field.label, kind(least), kind(most), kind(value), kind(field.step), key=key,
                            format="%d" if kind is int else "%g", help=field.about)  # fmt: skip
    return kind(value if given is None else given)  # type: ignore[no-any-return]


def _at(terms: Document, path: tuple[str, ...]) -> Any:
    value: Any = terms
    for name in path:
        value = value[name]
    return value


def _changed(terms: Document, changes: dict[tuple[str, ...], Any]) -> Document:
    """The terms with these values in their places."""
    new = {**terms, "schedule": {**terms["schedule"]}}
    for path, value in changes.items():
        place = new if len(path) == 1 else new[path[0]]
        place[path[-1]] = value
    return new
