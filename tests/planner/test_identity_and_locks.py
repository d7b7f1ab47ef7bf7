"""Names that sort by time, and locks that end with their process."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest
from sqlalchemy import Engine

from planner.audit import entries, record
from planner.identity import new_id
from planner.settings import settings
from profiles import db
from profiles.errors import InvalidInput


def test_ids_sort_by_time_and_never_meet() -> None:
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    stamps = [name[:14] for name in ids]
    assert stamps == sorted(stamps)


def test_only_one_holds_a_name_and_others_do_not_wait(any_engine: Engine) -> None:
    with db.exclusive(any_engine, "replan") as first, db.exclusive(any_engine, "replan") as second:
        assert (first, second) == (True, False)
        with db.exclusive(any_engine, "backup") as other:
            assert other
    with db.exclusive(any_engine, "replan") as again:
        assert again


def test_a_killed_process_leaves_no_lock(database_url: str) -> None:
    db.initialise(database_url)
    script = (
        "import sys, time\nfrom profiles import db\n"
        "with db.exclusive(db.connect(sys.argv[1]), 'replan') as mine:\n"
        "    print(mine, flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", script, database_url], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    engine = db.connect(database_url)
    with db.exclusive(engine, "replan") as mine:
        assert not mine
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    for _ in range(100):  # the server may need a moment to notice
        with db.exclusive(engine, "replan") as mine:
            if mine:
                break
    assert mine


def test_audit_entries_come_back_newest_first(any_engine: Engine) -> None:
    for subject in ("a", "b", "c"):
        record(any_engine, "cli:ann", "plan.apply", subject, "r1", {"target": "local"})
    newest = entries(any_engine, limit=2)
    assert [entry.subject for entry in newest] == ["c", "b"]
    assert [entry.subject for entry in entries(any_engine, before=newest[-1].id)] == ["a"]
    assert newest[0].detail == {"target": "local"}
    assert newest[0].at.tzinfo is not None


def test_a_setting_that_cannot_be_meant_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPLAN_PORT", "99999")
    with pytest.raises(InvalidInput, match="GPUPLAN_PORT"):
        settings()


def test_settings_never_show_the_database_url(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPLAN_DATABASE_URL", "postgresql://ann:secret@db/gpuplan")
    assert "secret" not in repr(settings())
    monkeypatch.setenv("GPUPLAN_PORT", "nonsense")
    with pytest.raises(InvalidInput) as raised:
        settings()
    assert "secret" not in str(raised.value)
