"""Which plan a rollback goes back to, and what the store keeps of deployments, on both databases."""

from __future__ import annotations

import datetime as dt
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine

from planner import store as plan_store
from planner.errors import Conflict, InvalidInput
from planner.provision import store
from planner.provision.history import alone, plan_to_go_back_to, target_of
from planner.provision.store import Deployment, Purpose, State, Step, recorded_keys
from profiles.db import exclusive

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def done(plan_id: str, purpose: Purpose = "apply", state: State = "applied") -> Deployment:
    return Deployment("id", "x", "local", plan_id, purpose, state, "", (), NOW, NOW)


def rolled_back(past: list[Deployment]) -> str:
    plan_id = plan_to_go_back_to(tuple(past))
    past.append(done(plan_id, "rollback"))
    return plan_id


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=6))
def test_each_rollback_goes_one_plan_further_back(applied: list[str]) -> None:
    past = [done(plan_id) for plan_id in applied]
    stack = [plan_id for i, plan_id in enumerate(applied) if i == 0 or applied[i - 1] != plan_id]
    for expected in reversed(stack[:-1]):
        assert rolled_back(past) == expected
    with pytest.raises(Conflict, match="no earlier plan"):
        rolled_back(past)


def test_what_did_not_come_up_is_left_for_what_ran() -> None:
    past = [done("a"), done("b"), done("c", state="failed")]
    assert rolled_back(past) == "b"
    assert rolled_back(past) == "a"


def test_a_rollback_that_failed_is_tried_again() -> None:
    assert plan_to_go_back_to((done("a"), done("b"), done("a", "rollback", "failed"))) == "a"
    assert plan_to_go_back_to((done("a"), done("b"), done("a", "rollback", "applying"))) == "a"


def test_what_was_removed_comes_back() -> None:
    assert plan_to_go_back_to((done("a"), done("b"), done("b", "remove", "removed"))) == "b"


def test_nothing_applied_is_nothing_to_go_back_to() -> None:
    for past in ((), (done("a", state="failed"),), (done("a"),)):
        with pytest.raises(Conflict):
            plan_to_go_back_to(past)


def test_only_what_may_have_been_made_is_recorded() -> None:
    steps = (Step("put", "a", "done"), Step("put", "b", "begun"), Step("put", "c", "refused"),
             Step("put", "d", "failed"), Step("remove", "e", "done"), Step("wait", "", "done"))  # fmt: skip
    row = Deployment("id", "x", "local", "p", "apply", "failed", "", steps, NOW, None)
    assert recorded_keys((row,)) == {"a", "b", "d"}


def test_deployments_are_kept_and_found(any_engine: Engine) -> None:
    plan_id = plan_store.save(any_engine, "serving", "{}", '{"outcome": "optimal"}')
    first = store.begin(any_engine, "one", "local:/x", plan_id, "apply")
    steps = (Step("put", "Unit/a", "done"), Step("put", "Unit/b", "begun"))
    store.write_journal(any_engine, first.id, steps)
    store.finish(any_engine, first.id, "failed", "because")
    second = store.begin(any_engine, "one", "local:/x", plan_id, "apply", "why")
    other = store.begin(any_engine, "two", "local:/x", plan_id, "apply")
    rows = store.history(any_engine, "one", "local:/x")
    assert [row.id for row in rows] == [first.id, second.id]
    assert (rows[0].journal, rows[0].state, rows[0].reason) == (steps, "failed", "because")
    assert rows[0].finished_at is not None
    assert rows[1].reason == "why"
    assert [row.id for row in store.newest(any_engine)] == [other.id, second.id]
    assert [row.id for row in store.newest(any_engine, limit=1, before=other.id)] == [second.id]
    assert target_of(any_engine, "one") == "local:/x"
    elsewhere = store.begin(any_engine, "one", "local:/y", plan_id, "apply")
    with pytest.raises(InvalidInput, match="say which"):
        target_of(any_engine, "one")
    store.finish(any_engine, second.id, "removed", "")
    assert target_of(any_engine, "one") == "local:/y"
    store.finish(any_engine, elsewhere.id, "removed", "")
    with pytest.raises(InvalidInput, match="say which"):
        target_of(any_engine, "one")
    with pytest.raises(InvalidInput, match="nothing was applied"):
        target_of(any_engine, "three")


def test_who_only_looks_whether_a_name_changes_keeps_nobody_from_changing_it(any_engine: Engine) -> None:
    """As ``status`` does: it takes the lock for a moment."""
    taken = threading.Event()

    def look() -> None:
        with exclusive(any_engine, "deployment-chat"):
            taken.set()
            time.sleep(0.03)

    looking = threading.Thread(target=look)
    looking.start()
    taken.wait(10)
    with alone(any_engine, "chat"):
        looking.join()


def test_one_name_is_changed_by_one_process_at_a_time(any_engine: Engine) -> None:
    with alone(any_engine, "chat"):
        with pytest.raises(Conflict, match="being changed by another"), alone(any_engine, "chat"):
            pass
        with alone(any_engine, "other"):
            pass
    with alone(any_engine, "chat"):
        pass
