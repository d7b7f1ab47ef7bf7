"""A view drawn on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from planner.types import Table, View

_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)), "\N{REPLACEMENT CHARACTER}")
"""Names come from files: none of them may move the cursor or colour the terminal."""


def _text(content: str, style: str = "") -> Text:
    return Text(content.translate(_CONTROLS), style=style)


def draw(view: View, console: Console) -> None:
    """Print ``view``: headline, facts, tables, then the notes as sentences."""
    console.print(_text(view.headline, "bold"))
    width = max((len(label) for label, _ in view.facts), default=0)
    for label, text in view.facts:
        console.print(Text.assemble((f"  {label:<{width}}  ", "dim"), _text(text)))
    for table in view.tables:
        console.print()
        draw_table(table, console)
    if view.notes:
        console.print()
    for note in view.notes:
        console.print(_text(f"• {note}"), soft_wrap=not console.is_terminal)  # a sentence in a file is one line


def draw_table(table: Table, console: Console) -> None:
    """Print one table, its numbers aligned right."""
    console.print(_text(table.title, "bold"), soft_wrap=not console.is_terminal)
    drawn = RichTable(box=None, pad_edge=False)
    for column in table.columns:
        drawn.add_column(_text(column), justify="right" if column in table.numeric else "left", header_style="dim")
    for row in table.rows:
        drawn.add_row(*(_text(cell) for cell in row))
    console.print(drawn)
