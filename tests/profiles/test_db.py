"""Opening a store: what works, and that everything that can be wrong with it says so and names the fix."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text, update
from sqlalchemy.exc import IntegrityError

from profiles import db
from profiles.errors import InvalidInput, StoreError
from profiles.tables import ModelCardRow

INSERT_GRID = text(
    "INSERT INTO grid_intensities (provider, region, g_co2_per_kwh, source, as_of)"
    " VALUES (:provider, 'eu-west-1', 300.0, 'a test', '2025-01-01')"
)
COUNT_GRID = text("SELECT count(*) FROM grid_intensities")


def _file(url: str) -> Path:
    return Path(url.removeprefix("sqlite:///"))


def _refusal(url: str, **options: Any) -> StoreError:
    with pytest.raises(StoreError) as caught:
        db.connect(url, **options)
    assert caught.value.fix
    return caught.value


@contextlib.contextmanager
def _exclusively_locked(path: Path) -> Iterator[None]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        yield
        other.execute("ROLLBACK")


# Opening


def test_initialise_then_connect(database_url: str) -> None:
    db.initialise(database_url).dispose()
    engine = db.connect(database_url)
    with db.reading(engine) as session:
        assert session.execute(COUNT_GRID).scalar() == 0
    engine.dispose()


def test_initialise_again_keeps_what_is_stored(database_url: str) -> None:
    engine = db.initialise(database_url)
    with db.transaction(engine) as session:
        session.execute(INSERT_GRID, {"provider": "aws"})
    engine.dispose()
    again = db.initialise(database_url)
    with db.reading(again) as session:
        assert session.execute(COUNT_GRID).scalar() == 1
    again.dispose()


def test_sqlite_checks_foreign_keys_and_writes_ahead(engine: Engine) -> None:
    with db.reading(engine) as session:
        pragmas = {
            name: session.execute(text(f"PRAGMA {name}")).scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 1, "busy_timeout": 5000}


def test_postgres_scheme_of_hosting_services_is_accepted(postgresql_url: str) -> None:
    db.initialise(postgresql_url.replace("postgresql:", "postgres:")).dispose()
    db.connect(postgresql_url.replace("postgresql:", "postgresql+psycopg:")).dispose()


def test_two_initialise_at_once_both_succeed(database_url: str) -> None:
    code = f"from profiles import db; db.initialise({database_url!r}, lock_wait_s=30)"
    both = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[1] for process in both] == ["", ""]
    assert [process.returncode for process in both] == [0, 0]
    db.connect(database_url).dispose()


# What can be wrong with a store


def test_missing_file_is_an_error_and_stays_missing(sqlite_url: str) -> None:
    refusal = _refusal(sqlite_url)
    assert "there is no profile store" in refusal.detail
    assert "gpuplan init" in str(refusal.fix)
    assert not _file(sqlite_url).exists()


def test_empty_file(sqlite_url: str) -> None:
    _file(sqlite_url).touch()
    refusal = _refusal(sqlite_url)
    assert "no gpuplan tables" in refusal.detail
    assert "gpuplan init" in str(refusal.fix)


def test_empty_server_database(postgresql_url: str) -> None:
    assert "no gpuplan tables" in _refusal(postgresql_url).detail


def test_older_schema_is_upgraded_by_init_only(database_url: str) -> None:
    engine = db.initialise(database_url)
    with db.transaction(engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = '0000'"))
    engine.dispose()
    refusal = _refusal(database_url)
    assert "older version (schema 0000)" in refusal.detail
    assert "gpuplan init" in str(refusal.fix)


@pytest.mark.parametrize("revision", ["9999", "a1b2c3"])
def test_newer_schema_is_touched_by_neither(database_url: str, revision: str) -> None:
    engine = db.initialise(database_url)
    with db.transaction(engine) as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})
    engine.dispose()
    refusal = _refusal(database_url)
    assert f"newer version (schema {revision}" in refusal.detail
    assert refusal.fix == "pip install --upgrade gpuplan"
    with pytest.raises(StoreError, match="newer version"):
        db.initialise(database_url)


@pytest.mark.parametrize("opening", [db.connect, db.initialise])
def test_text_file_named_db_is_refused_and_kept(tmp_path: Path, opening: Any) -> None:
    notes = tmp_path / "notes.db"
    notes.write_text("Dear diary, " * 200)
    with pytest.raises(StoreError, match="is not a SQLite database"):
        opening(f"sqlite:///{notes}")
    assert notes.read_text() == "Dear diary, " * 200


def test_corrupt_file(sqlite_url: str) -> None:
    engine = db.initialise(sqlite_url)
    with db.transaction(engine) as session:
        session.execute(INSERT_GRID, {"provider": "aws"})
    engine.dispose()
    content = bytearray(_file(sqlite_url).read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)  # all pages but the first
    _file(sqlite_url).write_bytes(content)
    refusal = _refusal(sqlite_url)
    assert "is corrupt" in refusal.detail
    assert "backup" in str(refusal.fix)


def test_truncated_file(sqlite_url: str) -> None:
    db.initialise(sqlite_url).dispose()
    _file(sqlite_url).write_bytes(_file(sqlite_url).read_bytes()[:6000])
    assert "corrupt" in _refusal(sqlite_url).detail


def test_database_locked_by_another_process(sqlite_url: str) -> None:
    db.initialise(sqlite_url).dispose()
    with _exclusively_locked(_file(sqlite_url)):
        refusal = _refusal(sqlite_url, lock_wait_s=0.05)
        with pytest.raises(StoreError, match="is locked"):
            db.initialise(sqlite_url, lock_wait_s=0.05)
    assert "is locked by another process" in refusal.detail
    assert "wait" in str(refusal.fix)
    db.connect(sqlite_url).dispose()


@pytest.mark.parametrize("path", ["/proc/gpuplan.db", "/nonexistent/directory/gpuplan.db", "/"])
def test_place_where_nothing_can_be_written(path: str) -> None:
    # Not a directory with its write permission taken away: that does not stop root, as whom CI may run.
    with pytest.raises(StoreError, match="cannot be opened") as caught:
        db.initialise(f"sqlite:///{path}")
    assert "directory" in str(caught.value.fix)


def test_read_only_database_can_be_read(sqlite_url: str) -> None:
    db.initialise(sqlite_url).dispose()
    engine = db.connect(f"sqlite:///file:{_file(sqlite_url)}?mode=ro&uri=true")
    with db.reading(engine) as session:
        assert session.execute(COUNT_GRID).scalar() == 0
    with pytest.raises(StoreError, match="is read-only"), db.transaction(engine) as session:
        session.execute(INSERT_GRID, {"provider": "aws"})
    engine.dispose()


def test_full_disk(engine: Engine) -> None:
    rows = [{"provider": f"provider-{number}" * 20} for number in range(5000)]
    with db.transaction(engine) as session:
        pages = session.execute(text("PRAGMA page_count")).scalar_one()
        session.execute(text(f"PRAGMA max_page_count = {pages}"))
    with pytest.raises(StoreError, match="no room to grow"), db.transaction(engine) as session:
        session.execute(INSERT_GRID, rows)


@pytest.mark.parametrize(
    ("url", "detail"),
    [
        ("gpuplan.db", "cannot be read"),
        ("", "cannot be read"),
        ("postgresql://me:s3cret@host:port/database", "cannot be read"),
        ("mysql://me:s3cret@host/database", "cannot keep profiles in 'mysql'"),
    ],
)
def test_url_that_is_none(url: str, detail: str) -> None:
    refusal = _refusal(url)
    assert detail in refusal.detail
    assert "s3cret" not in str(refusal)
    assert "postgresql://" in str(refusal.fix)


def test_driver_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    refusal = _refusal("postgresql://me:s3cret@host/database")
    assert "psycopg is not installed" in refusal.detail
    assert refusal.fix == "pip install 'gpuplan[postgres]'"


@pytest.mark.parametrize("opening", [db.connect, db.initialise])
def test_server_out_of_reach_and_password_stays_secret(opening: Any) -> None:
    with pytest.raises(StoreError) as caught:
        opening("postgresql://me:s3cret@127.0.0.1:1/database?password=s3cret")
    assert "cannot be used" in caught.value.detail
    assert "me:***@127.0.0.1:1" in caught.value.detail
    assert "s3cret" not in str(caught.value)
    assert "reachable" in str(caught.value.fix)


def test_server_without_the_database(postgresql_url: str) -> None:
    refusal = _refusal(postgresql_url.replace("/test_", "/missing_"))
    assert "missing_" in refusal.detail
    assert "createdb" in str(refusal.fix)


def test_server_that_does_not_know_the_user(postgresql_url: str) -> None:
    refusal = _refusal(postgresql_url.replace("postgres:@", "nobody:s3cret@"))
    assert "does not let you in" in refusal.detail
    assert "s3cret" not in str(refusal)
    assert "user and password" in str(refusal.fix)


# Transactions


def test_block_that_raises_leaves_nothing(any_engine: Engine) -> None:
    def interrupted() -> None:
        with db.transaction(any_engine) as session:
            session.execute(INSERT_GRID, {"provider": "aws"})
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with db.reading(any_engine) as session:
        assert session.execute(COUNT_GRID).scalar() == 0


def test_reader_sees_one_moment(any_engine: Engine) -> None:
    with db.reading(any_engine) as session:
        before = session.execute(COUNT_GRID).scalar()
        with db.transaction(any_engine) as writer:
            writer.execute(INSERT_GRID, {"provider": "aws"})
        assert session.execute(COUNT_GRID).scalar() == before
    with db.reading(any_engine) as session:
        assert session.execute(COUNT_GRID).scalar() == 1


def test_second_writer_waits_then_gives_up(database_url: str) -> None:
    db.initialise(database_url).dispose()
    first, second = db.connect(database_url), db.connect(database_url, lock_wait_s=0.05)

    def write(engine: Engine) -> None:
        with db.transaction(engine) as session:
            db.wait_for_writers(session)
            session.execute(INSERT_GRID, {"provider": "gcp"})

    with db.transaction(first) as session:
        db.wait_for_writers(session)
        session.execute(INSERT_GRID, {"provider": "aws"})
        with pytest.raises(StoreError, match="is locked"):
            write(second)
    with db.reading(second) as session:
        assert session.execute(COUNT_GRID).scalar() == 1
    first.dispose()
    second.dispose()


def test_writers_that_read_first_lose_no_update(any_engine: Engine) -> None:
    """Each of four threads adds one to a number five times: none overwrites another's sum."""
    with db.transaction(any_engine) as session:
        session.execute(INSERT_GRID, {"provider": "aws"})

    def add_one_five_times() -> None:
        for _ in range(5):
            with db.transaction(any_engine) as session:
                db.wait_for_writers(session)
                now = session.execute(text("SELECT g_co2_per_kwh FROM grid_intensities")).scalar_one()
                session.execute(text("UPDATE grid_intensities SET g_co2_per_kwh = :new"), {"new": now + 1})

    threads = [threading.Thread(target=add_one_five_times) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with db.reading(any_engine) as session:
        assert session.execute(text("SELECT g_co2_per_kwh FROM grid_intensities")).scalar() == 320


def test_number_that_fits_no_column(any_engine: Engine) -> None:
    with pytest.raises(InvalidInput, match="does not fit"), db.transaction(any_engine) as session:
        session.execute(update(ModelCardRow).values(num_layers=2**70))


def test_defects_are_not_dressed_up_as_refusals(any_engine: Engine) -> None:
    with pytest.raises(IntegrityError), db.transaction(any_engine) as session:
        session.execute(INSERT_GRID, [{"provider": "aws"}, {"provider": "aws"}])


def test_foreign_keys_hold(any_engine: Engine) -> None:
    with pytest.raises(IntegrityError), db.transaction(any_engine) as session:
        session.execute(
            text(
                "INSERT INTO instance_types (provider, name, gpu, num_gpus, source, as_of)"
                " VALUES ('aws', 'p5', 'no such GPU', 8, 'a test', '2025-01-01')"
            )
        )
