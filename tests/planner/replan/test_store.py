"""Services and decisions in the store: versions that two editors notice, decisions kept whole or not at all."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from sqlalchemy import Engine

from planner.errors import Conflict, StoreError, UnknownName
from planner.replan import store
from planner.replan.report import Report
from planner.replan.service import Running
from tests.planner.replan.services import flat, service

RUNNING = Running.model_validate(
    {"since": "2026-02-01", "plans": [{"fleet": [{"provider": "aws", "region": "r", "instance_type": "t",
                                                  "market": "spot", "instances": 3}]}]}
)  # fmt: skip


def report(version: int, day: int = 1, after: Running | None = RUNNING, decision: str = "first_plan") -> Report:
    return Report.model_validate(
        {"service": "chat", "date": dt.date(2026, 2, day), "decision": decision, "reason": "a test",
         "service_version": version, "mode": "static", "quantile": 0.95, "horizon_days": 1, "time_zone": "UTC",
         "usd_plan": 0.1 + 0.2, "after": after}
    )  # fmt: skip


def test_services_come_back_as_they_were_saved(any_engine: Engine) -> None:
    wanted = service(rates=flat(2, 1 / 3), quantile=0.9, time_zone="Europe/Berlin")
    stored = store.save(any_engine, wanted)
    assert (stored.version, stored.running, stored.service) == (1, None, wanted)
    assert store.load(any_engine, "chat") == stored
    assert store.load_all(any_engine) == (stored,)
    with pytest.raises(UnknownName, match="chta") as caught:
        store.load(any_engine, "chta")
    assert "chat" in str(caught.value)


def test_versions_count_changes_only(any_engine: Engine) -> None:
    one, other = service(rates=flat(1, 1.0)), service(rates=flat(1, 2.0))
    assert store.save(any_engine, one, version=store.NEW).version == 1
    assert store.save(any_engine, one).version == 1
    assert store.save(any_engine, other, version=1).version == 2
    for stale in (store.NEW, 1, 3):
        with pytest.raises(Conflict):
            store.save(any_engine, one, version=stale)
    assert store.load(any_engine, "chat").service == other
    assert store.set_running(any_engine, "chat", RUNNING, version=2).version == 3
    with pytest.raises(Conflict):
        store.remove(any_engine, "chat", version=2)
    store.remove(any_engine, "chat", version=3)
    assert store.load_all(any_engine) == ()


def test_of_many_editors_one_wins(any_engine: Engine) -> None:
    store.save(any_engine, service(rates=flat(1, 1.0)))
    won: list[int] = []

    def edit(rate: float) -> None:
        try:
            store.save(any_engine, service(rates=flat(1, rate)), version=1)
            won.append(1)
        except Conflict:
            pass

    editors = [threading.Thread(target=edit, args=(2.0 + i,)) for i in range(6)]
    for editor in editors:
        editor.start()
    for editor in editors:
        editor.join()
    assert won == [1]
    assert store.load(any_engine, "chat").version == 2


def test_a_decision_and_what_runs_by_it_are_kept_together(any_engine: Engine) -> None:
    stored = store.save(any_engine, service(rates=flat(1, 1.0)))
    made = report(stored.version)
    store.record(any_engine, made, "ann")
    assert store.decision(any_engine, "chat", made.date) == made
    assert store.load(any_engine, "chat").running == RUNNING
    assert store.load(any_engine, "chat").version == 2
    with pytest.raises(Conflict, match="changed while"):
        store.record(any_engine, report(1, day=2), "ann")
    assert store.last_date(any_engine, "chat") == made.date
    kept = report(2, day=2, decision="keep")
    store.record(any_engine, kept, "ann")
    assert store.load(any_engine, "chat").version == 2  # what runs is the same
    assert store.decisions(any_engine, "chat") == (kept, made)
    assert store.decisions(any_engine, "chat", limit=1, before=kept.date) == (made,)
    again = report(2, day=2, after=None)
    store.record(any_engine, again, "ann")
    assert store.decisions(any_engine, "chat") == (again, made)
    assert store.load(any_engine, "chat").running is None


def test_a_new_service_of_an_old_name_has_no_past(any_engine: Engine) -> None:
    store.record(any_engine, report(store.save(any_engine, service(rates=flat(1, 1.0))).version), "ann")
    store.remove(any_engine, "chat")
    with pytest.raises(UnknownName):
        store.decisions(any_engine, "chat")
    store.save(any_engine, service(rates=flat(1, 1.0)))
    assert store.decisions(any_engine, "chat") == ()
    with pytest.raises(UnknownName):
        store.record(any_engine, report(1).model_copy(update={"service": "gone"}), "ann")


def test_what_cannot_be_read_any_more_says_so(engine: Engine) -> None:
    stored = store.save(engine, service(rates=flat(1, 1.0)))
    store.record(engine, report(stored.version), "ann")
    with engine.begin() as connection:
        connection.exec_driver_sql("""UPDATE services SET service = '{"name": "chat"}'""")
        connection.exec_driver_sql("""UPDATE decisions SET report = '{}'""")
    with pytest.raises(StoreError, match="save it again"):
        store.load(engine, "chat")
    with pytest.raises(StoreError, match="--again"):
        store.decision(engine, "chat", dt.date(2026, 2, 1))
