"""Copies of a SQLite store: made while it is in use, put back while it is not.

A copy is one file of its own (no -wal beside it), of one moment of the store, whatever is written meanwhile: SQLite's
backup interface sees to that. PostgreSQL has ``pg_dump`` and ``pg_restore``; messages name the command.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import ReadWriteLock, Timeout
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from profiles.db import SCHEMA_REVISION
from profiles.errors import InvalidInput, StoreError

_STOP = "stop `gpuplan serve`, `gpuplan worker` and every other command on this store first"
_SIDE_FILES = ("-wal", "-shm", "-journal")


@dataclass(frozen=True)
class Copy:
    """A copy that was made or put back; ``before`` is where the store lies that it replaced (None: there was none)."""

    path: Path
    size_bytes: int
    schema: str
    before: Path | None = None


@contextlib.contextmanager
def in_use(url: str) -> Iterator[None]:
    """Keep the store at ``url`` from being replaced while the block runs; ends with its process, however that dies.

    Raises ``StoreError`` while it is being replaced. Nothing to do for PostgreSQL.
    """
    path = _sqlite_file(url)
    if path is None:
        yield
        return
    with _lock(path, "read", "is being restored", "wait for `gpuplan restore` to finish"):
        yield


def backup(url: str, destination: Path) -> Copy:
    """Copy the store at ``url`` to ``destination``, which is there whole or not at all; an older copy is replaced.

    Readers and writers go on meanwhile, and the copy does not see what they do after it began.

    Raises
    ------
    InvalidInput
        If the store is not SQLite, or the destination is the store itself.
    StoreError
        If the store cannot be read, or the copy not be written.
    """
    path = _existing(url, "pg_dump --format=custom --file={file} {url}", destination)
    if destination.resolve() in {path.resolve(), *(_beside(path.resolve(), end) for end in _SIDE_FILES)}:
        raise InvalidInput("is the store itself", field=str(destination), fix="copy to another file")
    part = _beside(destination, f".{os.getpid()}.part")
    try:
        with _explained(path):
            _copy(path, part)
            schema = _checked(part)
        part.replace(destination)
        _sync(destination.parent)
        return Copy(destination, destination.stat().st_size, schema)
    except OSError as error:
        raise StoreError(f"{destination} cannot be written: {error.strerror}", fix="choose another file") from error
    finally:
        _remove(part)


def restore(url: str, source: Path) -> Copy:
    """Put the copy at ``source`` in the place of the store at ``url``, in one step; what was there is kept beside it.

    Raises
    ------
    InvalidInput
        If the store is not SQLite, or ``source`` is no sound copy of a store that this version knows.
    StoreError
        If the store is in use, or cannot be written. It is as it was then.
    """
    path = _sqlite_file(url)
    if path is None:
        raise _not_sqlite(url, "pg_restore --clean --if-exists --dbname={url} {file}", source)
    if source.resolve() == path.resolve():
        raise InvalidInput("is the store itself", field=str(source), fix="restore from a copy")
    part, before = _beside(path, f".{os.getpid()}.restoring"), _beside(path, ".before-restore")
    try:
        schema = _sound(source, part)
        with _lock(path, "write", "is in use", _STOP):
            existed = path.exists()
            with _alone(path) if existed else contextlib.nullcontext():
                if existed:
                    _own_alike(path, part)
                    _keep(path, before)
                part.replace(path)
            _sync(path.parent)
        return Copy(path, path.stat().st_size, schema, before if existed else None)
    except OSError as error:
        raise StoreError(f"{path} cannot be replaced: {error.strerror}", fix="check the disk that holds it") from error
    finally:
        _remove(part)


def _sound(source: Path, part: Path) -> str:
    """Copy ``source`` to ``part``, ready to be used, and return its schema revision."""
    if not source.is_file():
        raise InvalidInput("is not there" if not source.exists() else "is not a file", field=str(source))
    try:
        _copy(source, part)
        schema = _checked(part)
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_FULL:
            raise StoreError(
                f"there is no room for another copy beside {part}", fix="free space on that disk"
            ) from None
        raise InvalidInput(
            f"is no sound copy of a store ({error})", field=str(source), fix="try an older copy"
        ) from None
    if not schema.isdigit() or schema > SCHEMA_REVISION:
        raise InvalidInput(
            f"is of a newer version (schema {schema}; this gpuplan knows {SCHEMA_REVISION})", field=str(source),
            fix="pip install --upgrade gpuplan",
        )  # fmt: skip
    with contextlib.closing(sqlite3.connect(part)) as copy:
        copy.execute("PRAGMA journal_mode = WAL")  # as stores are; closing leaves one file again
    return schema


def _copy(source: Path, destination: Path) -> None:
    # Only the owner: a copy holds everything that the store does.
    os.close(os.open(destination, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    reader = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)
    with contextlib.closing(reader), contextlib.closing(sqlite3.connect(destination)) as writer:
        reader.backup(writer)
        writer.execute("PRAGMA journal_mode = DELETE")


def _checked(path: Path) -> str:
    """The schema revision of a sound store; ``sqlite3.DatabaseError`` where it is none."""
    with contextlib.closing(sqlite3.connect(path)) as copy:
        found = copy.execute("PRAGMA integrity_check(1)").fetchone()[0]
        if found != "ok":
            raise sqlite3.DatabaseError(found)
        row = copy.execute("SELECT version_num FROM alembic_version").fetchone()
        if row is None:
            raise sqlite3.DatabaseError("no schema version")
        return str(row[0])


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Be the only one who has the store open, with everything in its one file; nobody is asked about a corrupt one."""
    with contextlib.closing(sqlite3.connect(path, timeout=1.0, isolation_level=None)) as store:
        try:
            # SQLite leaves the write-ahead log only where no other connection, however idle, has the store open.
            store.execute("PRAGMA journal_mode = DELETE")
            store.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise StoreError(f"{path} is in use", fix=_STOP) from None
            raise StoreError(f"{path} cannot be replaced ({error})", fix="check the rights on it") from error
        except sqlite3.DatabaseError:
            pass  # what it is, is why it is replaced
        yield


