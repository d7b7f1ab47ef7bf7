"""Tables: real HTML ones, for screen readers and narrow screens, paged, with what each number means on hover."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import streamlit as st

Row = Mapping[str, Any]

PAGE_ROWS = 20
"""Rows that are sent at once."""

SHORT = 12
"""Letters of a cell that is never broken into lines: names of GPUs, dates."""

_STYLE = """<style>
.gpuplan-table {overflow-x: auto; margin: 0 0 .5rem 0}
.gpuplan-table:focus-visible {outline: 2px solid currentColor}
.gpuplan-table table {border-collapse: collapse; width: 100%; font-size: .92rem}
.gpuplan-table th, .gpuplan-table td {padding: .3rem .6rem; text-align: left; vertical-align: top}
.gpuplan-table th, .gpuplan-table td {border: 0; border-bottom: 1px solid #8884}
.gpuplan-table .number {text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap}
.gpuplan-table .short {white-space: nowrap}
.gpuplan-table td:first-child:not(.number, .short) {min-width: 10rem}
.gpuplan-table [title] {text-decoration: underline dotted #8888; text-underline-offset: .2em; cursor: help}
</style>"""


class Cell(str):
    """A text with what it means (unit, origin, error), which is shown on hover."""

    about: str

    def __new__(cls, text: str, about: str) -> Cell:
        """The text as it is shown."""
        cell = super().__new__(cls, text)
        cell.about = about
        return cell


def show(rows: Sequence[Row], name: str, about: Mapping[str, str] | None = None, *, page_rows: int = PAGE_ROWS) -> None:
    """Show rows, ``page_rows`` at a time. Columns are the keys of the first row; ``name`` names the table for screen
    readers and makes it unique on its page; ``about`` says by column what is in it.
    """
    if not rows:
        return
    num_pages = math.ceil(len(rows) / page_rows)
    page = 1
    if num_pages > 1:
        page = min(st.session_state.get(_pager(name), 1), num_pages)
    part = rows[(page - 1) * page_rows : page * page_rows]
    st.html(_html(part, name, about or {}))
    if num_pages > 1:
        st.pagination(num_pages, key=_pager(name))


def download(rows: Sequence[Row], name: str, label: str = "CSV") -> None:
    """A button that saves rows as CSV."""
    st.download_button(label, lambda: as_csv(rows), f"{name}.csv", "text/csv", key=f"csv {name}",
                       icon=":material/download:", on_click="ignore")  # fmt: skip


def as_csv(rows: Sequence[Row]) -> str:
    """Rows as CSV, in UTF-8. Texts that a spreadsheet would run as formulas are quoted."""
    out = io.StringIO()
    if rows:
        writer = csv.writer(out)  # ends lines as RFC 4180 has it, and so quotes both characters of that
        writer.writerow(rows[0])
        writer.writerows([_harmless(value) for value in row.values()] for row in rows)
    return out.getvalue()


def _pager(name: str) -> str:
    return f"page of {name}"


def _harmless(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r", "\n") else value


def _html(rows: Sequence[Row], name: str, about: Mapping[str, str]) -> str:
    columns = list(rows[0])
    numeric = {column for column in columns if all(_is_number(row.get(column)) for row in rows)}
    head = "".join(f'<th scope="col"{_class(c in numeric)}{_title(about.get(c))}>{escape(c)}</th>' for c in columns)
    body = "".join(
        "<tr>" + "".join(_cell(row.get(column), column in numeric) for column in columns) + "</tr>" for row in rows
    )
    label = escape(name, quote=True)
    return (
        f'{_STYLE}<div class="gpuplan-table" tabindex="0" role="region" aria-label="{label}">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _cell(value: Any, is_number: bool) -> str:
    inner = escape(_text(value))
    if isinstance(value, Cell) and value.about:
        inner = f"<span{_title(value.about)}>{inner}</span>"
    return f"<td{_class(is_number, is_short=len(str(value)) <= SHORT)}>{inner}</td>"


def _class(is_number: bool, is_short: bool = False) -> str:
    return ' class="number"' if is_number else ' class="short"' if is_short else ""


def _title(text: str | None) -> str:
    return f' title="{escape(text, quote=True)}"' if text else ""


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


_NUMBER = re.compile(r"[<>≈~]?[−+-]?[$€]?[−+-]?[\d,]*\.?\d+(e[+-]?\d+)?( ?[×%]| ?[A-Za-zµ/²₂]{1,12})?")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return value in (None, "", "–") or isinstance(value, int | float) or bool(_NUMBER.fullmatch(str(value)))
