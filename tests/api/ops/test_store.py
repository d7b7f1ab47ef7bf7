"""Signs of life of workers, and whether the schema is this version's."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import Engine, text

from api.ops import store
from planner.errors import StoreError
from planner.identity import now
from profiles import db


def test_workers_count_while_they_give_signs(any_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    assert store.num_alive(any_engine) == 0
    store.sign_of_life(any_engine, "a", 2)
    store.sign_of_life(any_engine, "b", 1)
    store.sign_of_life(any_engine, "a", 3)
    assert store.num_alive(any_engine) == 4
    store.sign_off(any_engine, "b")
    assert store.num_alive(any_engine) == 3
    monkeypatch.setattr(store, "now", lambda: now() + store.SEEN_WITHIN + dt.timedelta(seconds=1))
    assert store.num_alive(any_engine) == 0


def test_workers_that_went_without_a_word_are_forgotten(any_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    store.sign_of_life(any_engine, "a", 2)
    monkeypatch.setattr(store, "now", lambda: now() + dt.timedelta(days=2))
    store.sign_of_life(any_engine, "b", 1)
    with any_engine.connect() as connection:
        assert connection.execute(text("SELECT id FROM workers")).scalars().all() == ["b"]


def test_the_schema_is_current_or_not(any_engine: Engine) -> None:
    assert store.is_current(any_engine)
    with any_engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0003'"))
    assert not store.is_current(any_engine)


def test_a_store_that_is_gone(sqlite_url: str) -> None:
    engine = db.initialise(sqlite_url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
    with pytest.raises(StoreError):
        store.is_current(engine)
