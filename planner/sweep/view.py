"""A sweep as people see it."""

from __future__ import annotations

import json

from pydantic import JsonValue

from planner.sweep.spec import SweepAnswer
from planner.types import Table


def table(answer: SweepAnswer, most_rows: int) -> Table:
    """One line per scenario, ``most_rows`` at most: what changed, what came of it."""
    paths = tuple(dict.fromkeys(path for row in answer.rows for path in row.changes))
    shown = answer.rows[:most_rows]
    failed = f", {answer.num_failed:,} of them failed" if answer.num_failed else ""
    more = f" (the first {most_rows}; --out and --json have all)" if len(answer.rows) > most_rows else ""
    return Table(
        title=f"{answer.name or answer.swept}: {len(answer.rows):,} scenarios{failed}{more}",
        columns=(*paths, "outcome", "objective", "what"),
        rows=tuple(
            (
                *(_value(row.changes[path]) if path in row.changes else "" for path in paths),
                row.outcome,
                "" if row.objective is None else f"{row.objective:,.6g}",
                ": ".join(filter(None, (row.field, row.error))) or row.headline,
            )
            for row in shown
        ),
        numeric=("objective",),
    )


def _value(value: JsonValue) -> str:
    if isinstance(value, dict) and value.keys() == {"times"}:
        return f"×{value['times']}"
    return value if isinstance(value, str) else json.dumps(value)
