"""Tables: texts of others stay texts, on the page and in a spreadsheet."""

from __future__ import annotations

import csv
import io

import pytest

from dashboard import tables
from dashboard.tables import Cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@a", "\t=1", "\r=1", "\n=1", "\r\n=1"])
def test_no_cell_of_a_csv_is_a_formula(text: str) -> None:
    rows = list(csv.reader(io.StringIO(tables.as_csv([{"name": text}]), newline="")))
    assert rows[1][0] == f"'{text}"


@pytest.mark.parametrize("end", ["\r", "\n", "\r\n"])
def test_a_cell_with_several_lines_stays_one_cell(end: str) -> None:
    text = f"a{end}=1+1"
    assert list(csv.reader(io.StringIO(tables.as_csv([{"name": text}]), newline=""))) == [["name"], [text]]


def test_numbers_of_a_csv_stay_numbers() -> None:
    assert tables.as_csv([{"a": -1.5, "b": None}]) == "a,b\r\n-1.5,\r\n"


def test_markup_in_cells_titles_and_names_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    monkeypatch.setattr(tables.st, "html", shown.append)
    evil = "\"'><img src=x onerror=alert(1)>"
    tables.show([{evil: Cell(evil, evil)}], name=evil, about={evil: evil})
    assert "<img" not in shown[0]
    assert shown[0].count("&lt;img") == 5