def _keep(path: Path, before: Path) -> None:
    """Name the store ``before`` as well, replacing an earlier one; what lies beside a corrupt one moves there."""
    _remove(before)
    os.link(path, before)
    for end in _SIDE_FILES:
        if _beside(path, end).exists():
            _beside(path, end).replace(_beside(before, end))


def _own_alike(path: Path, beside: Path) -> None:
    """Let the same people read and write ``beside`` as ``path``, where the system lets us."""
    was = path.stat()
    with contextlib.suppress(PermissionError):
        os.chown(beside, was.st_uid, was.st_gid)
        beside.chmod(was.st_mode & 0o777)


@contextlib.contextmanager
def _lock(path: Path, mode: Literal["read", "write"], state: str, fix: str) -> Iterator[None]:
    file = _beside(path, ".in-use.lock")
    try:
        lock = ReadWriteLock(file, is_singleton=False)
        if path.exists():
            _own_alike(path, file)  # who restores may be another user than who serves
        (lock.acquire_read if mode == "read" else lock.acquire_write)(timeout=0)
    except Timeout:
        raise StoreError(f"{path} {state}", fix=fix) from None
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{file} cannot be locked ({error})", fix="allow writing beside the database") from error
    try:
        yield
    finally:
        lock.release()
        lock.close()


def _existing(url: str, command: str, file: Path) -> Path:
    path = _sqlite_file(url)
    if path is None:
        raise _not_sqlite(url, command, file)
    if not path.is_file():
        raise StoreError(f"there is no profile store at {path}", fix="choose another --database")
    return path


def _sqlite_file(url: str) -> Path | None:
    """The file of a SQLite URL; None for a server."""
    parsed = _parsed(url)
    if parsed.get_backend_name() != "sqlite":
        return None
    if not parsed.database or parsed.database.startswith((":memory:", "file:")):
        raise InvalidInput("is a store in memory, which ends with its process", field="--database")
    return Path(parsed.database)


def _parsed(url: str) -> URL:
    try:
        return make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError("the database URL cannot be read", fix="write it as sqlite:///gpuplan.db") from None


def _not_sqlite(url: str, command: str, file: Path) -> InvalidInput:
    # Without the password: pg_dump asks for it, or finds it in ~/.pgpass.
    given = _parsed(url)
    shown = URL.create("postgresql", given.username, None, given.host, given.port, given.database).render_as_string()
    written = command.format(url=shlex.quote(shown), file=shlex.quote(str(file)))
    return InvalidInput("PostgreSQL has its own commands for this", field="--database", fix=f"run `{written}`")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be copied ({error})", fix="check the store and the disk") from error


def _beside(path: Path, end: str) -> Path:
    return path.with_name(path.name + end)


def _remove(path: Path) -> None:
    for end in ("", *_SIDE_FILES):
        with contextlib.suppress(OSError):
            _beside(path, end).unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    """Make the new name survive a power cut."""
    with contextlib.suppress(OSError):  # not every file system can
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
