"""``gpuplan compare``: what changed from one plan to another, and why."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from planner import command
from planner.command import Database, Json, reports_errors
from planner.completion import plan_ids

if TYPE_CHECKING:
    from planner.compare import Change, Comparison, Difference
    from planner.types import Table, View

MOST_ROWS, MOST_OF_ONE_LIST, MOST_CHARACTERS = 40, 8, 60
"""Changes, those within one list, and characters of a value that are shown to people; ``--json`` has all."""

HEADLINES = ("objective", "bound", "usd_per_hour", "power_w")
"""Fields of plans that are shown above the tables."""

Plan = Annotated[str, typer.Argument(help="file of a plan, or the id of a saved one", autocompletion=plan_ids)]


@reports_errors
def compare(old: Plan, new: Plan, database: Database = None, json_output: Json = False) -> None:
    """Show what changed from one plan to another of its kind: what was asked, the answer, and why.

    Example: gpuplan compare monday.json tuesday.json
    """
    from planner.compare import compare as compared
    from planner.draw import draw

    before, after = (command.plan_named(name, database).model_dump(mode="json") for name in (old, new))
    found = compared(before, after)
    if json_output:
        command.print_json(found.model_dump_json(indent=2))
    else:
        draw(_view(found), command.out())


def _view(found: Comparison) -> View:
    from planner.types import View

    differences = (("cost", found.usd_per_hour, "$/h"), ("power", found.power_w, "W"),
                   ("objective", found.objective, ""))  # fmt: skip
    return View(
        headline=f"the same {found.kind} plan" if found.same else f"two {found.kind} plans",
        facts=tuple((name, _said(each, unit)) for name, each, unit in differences if each is not None),
        tables=tuple(
            _table(title, changes)
            for title, changes in (("What was asked", found.spec), ("The answer", found.plan))
            if changes
        ),
        notes=found.reasons,
    )


def _said(difference: Difference, unit: str) -> str:
    old, new = ("none" if value is None else f"{value:,.6g}" for value in (difference.old, difference.new))
    relative = "" if difference.relative is None else f" ({difference.relative:+.1%})"
    return f"{old} → {new} {unit}".rstrip() + relative


def _table(title: str, changes: tuple[Change, ...]) -> Table:
    from planner.types import Table

    rows = tuple(_rows([change for change in changes if change.path not in HEADLINES]))
    more = f" (the first {MOST_ROWS} of {len(rows):,}; --json has all)" if len(rows) > MOST_ROWS else ""
    return Table(title=f"{title}{more}", columns=("field", "old", "new", "change"), rows=rows[:MOST_ROWS])


def _rows(changes: list[Change]) -> Iterator[tuple[str, str, str, str]]:
    """A row per change; long lists of them, as of routes, as how many there are."""
    sizes = Counter(_list_of(change) for change in changes)
    summed_up = set()
    for change in changes:
        name = _list_of(change)
        if not name or sizes[name] <= MOST_OF_ONE_LIST:
            yield change.path, _short(change.old), _short(change.new), _change(change)
        elif name not in summed_up:
            summed_up.add(name)
            yield f"{name}[…]", "", "", f"{sizes[name]:,} changes"


def _list_of(change: Change) -> str:
    """The list that a change lies in, or nothing."""
    name, bracket, _ = change.path.partition("[")
    return name if bracket else ""


def _short(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, dict):
        return "…"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"


def _change(change: Change) -> str:
    if change.difference is not None:
        return f"{change.difference:+,.6g}"
    return change.detail or ("added" if change.old is None else "removed" if change.new is None else "")
