"""``kill -9`` in the middle of an apply, at every step: the same command goes on, and nothing is made twice."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from planner.provision import store
from planner.provision.apply import How, apply_plan, roll_back
from planner.provision.driver import Driver
from planner.provision.status import status
from planner.serving.plan import ServingPlan
from profiles import db

HOW = How("test", wait_s=30)
Plans = tuple[ServingPlan, ServingPlan, ServingPlan]


def killed_at(step: int, when: str, engine: Engine, plan: ServingPlan, driver: Driver) -> int:
    """Apply in a process that dies before or after its step-th change of the target; how it ended."""
    url = str(engine.url)
    engine.dispose()
    child = os.fork()
    if child == 0:
        left = itertools.count(step, -1)

        def dying(act: Callable[..., None]) -> Callable[..., None]:
            def change(*arguments: Any) -> None:
                last = next(left) == 0
                if when == "after" or not last:
                    act(*arguments)
                if last:
                    os.kill(os.getpid(), signal.SIGKILL)

            return change

        with suppress(BaseException):
            mortal = replace(driver, put=dying(driver.put), remove=dying(driver.remove))
            apply_plan(db.connect(url), mortal, plan, "chat", How("killed", wait_s=30))
            os._exit(0)
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", range(4))
def test_the_same_command_goes_on(
    filled: Engine, here: Driver, folder: Path, plans: Plans, step: int, when: str
) -> None:
    small, _, large = plans
    apply_plan(filled, here, small, "chat", HOW)
    steps_of_large = 3  # put the unit, put the routes, remove the small unit
    code = killed_at(step, when, filled, large, here)
    assert code == (-signal.SIGKILL if step < steps_of_large else 0)
    interrupted = store.history(filled, "chat")[-1]
    assert interrupted.state == ("applying" if code else "applied")
    if code:
        assert interrupted.journal[-1].state == "begun"
        assert not status(filled, here, "chat").as_planned
    done = apply_plan(filled, here, large, "chat", HOW).deployment
    assert done.id == interrupted.id
    assert status(filled, here, "chat").as_planned
    assert len(list(folder.glob("chat/replicas/*/*.json"))) == sum(row.replicas for row in large.allocation)


def test_another_command_closes_the_interrupted_one(filled: Engine, here: Driver, folder: Path, plans: Plans) -> None:
    small, mixed, large = plans
    apply_plan(filled, here, small, "chat", HOW)
    killed_at(1, "after", filled, large, here)
    apply_plan(filled, here, mixed, "chat", HOW)
    assert [row.state for row in store.history(filled, "chat")] == ["applied", "failed", "applied"]
    assert status(filled, here, "chat").as_planned
    assert set(here.actual("chat")) == set(here.desired(mixed, "chat"))


def test_a_rollback_leaves_what_was_interrupted(filled: Engine, here: Driver, folder: Path, plans: Plans) -> None:
    small, _, large = plans
    apply_plan(filled, here, small, "chat", HOW)
    killed_at(0, "after", filled, large, here)
    assert roll_back(filled, here, "chat", HOW).plan == small
    assert set(here.actual("chat")) == set(here.desired(small, "chat"))
    assert status(filled, here, "chat").as_planned
