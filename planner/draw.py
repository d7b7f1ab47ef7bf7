"""A view drawn on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from planner.types import Table, View


def draw(view: View, console: Console) -> None:
    """Print ``view``: headline, facts, tables, then the notes as sentences."""
    console.print(Text(view.headline, style="bold"))
    width = max((len(label) for label, _ in view.facts), default=0)
    for label, text in view.facts:
        console.print(Text.assemble((f"  {label:<{width}}  ", "dim"), text))
    for table in view.tables:
        console.print()
        draw_table(table, console)
    if view.notes:
        console.print()
    for note in view.notes:
        console.print(Text(f"• {note}"))


def draw_table(table: Table, console: Console) -> None:
    """Print one table, its numbers aligned right."""
    drawn = RichTable(title=Text(table.title, style="bold"), title_justify="left", box=None, pad_edge=False)
    for column in table.columns:
        drawn.add_column(Text(column), justify="right" if column in table.numeric else "left", header_style="dim")
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(drawn)
