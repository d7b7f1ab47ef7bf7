"""The steps of applying a plan. Each is in the journal before it is taken, and again with what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from sqlalchemy import Engine

from planner.errors import GpuplanError
from planner.progress import progress
from planner.provision import store
from planner.provision.changes import Change
from planner.provision.driver import Driver, Refused, UnitState
from planner.provision.store import Action, Deployment, Step

LOOK_FIRST_S, LOOK_MOST_S = 0.1, 5.0
"""Between two looks at units that start: short at first, then longer, as real ones need minutes."""

Part = Literal["units", "routes", "smaller units"]
"""Of what is to be put, in this order: a unit gets smaller only once others have its traffic."""


@dataclass(frozen=True)
class Work:
    """Changes under way at one target. ``journal`` grows with every step."""

    engine: Engine
    driver: Driver
    deployment: Deployment
    todo: tuple[Change, ...]
    journal: list[Step]


def put_all(work: Work, part: Part, take_over: bool) -> str:
    """Put one part of what is to be put; "", or what was refused: that does not keep the others from being put."""
    ours = [change for change in work.todo if change.action in ("add", "change") and _part(work, change) == part]
    refusals = []
    for count, change in enumerate(ours):
        progress(f"putting {change.key}", count / len(ours))
        try:
            with _step(work, "put", change.key):
                work.driver.put(work.deployment.name, change.document, take_over)
        except Refused as error:
            refusals.append(f"{change.key}: {error.detail}")
    return f"{work.driver.target} refused {'; '.join(refusals)}." if refusals else ""


def _part(work: Work, change: Change) -> Part:
    if work.driver.routes(change.document):
        return "routes"
    shrinks = any(field.path == "spec.replicas" and isinstance(field.before, int) and isinstance(field.after, int)
                  and field.after < field.before for field in change.fields)  # fmt: skip
    return "smaller units" if shrinks else "units"


def wait(work: Work, keys: frozenset[str], wait_s: float) -> tuple[UnitState, ...]:
    """Look until the units of these keys are ready, or ``wait_s`` seconds are over; as they were at the last look."""
    deadline, look_s = time.monotonic() + wait_s, LOOK_FIRST_S
    with _step(work, "wait", ""):
        while True:
            units = seen(work.driver, work.deployment.name, keys)
            ready, wanted = sum(unit.ready for unit in units), sum(unit.wanted for unit in units)
            progress(f"{ready} of {wanted} replicas are ready", min(ready / max(wanted, 1), 0.99))
            left_s = deadline - time.monotonic()
            if all(unit.ready >= unit.wanted for unit in units) or left_s <= 0:
                return units
            time.sleep(min(look_s, left_s))
            look_s = min(1.5 * look_s, LOOK_MOST_S)


def take_away(work: Work) -> None:
    """Remove what is no longer wanted: first what routes, so that no traffic goes to what is gone."""
    gone = [change for change in work.todo if change.action == "remove"]
    for change in sorted(gone, key=lambda change: not work.driver.routes(change.document)):
        progress(f"removing {change.key}", 0.99)
        with _step(work, "remove", change.key):
            work.driver.remove(work.deployment.name, change.key)


def seen(driver: Driver, name: str, keys: frozenset[str]) -> tuple[UnitState, ...]:
    """The units of these keys as they are now."""
    return tuple(unit for unit in driver.ready(name) if unit.key in keys)


@contextmanager
def _step(work: Work, action: Action, key: str) -> Iterator[None]:
    step, journal = Step(action, key, "begun"), work.journal
    journal.append(step)
    store.write_journal(work.engine, work.deployment.id, tuple(journal))
    try:
        yield
    except GpuplanError as error:
        journal[-1] = replace(step, state="refused" if isinstance(error, Refused) else "failed", detail=error.detail)
        store.write_journal(work.engine, work.deployment.id, tuple(journal))
        raise
    journal[-1] = replace(step, state="done")
    store.write_journal(work.engine, work.deployment.id, tuple(journal))
