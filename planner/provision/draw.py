"""Changes and units drawn on a terminal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.text import Text

from planner.draw import draw_table
from planner.provision.changes import ABSENT, Change
from planner.provision.driver import UnitState
from planner.types import Table

_MARKS = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red"), "leave": ("!", "dim")}
MOST_CHARACTERS, MOST_FIELDS = 120, 20
"""Of a value, and of fields of one object, shown to people; a machine gets all."""


def draw_changes(found: Iterable[Change], title: str, console: Console) -> None:
    """Print ``title`` and every change, field by field."""
    found = tuple(found)
    actions = Counter(change.action for change in found)
    counts = ", ".join(f"{actions[action]} to {action}" for action in ("add", "change", "remove"))
    console.print(Text(f"{title}: {counts}", style="bold"))
    for change in found:
        mark, colour = _MARKS[change.action]
        replicas = change.document.get("spec", {}).get("replicas") if change.action == "add" else None
        size = f" (replicas: {replicas})" if replicas else ""
        note = " (made by others: left alone)" if change.action == "leave" else ""
        console.print(Text(printable(f"{mark} {change.key}{size}{note}"), style=colour))
        for field in change.fields[:MOST_FIELDS]:
            console.print(
                Text(f"    {printable(field.path)}: {_short(field.before)} → {_short(field.after)}"), soft_wrap=True
            )
        if len(change.fields) > MOST_FIELDS:
            console.print(Text(f"    and {len(change.fields) - MOST_FIELDS} more fields: --json has all"))
        if change.obstacle:
            console.print(Text(f"    would be refused: {printable(change.obstacle)}", style="red"), soft_wrap=True)


def _short(value: Any) -> str:
    text = value if value == ABSENT else json.dumps(value, ensure_ascii=False, default=str)
    return printable(text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…")


def printable(text: str) -> str:
    """No value from a target may move the cursor or colour the terminal."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def draw_units(units: Iterable[UnitState], console: Console) -> None:
    """Print how many replicas of each unit are ready; nothing where there is none."""
    rows = tuple((unit.unit, str(unit.ready), str(unit.wanted), unit.reason) for unit in units)
    if rows:
        columns = ("unit", "ready", "wanted", "why not all")
        table = Table(title="units", columns=columns, rows=rows, numeric=("ready", "wanted"))
        draw_table(table, console)
