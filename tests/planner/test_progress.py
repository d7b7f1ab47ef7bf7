"""Progress goes to whoever listens, and nowhere else."""

from __future__ import annotations

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
