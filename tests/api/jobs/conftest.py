"""Supervisors of toy workers, ended with the test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.jobs.supervisor import Supervisor
from planner.settings import Settings

Supervise = Callable[..., Supervisor]

TOY = Path(__file__).with_name("toy_worker.py")

PATIENCE_S = 120.0
"""For what has to come: far beyond what it takes on a busy machine."""


@pytest.fixture
def supervise(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervise]:
    """Start supervisors with toy workers: ``supervise(url, num_workers, **settings)``."""
    monkeypatch.syspath_prepend(TOY.parent)  # workers import what this process can
    started = []

    def start(url: str, num_workers: int = 1, module: str = TOY.stem, **settings: object) -> Supervisor:
        supervisor = Supervisor(url, Settings(**({"shutdown_s": 0.0} | settings)), num_workers, module)
        supervisor.start()
        started.append(supervisor)
        return supervisor

    yield start
    for supervisor in started:
        supervisor.stop()


def wait_until(holds: Callable[[], object], what: str) -> None:
    """Return as soon as something holds; fail where it does not come."""
    end_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end_s, f"waited {PATIENCE_S:g} s in vain for: {what}"
        time.sleep(0.02)


def pids_of(text: str) -> list[int]:
    """The processes that have this text on their command line."""
    pids = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and text in (entry / "cmdline").read_text():
                pids.append(int(entry.name))
        except OSError:  # it ended meanwhile
            continue
    return pids


def worker_pids(supervisor: Supervisor) -> list[int]:
    """The worker processes of one supervisor that have begun to look for jobs."""
    return [child.pid for child in supervisor._children if child.ready and not child.dead]
