"""Progress goes to whoever listens, and nowhere else."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from planner import command
from planner.progress import progress, showing


def test_progress_is_heard_inside_the_block_only() -> None:
    heard: list[tuple[str, float]] = []
    progress("before", 0.5)
    with showing(lambda label, fraction: heard.append((label, fraction))):
        progress("inside", 0.25)
        with showing(lambda *_: None):
            progress("for another", 0.5)
        progress("inside", 1.5)
    progress("after", 1.0)
    assert heard == [("inside", 0.25), ("inside", 1.0)]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_bar_is_for_terminals_only(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=terminal, width=120, color_system=None)
    monkeypatch.setattr(command, "err", lambda: console)
    with command.progressing("planning", at_most_s=30):
        progress("moving assumptions", 0.5)
    shown = screen.getvalue()
    assert ("planning: moving assumptions" in shown) is terminal
    assert ("of at most 30 s" in shown) is terminal
    assert bool(shown) is terminal
