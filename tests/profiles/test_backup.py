"""Copies of a store: whole, of one moment, and put back only where nothing is lost by it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from profiles import backup, db
from profiles.errors import InvalidInput, StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a table of our own: pairs that every transaction keeps equal."""
    path = tmp_path / "store.db"
    engine = db.initialise(f"sqlite:///{path}")
    with db.transaction(engine) as session:
        session.execute(text("CREATE TABLE pairs (id INTEGER PRIMARY KEY, a INTEGER, b INTEGER, filling TEXT)"))
        session.execute(text("INSERT INTO pairs VALUES (1, 0, 0, '')"))
    engine.dispose()
    return path


def _url(path: Path) -> str:
    return f"sqlite:///{path}"


def _values(path: Path) -> list[tuple[int, int]]:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT a, b FROM pairs ORDER BY id").fetchall()


def _set(path: Path, value: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE pairs SET a = ?, b = ?", (value, value))


@contextlib.contextmanager
def _elsewhere(code: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Another process, which has printed a line."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_copy_is_of_one_moment_however_much_is_written(path: Path, tmp_path: Path) -> None:
    ended, num_written = threading.Event(), 0

    def write() -> None:
        nonlocal num_written
        with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection:
            while not ended.is_set():
                num_written += 1
                with connection:  # two statements: a copy between them would show it
                    connection.execute("INSERT INTO pairs (a, b, filling) VALUES (?, 0, ?)", (num_written, "x" * 2000))
                    connection.execute("UPDATE pairs SET b = a WHERE a = ?", (num_written,))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        seen = []
        for n in range(8):
            copy = backup.backup(_url(path), tmp_path / f"copy{n}.db")
            values = _values(copy.path)
            assert all(a == b for a, b in values)
            assert [a for a, _ in values] == list(range(len(values))), "all that was written up to a moment, no more"
            seen.append(len(values))
    finally:
        ended.set()
        writer.join()
    assert seen == sorted(seen)
    assert seen[-1] > seen[0], "the writer went on meanwhile"


def test_a_copy_is_one_sound_file_for_its_owner_alone(path: Path, tmp_path: Path) -> None:
    engine = db.connect(_url(path))
    with db.transaction(engine) as session:  # still in the -wal
        session.execute(text("UPDATE pairs SET a = 7, b = 7"))
    copy = backup.backup(_url(path), tmp_path / "new.db")
    engine.dispose()
    assert (copy.schema, copy.size_bytes) == (db.SCHEMA_REVISION, copy.path.stat().st_size)
    assert copy.path.stat().st_mode & 0o777 == 0o600
    assert sorted(tmp_path.glob("*new.db*")) == [copy.path]
    assert _values(copy.path) == [(7, 7)]


def test_a_newer_copy_replaces_an_older_one(path: Path, tmp_path: Path) -> None:
    backup.backup(_url(path), tmp_path / "copy.db")
    _set(path, 2)
    assert _values(backup.backup(_url(path), tmp_path / "copy.db").path) == [(2, 2)]


def test_restoring_brings_back_the_moment_and_keeps_what_was_there(path: Path, tmp_path: Path) -> None:
    copy = backup.backup(_url(path), tmp_path / "copy.db")
    path.chmod(0o640)
    _set(path, 5)
    for _ in range(2):  # the second time replaces what the first kept
        restored = backup.restore(_url(path), copy.path)
        assert restored.before == path.with_name("store.db.before-restore")
        assert _values(path) == [(0, 0)]
        assert path.stat().st_mode & 0o777 == 0o640
    backup.restore(_url(path), copy.path)
    db.connect(_url(path)).dispose()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_restoring_the_kept_store_undoes_it(path: Path, tmp_path: Path) -> None:
    copy = backup.backup(_url(path), tmp_path / "copy.db")
    _set(path, 5)
    before = backup.restore(_url(path), copy.path).before
    assert before is not None
    assert _values(before) == [(5, 5)]
    shutil.copy(before, tmp_path / "kept.db")
    backup.restore(_url(path), tmp_path / "kept.db")
    assert _values(path) == [(5, 5)]


def test_restoring_where_there_is_no_store_yet(path: Path, tmp_path: Path) -> None:
    copy = backup.backup(_url(path), tmp_path / "copy.db")
    assert backup.restore(_url(tmp_path / "other.db"), copy.path).before is None
    assert _values(tmp_path / "other.db") == [(0, 0)]


@pytest.mark.parametrize("damage", ["header", "middle", "empty"])
def test_a_corrupt_store_can_be_restored(path: Path, tmp_path: Path, damage: str) -> None:
    copy = backup.backup(_url(path), tmp_path / "copy.db")
    content = bytearray(path.read_bytes())
    if damage == "empty":
        content.clear()
    else:
        start = 0 if damage == "header" else len(content) // 2
        content[start : start + 8192] = os.urandom(8192)
    path.write_bytes(content)
    path.with_name("store.db-wal").write_bytes(b"of the corrupt one")
    backup.restore(_url(path), copy.path)
    assert _values(path) == [(0, 0)]


USES = """
    import sys
    from profiles.backup import in_use
    with in_use(sys.argv[1]):
        print("up", flush=True)
        sys.stdin.read()
"""
HAS_OPEN = """
    import sys
    from profiles import db
    engine = db.connect(sys.argv[1])
    connection = engine.connect()
    connection.exec_driver_sql("SELECT 1 FROM saved_plans").all()
    connection.commit()  # idle, as connections of a pool are
    print("up", flush=True)
    sys.stdin.read()
"""
WRITES = """
    import sys, sqlite3
    connection = sqlite3.connect(sys.argv[1].removeprefix("sqlite:///"), isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    print("up", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("code", [USES, HAS_OPEN, WRITES], ids=["serves", "has it open", "writes"])
def test_a_store_in_use_is_not_replaced(path: Path, tmp_path: Path, code: str) -> None:
    copy = backup.backup(_url(path), tmp_path / "copy.db")
    _set(path, 5)
    with _elsewhere(code, _url(path)):
        with pytest.raises(StoreError, match="is in use") as caught:
            backup.restore(_url(path), copy.path)
        assert caught.value.fix is not None
        assert "stop `gpuplan serve`" in caught.value.fix
    assert _values(path) == [(5, 5)]
    assert not list(tmp_path.glob("*restor*"))
    backup.restore(_url(path), copy.path)  # it died by kill -9: nothing of it is left to hold the store
    assert _values(path) == [(0, 0)]


def test_several_may_use_a_store_and_none_while_it_is_restored(path: Path) -> None:
    with _elsewhere(USES, _url(path)), backup.in_use(_url(path)):
        pass
    with (
        backup._lock(path, "write", "is in use", ""),
        pytest.raises(StoreError, match="is being restored"),
        backup.in_use(_url(path)),
    ):
        pass


def _not_a_store(file: Path, path: Path) -> None:
    file.write_bytes(b"SELECT 1;\n" * 1000)


def _empty(file: Path, path: Path) -> None:
    file.touch()


def _another_database(file: Path, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("CREATE TABLE plans (id)")


def _truncated(file: Path, path: Path) -> None:
    content = backup.backup(_url(path), file).path.read_bytes()
    file.write_bytes(content[: len(content) // 2])


def _garbled(file: Path, path: Path) -> None:
    content = bytearray(backup.backup(_url(path), file).path.read_bytes())
    content[4096:12288] = os.urandom(8192)
    file.write_bytes(content)


def _no_revision(file: Path, path: Path) -> None:
    backup.backup(_url(path), file)
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("DELETE FROM alembic_version")


def _newer(file: Path, path: Path) -> None:
    backup.backup(_url(path), file)
    with contextlib.closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


def _a_folder(file: Path, path: Path) -> None:
    file.mkdir()


def _missing(file: Path, path: Path) -> None:
    """Nothing there."""


BAD = [_not_a_store, _empty, _another_database, _truncated, _garbled, _no_revision, _newer, _a_folder, _missing]


@pytest.mark.parametrize("make", BAD)
def test_what_is_no_sound_copy_is_refused(path: Path, tmp_path: Path, make: object) -> None:
    assert callable(make)
    make(tmp_path / "bad.db", path)
    _set(path, 5)
    with pytest.raises(InvalidInput) as caught:
        backup.restore(_url(path), tmp_path / "bad.db")
    assert caught.value.field == str(tmp_path / "bad.db")
    assert _values(path) == [(5, 5)]
    assert not list(tmp_path.glob("*restor*"))


def test_an_older_copy_comes_back_to_be_upgraded(path: Path, tmp_path: Path) -> None:
    copy = backup.backup(_url(path), tmp_path / "copy.db")
    with contextlib.closing(sqlite3.connect(copy.path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0003'")
    assert backup.restore(_url(path), copy.path).schema == "0003"


def test_a_store_is_not_its_own_copy(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(path)
    for file in (path, tmp_path / "link.db", path.with_name("store.db-wal")):
        with pytest.raises(InvalidInput, match="is the store itself"):
            backup.backup(_url(path), file)
    with pytest.raises(InvalidInput, match="is the store itself"):
        backup.restore(_url(path), tmp_path / "link.db")


def test_a_copy_that_cannot_be_written(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be written"):
        backup.backup(_url(path), tmp_path / "nowhere" / "copy.db")
    with pytest.raises(StoreError, match="no profile store"):
        backup.backup(_url(tmp_path / "missing.db"), tmp_path / "copy.db")


def test_a_corrupt_store_is_not_copied_as_if_it_were_sound(path: Path, tmp_path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[8192:16384] = os.urandom(8192)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="cannot be copied"):
        backup.backup(_url(path), tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy*"))


@pytest.mark.parametrize("name", ["a b;c", "$(touch x)", "it's"])
def test_postgresql_has_its_own_commands(name: str) -> None:
    url = "postgresql://ann:hidden@db.example:5432/plans?password=hidden"
    with pytest.raises(InvalidInput) as caught:
        backup.backup(url, Path(name))
    assert caught.value.fix is not None
    assert caught.value.fix.startswith("run `pg_dump --format=custom --file='")
    assert "postgresql://ann@db.example:5432/plans" in caught.value.fix
    with pytest.raises(InvalidInput, match="PostgreSQL has its own commands") as caught:
        backup.restore(url, Path(name))
    assert "hidden" not in str(caught.value)
    with backup.in_use(url):
        pass


def test_a_store_in_memory_has_no_copy(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="in memory"):
        backup.backup("sqlite://", tmp_path / "copy.db")
