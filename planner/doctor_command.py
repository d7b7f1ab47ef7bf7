"""``gpuplan doctor``: is everything there that plans need, and what to do where not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.text import Text

from planner import command
from planner.command import Database, Json, reports_errors

if TYPE_CHECKING:
    from planner.doctor import Finding

MARKS = {"ok": ("ok", "green"), "off": ("–", "dim"), "warn": ("warn", "yellow"), "fail": ("FAIL", "bold red")}
"""How a state is shown: a word, and a colour where there are colours."""

NAME_WIDTH = 18


@reports_errors
def doctor(database: Database = None, json_output: Json = False) -> None:
    """Look at versions, solvers, the store, its age, GPUs and optional packages, and say how to mend what is wrong.

    Exit code: 0 all is well, 1 something fails.

    Example: gpuplan doctor
    """
    from planner.doctor import examine

    found = []
    for finding in examine(database):
        found.append(finding)
        if not json_output:
            command.out().print(_line(finding), soft_wrap=True)
    failed = any(finding.state == "fail" for finding in found)
    if json_output:
        command.print_json({"well": not failed, "findings": [finding.model_dump() for finding in found]})
    raise typer.Exit(int(failed))


def _line(finding: Finding) -> Text:
    word, colour = MARKS[finding.state]
    line = Text.assemble((f"{word:<5}", colour), f"{finding.name:<{NAME_WIDTH}}", finding.detail)
    if finding.fix:
        apart = "  " if finding.state == "off" else f"\n{'':{5 + NAME_WIDTH}}"
        line.append(f"{apart}→ {finding.fix}", style="dim")
    return line
