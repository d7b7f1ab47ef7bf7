"""A list of facts, page by page: the service sends what is shown, and each number says where it is from."""

from __future__ import annotations

import datetime as dt
import math

import streamlit as st

from dashboard import states, tables
from dashboard.client import Client, Document
from dashboard.profiles.columns import KINDS, Column, Kind
from dashboard.tables import Cell

PAGE_ROWS = 20
MOST_AT_ONCE = 1000
"""Rows that the service gives at once: so far one request goes on the way to a page."""

MOST_SOURCE = 18
"""Letters of a source that are shown; hovering shows all."""

_PAGE = "list_page"
"""What the page is called in the address."""

_UNBROKEN = str.maketrans({" ": "\N{NO-BREAK SPACE}"})


def show(client: Client, kind: str, **wanted: str | None) -> None:
    """The facts of one kind with these values (``gpu``, ``model``, ``provider``; None: any)."""
    path = f"/v1/profiles/{kind}"
    first = client.get(path, limit=PAGE_ROWS, **wanted)
    num_found: int = first["num_found"]
    if not num_found:
        states.empty("Nothing of this kind is known here", "Choose other filters, or add a file under *Import*.")
        return
    slot = st.container()
    page = _chosen_page(f"{kind} {wanted}", math.ceil(num_found / PAGE_ROWS))
    items = first["items"] if page == 1 else _page(client, path, page, wanted)
    begin = (page - 1) * PAGE_ROWS + 1
    with slot:
        st.text(f"Rows {begin:,} to {begin + len(items) - 1:,} of {num_found:,}")
        about = {column.heading: column.about for column in KINDS[kind].columns if column.about}
        today = dt.datetime.now(dt.UTC).date()
        tables.show([row(KINDS[kind], fact, today) for fact in items], KINDS[kind].title, about, page_rows=PAGE_ROWS)


def row(kind: Kind, fact: Document, today: dt.date) -> dict[str, str | None]:
    """One fact as a row of a table."""
    source, as_of = str(fact["source"]), str(fact["as_of"])
    cells = {column.heading: _cell(column, fact, f"{kind.origin}: {source}, {as_of}") for column in kind.columns}
    short = source if len(source) <= MOST_SOURCE else f"{source[: MOST_SOURCE - 1]}…"
    return cells | {
        "As of": Cell(as_of, f"{age(as_of, today)} old: the day it was measured or published"),
        "Source": Cell(short.translate(_UNBROKEN), source),
    }


def age(as_of: str, today: dt.date) -> str:
    """How old something of that day is, in words."""
    days = max((today - dt.date.fromisoformat(as_of)).days, 0)
    if days < 60:
        return "a day" if days == 1 else f"{days} days"
    return f"{days / 30.4:.0f} months" if days < 730 else f"{days / 365.25:.1f} years"


def _cell(column: Column, fact: Document, origin: str) -> str | None:
    value = fact.get(column.field)
    if column.field == "model" and value:
        return Cell(value.rsplit("/", 1)[-1], value)
    if value is None or isinstance(value, str):
        return value or None
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    return Cell(text, f"{column.about}; {origin}")


def _page(client: Client, path: str, page: int, wanted: dict[str, str | None]) -> list[Document]:
    """The rows of a page, by the cursor that the rows before it end with."""
    cursor, before = None, (page - 1) * PAGE_ROWS
    while before:
        step = min(before, MOST_AT_ONCE)
        cursor = client.get(path, limit=step, cursor=cursor, **wanted)["next_cursor"]
        before -= step
    items: list[Document] = client.get(path, limit=PAGE_ROWS, cursor=cursor, **wanted)["items"]
    return items


def _chosen_page(listed: str, num_pages: int) -> int:
    """The page that is shown, also in the address: there the first list of a session begins, all others with page 1."""
    first, linked = st.session_state.setdefault("first list", (listed, st.query_params.get(_PAGE, "")))
    begin = int(linked) if first == listed and linked.isascii() and linked.isdecimal() and len(linked) < 7 else 1
    page = 1
    if num_pages > 1:
        page = st.pagination(num_pages, default=begin if 1 <= begin <= num_pages else 1, key=f"page of {listed}")
    if page > 1:
        st.query_params[_PAGE] = str(page)
    else:
        st.query_params.pop(_PAGE, None)
    return page
