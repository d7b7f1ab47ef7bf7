"""Frees the jobs of dead workers: of those known to be dead, and of those that stopped giving signs of life."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING

from api.jobs import queue
from api.jobs.types import Held

if TYPE_CHECKING:
    from sqlalchemy import Engine

LOOKS_PER_LEASE = 5
"""Looks are a fifth of a lease apart; a job is freed where this many more than one in a row saw the same beat."""

Seen = Mapping[Held, int]
"""How often each job was seen with the same beat under the same lease. A new beat is a new entry."""

_log = logging.getLogger(__name__)


def look(engine: Engine, seen: Seen, most_attempts: int, lease_s: float) -> Seen:
    """Look at all running jobs, free those whose beat stands still, and return what was seen for the next look.

    Looks are counted and no clock is read, so that a clock that jumps, or a watcher that sleeps, changes nothing.

    Raises
    ------
    StoreError
        If the store is out of reach; keep ``seen`` and look again.
    """
    now_seen = {held: seen.get(held, 0) + 1 for held in queue.running(engine)}
    for held, looks in now_seen.items():
        if looks > LOOKS_PER_LEASE:
            _free(engine, held, most_attempts, f"its worker gave no sign of life for {lease_s:g} s")
    return now_seen


def free_jobs_of(engine: Engine, worker: str, most_attempts: int, reason: str) -> None:
    """Free what a worker held that is dead for certain; ``StoreError`` where the store is out of reach: try again."""
    for held in queue.running(engine):
        if held.lease.startswith(f"{worker}/"):
            _free(engine, held, most_attempts, reason)


def _free(engine: Engine, held: Held, most_attempts: int, reason: str) -> None:
    state = queue.take_away(engine, held, most_attempts, reason)
    if state is not None:
        _log.warning("job %s is %s: %s", held.id, state, reason)
