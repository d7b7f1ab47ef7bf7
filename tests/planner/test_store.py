"""Saved specs and plans: named by content, listed newest first, found again in either database."""

from __future__ import annotations

import datetime as dt
import json
import threading
from typing import Any

import pytest
from sqlalchemy import Engine, text

from planner import store
from profiles import db
from profiles.errors import InvalidInput, UnknownName


def spec(**changes: Any) -> str:
    return json.dumps({"services": [{"name": "chat", "rate": 2.5}], "note": "£ and \u0000"} | changes)


def plan(**changes: Any) -> str:
    fields = {
        "outcome": "optimal",
        "objective": 12.5,
        "solve_seconds": 0.3,
        "profile_digest": "abc",
        "replicas": [1, 2],
    }
    return json.dumps(fields | changes)


def _save_many(engine: Engine, count: int) -> list[str]:
    """``count`` plans for one spec, a second apart, every second one experts; their ids, newest first."""
    ids = [
        store.save(engine, ("serving", "experts")[number % 2], spec(), plan(objective=number))
        for number in range(count)
    ]
    with db.transaction(engine) as session:
        for number, plan_id in enumerate(ids):
            moment = dt.datetime(2025, 1, 1, 12, 0, number // 2)  # two share each second
            statement = text("UPDATE saved_plans SET created_at = :moment WHERE id = :id")
            value = f"{moment} +00:00" if engine.dialect.name == "postgresql" else f"{moment}.000000"
            session.execute(statement, {"moment": value, "id": plan_id})
    return [plan_id for _, plan_id in sorted(((number // 2, i) for number, i in enumerate(ids)), reverse=True)]


def test_a_plan_comes_back_with_its_spec(any_engine: Engine) -> None:
    before = dt.datetime.now(dt.UTC)
    plan_id = store.save(any_engine, "serving", spec(), plan(), name="nightly")
    saved = store.load_plan(any_engine, plan_id)
    assert (saved.id, saved.kind, saved.name) == (plan_id, "serving", "nightly")
    assert (saved.outcome, saved.objective, saved.profile_digest) == ("optimal", 12.5, "abc")
    assert saved.spec == json.loads(spec())
    assert saved.plan == json.loads(plan())
    assert before <= saved.created_at <= dt.datetime.now(dt.UTC)
    assert saved.created_at.utcoffset() == dt.timedelta(0)


def test_infeasible_plans_have_no_objective(any_engine: Engine) -> None:
    plan_id = store.save(any_engine, "serving", spec(), plan(outcome="infeasible", objective=None))
    assert store.load_plan(any_engine, plan_id).objective is None


@pytest.mark.parametrize(
    "again",
    [plan(), plan(solve_seconds=9.9), json.dumps(json.loads(plan()), indent=2, sort_keys=True)],
    ids=["same", "solved slower", "written differently"],
)
def test_the_same_answer_is_saved_once(any_engine: Engine, again: str) -> None:
    first = store.save(any_engine, "serving", spec(), plan())
    saved = store.load_plan(any_engine, first)
    assert store.save(any_engine, "serving", spec(), again) == first
    assert store.load_plan(any_engine, first) == saved
    assert len(store.list_plans(any_engine).plans) == len(store.list_specs(any_engine)) == 1


def test_another_question_kind_or_answer_is_another_plan(any_engine: Engine) -> None:
    ids = {
        store.save(any_engine, "serving", spec(), plan()),
        store.save(any_engine, "experts", spec(), plan()),
        store.save(any_engine, "serving", spec(note="other"), plan()),
        store.save(any_engine, "serving", spec(), plan(replicas=[2, 1])),
    }
    assert len(ids) == 4
    assert len(store.list_specs(any_engine)) == 3


def test_ids_do_not_depend_on_the_database(sqlite_url: str, postgresql_url: str) -> None:
    ids = set()
    for url in (sqlite_url, postgresql_url):
        engine = db.initialise(url)
        ids.add(store.save(engine, "serving", spec(), plan()))
        engine.dispose()
    assert len(ids) == 1


def test_a_name_stays_until_another_is_given(any_engine: Engine) -> None:
    for name, kept in ((None, None), ("first", "first"), (None, "first"), ("second", "second")):
        plan_id = store.save(any_engine, "serving", spec(), plan(), name=name)
        assert store.load_plan(any_engine, plan_id).name == kept
    assert [saved.name for saved in store.list_specs(any_engine)] == ["second"]


def test_saved_by_several_at_once_it_is_there_once(any_engine: Engine) -> None:
    ids: list[str] = []
    threads = [
        threading.Thread(target=lambda: ids.append(store.save(any_engine, "serving", spec(), plan()))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 6
    assert len(set(ids)) == 1
    assert len(store.list_plans(any_engine).plans) == 1


def test_pages_hold_every_plan_once_newest_first(any_engine: Engine) -> None:
    expected = _save_many(any_engine, 7)
    found: list[str] = []
    cursor = None
    while True:
        page = store.list_plans(any_engine, limit=3, cursor=cursor)
        found += [summary.id for summary in page.plans]
        cursor = page.next_cursor
        if cursor is None:
            break
        # A plan that arrives between two pages belongs before the first and shifts nothing.
        store.save(any_engine, "serving", spec(), plan(objective=-len(found)))
    assert found == expected


def test_a_page_that_is_just_full_is_the_last(any_engine: Engine) -> None:
    _save_many(any_engine, 4)
    page = store.list_plans(any_engine, limit=4)
    assert (len(page.plans), page.next_cursor) == (4, None)


def test_list_of_one_kind(any_engine: Engine) -> None:
    _save_many(any_engine, 5)
    assert [summary.objective for summary in store.list_plans(any_engine, kind="experts").plans] == [3, 1]
    assert store.list_plans(any_engine, kind="power") == store.Page((), None)


def test_unknown_plan(engine: Engine) -> None:
    with pytest.raises(UnknownName, match="unknown plan 'nope'"):
        store.load_plan(engine, "nope")


@pytest.mark.parametrize("cursor", ["", "nonsense", "2025-01-01T00:00:00~abc", "2025-01-01T00:00:00+00:00", "~"])
def test_cursor_that_no_page_gave(engine: Engine, cursor: str) -> None:
    with pytest.raises(InvalidInput, match="cursor"):
        store.list_plans(engine, cursor=cursor)


@pytest.mark.parametrize("limit", [0, -1, 1001])
def test_limit_out_of_range(engine: Engine, limit: int) -> None:
    with pytest.raises(InvalidInput, match="limit"):
        store.list_plans(engine, limit=limit)


@pytest.mark.parametrize(
    "bad",
    ["", "{", "[]", "3", '{"outcome": "optimal", "objective": NaN}', '{"outcome": "optimal", "gap": -Infinity}', "{}"],
)
def test_what_is_no_plan_is_not_saved(engine: Engine, bad: str) -> None:
    with pytest.raises(InvalidInput, match="plan"):
        store.save(engine, "serving", spec(), bad)
    assert store.list_specs(engine) == ()


def test_a_specs_kind_can_be_listed_alone(any_engine: Engine) -> None:
    store.save(any_engine, "serving", spec(), plan(), name="a")
    store.save(any_engine, "power", spec(), plan(), name="b")
    assert [(saved.kind, saved.name, saved.spec) for saved in store.list_specs(any_engine, "power")] == [
        ("power", "b", json.loads(spec()))
    ]
