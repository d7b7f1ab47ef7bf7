"""The database: where it is, whether it can be used, and the scope of one transaction.

SQLite and PostgreSQL behave alike behind this file: a writer is alone until it commits, a reader sees
one moment throughout, and whatever the database refuses comes out as an error that names the fix.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError, DataError, DBAPIError, OperationalError
from sqlalchemy.orm import Session

from profiles.errors import GpuplanError, InvalidInput, StoreError

DEFAULT_URL = "sqlite:///gpuplan.db"
SCHEMA_REVISION = "0004"
"""The newest migration. Written here so that opening a store need not import alembic; a test keeps the two equal."""

_DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
_WRITER_LOCK = 0x677075706C616E  # "gpuplan": the key of the advisory lock that writers take on PostgreSQL
_INIT = "run `gpuplan init` with the same database"
_RESTORE = "restore it from a backup, or delete it and run `gpuplan init`"
_DISK = "free space on the disk that holds the database"

_SQLITE_REFUSALS: dict[int, tuple[str, str]] = {
    5: ("is locked by another process", "wait for the other gpuplan to finish, or stop it"),
    6: ("is locked by another connection", "wait for the other gpuplan to finish, or stop it"),
    8: ("is read-only", "give yourself write permission on the file and its directory, or choose another --database"),
    10: ("cannot be read or written by the operating system", "check the disk that holds the database"),
    11: ("is corrupt", _RESTORE),
    13: ("has no room to grow", _DISK),
    14: ("cannot be opened", "check that its directory exists and that you may write there"),
    26: ("is not a SQLite database", "choose another --database, or move that file away and run `gpuplan init`"),
}
"""By primary result code (https://www.sqlite.org/rescode.html)."""

_POSTGRES_REFUSALS: dict[str, tuple[str, str]] = {
    "25006": ("is read-only", "connect to the primary server, or choose another --database"),
    "42501": ("does not allow this", "grant the user of the database URL the right to it"),
    "42P01": ("lacks a table", _RESTORE),
    "42703": ("lacks a column", _RESTORE),
    "53100": ("has no room to grow", _DISK),
    "55P03": ("is locked by another process", "wait for the other gpuplan to finish, or stop it"),
}
"""By SQLSTATE (https://www.postgresql.org/docs/current/errcodes-appendix.html)."""

_CREDENTIALS = ("does not let you in", "check the user and password in the database URL")
_POSTGRES_GREETINGS: dict[str, tuple[str, str]] = {
    "password": _CREDENTIALS,
    "pg_hba.conf": _CREDENTIALS,
    "role": _CREDENTIALS,
    "does not exist": ("does not exist on the server", "create it with `createdb`, then run `gpuplan init`"),
    "too many clients": ("has no connection left", "try again, or raise max_connections on the server"),
}
"""By a phrase of the message: a connection that fails has no SQLSTATE in psycopg. The first that fits counts."""


def initialise(url: str = DEFAULT_URL, *, lock_wait_s: float = 5.0) -> Engine:
    """Open the store at ``url`` after creating its schema, or upgrading it to this version's.

    Safe to repeat and to run twice at once: the second waits up to ``lock_wait_s`` seconds for the first.

    Raises
    ------
    StoreError
        As ``connect`` does, except that a missing, empty or older store is what this function is for.
    """
    engine = _engine(url, lock_wait_s)
    with _explained(engine), _writing(engine).begin() as connection:
        wait_for_writers(connection)
        revision = _revision(connection)
        if revision != SCHEMA_REVISION:
            _refuse_newer(engine, revision)
            _migrate(connection)
    _prefer_wal(engine)
    return engine


def connect(url: str = DEFAULT_URL, *, lock_wait_s: float = 5.0) -> Engine:
    """Open the existing store at ``url``; a statement waits up to ``lock_wait_s`` seconds for another writer.

    Raises
    ------
    StoreError
        If the URL is malformed or its driver missing; the file is missing, not a database, corrupt or locked;
        the server cannot be reached; or the schema is missing, older or newer than this version's.
    """
    engine = _engine(url, lock_wait_s)
    path = _file(engine.url)
    if path is not None and not path.exists():
        raise StoreError(f"there is no profile store at {path}", fix=f"{_INIT}, or choose another --database")
    with _explained(engine), engine.connect() as connection:
        revision = _revision(connection)
    if revision == SCHEMA_REVISION:
        return engine
    engine.dispose()
    _refuse_newer(engine, revision)
    state = "holds no gpuplan tables" if revision is None else f"is of an older version (schema {revision})"
    raise StoreError(f"{shown(engine.url)} {state}", fix=_INIT)


@contextlib.contextmanager
def transaction(engine: Engine) -> Iterator[Session]:
    """A session whose changes are all kept, or, when the block raises, all undone.

    SQLite takes the write lock at the first statement, so that what was read is still true when it is written;
    on PostgreSQL a block that needs this calls ``wait_for_writers`` first.

    Raises
    ------
    StoreError
        If the database is locked, corrupt, read-only, full or out of reach.
    InvalidInput
        If a value fits no column, such as an integer beyond 64 bits.
    """
    with _explained(engine), Session(_writing(engine)) as session, session.begin():
        yield session


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """A session that sees one moment of the store throughout, whatever others write meanwhile.

    Raises
    ------
    StoreError
        As ``transaction`` does.
    """
    if engine.dialect.name == "postgresql":
        engine = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    with _explained(engine), Session(engine) as session, session.begin():
        yield session


def wait_for_writers(connection: Connection | Session) -> None:
    """Be the only writer until the transaction ends. On SQLite the transaction itself already is."""
    bind = connection.get_bind() if isinstance(connection, Session) else connection
    if bind.dialect.name != "postgresql":
        return
    wait_ms = max(1, int(1000 * bind.get_execution_options()["lock_wait_s"]))  # 0 would mean for ever
    connection.execute(select(func.set_config("lock_timeout", f"{wait_ms}ms", True)))
    connection.execute(select(func.pg_advisory_xact_lock(_WRITER_LOCK)))


@contextlib.contextmanager
def exclusive(engine: Engine, name: str) -> Iterator[bool]:
    """Be the only one, of all processes that use this store, inside a block of this ``name``; False: another one is.

    Held by the operating system (SQLite: a lock on the file ``DATABASE.NAME.lock``) or by the server (PostgreSQL: an
    advisory lock of a connection), so that it ends with its process, however that dies.

    Raises
    ------
    StoreError
        If the lock file cannot be written, or the server is out of reach.
    """
    path = _file(engine.url)
    if path is not None:
        with _locked_file(path.with_name(f"{path.name}.{name}.lock")) as mine:
            yield mine
        return
    if engine.dialect.name != "postgresql":
        yield True  # a store in memory belongs to one process
        return
    with _explained(engine), engine.connect() as connection:
        key = int.from_bytes(hashlib.sha256(f"gpuplan {name}".encode()).digest()[:8], signed=True)
        yield bool(connection.scalar(select(func.pg_try_advisory_xact_lock(key))))


@contextlib.contextmanager
def _locked_file(path: Path) -> Iterator[bool]:
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise StoreError(
            f"{path} cannot be locked ({error.strerror})", fix="allow writing beside the database"
        ) from error
    try:
        yield True
    finally:
        lock.release()


def shown(url: URL) -> str:
    """The URL as messages may show it: without password and without options, which can hold one."""
    return url.set(query={}).render_as_string(hide_password=True)


def _engine(url: str, lock_wait_s: float) -> Engine:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # ValueError: a port that is no number
        # The URL itself stays out of the message: what cannot be parsed cannot have its password hidden.
        raise StoreError(
            "the database URL cannot be read",
            fix="write it as sqlite:///gpuplan.db or postgresql://user:password@host:5432/database",
        ) from None
    backend = parsed.get_backend_name()
    if backend not in _DRIVERS:
        raise StoreError(f"cannot keep profiles in {backend!r}", fix="use a sqlite:/// or postgresql:// URL")
    options: dict[str, Any] = {"execution_options": {"lock_wait_s": lock_wait_s}}
    if backend == "sqlite":
        options["connect_args"] = {"timeout": lock_wait_s}  # SQLite's busy_timeout
    else:
        options["pool_pre_ping"] = True  # a pooled connection may have died with its server
        options["connect_args"] = {} if "connect_timeout" in parsed.query else {"connect_timeout": 10}
    try:
        engine = create_engine(parsed.set(drivername=_DRIVERS[backend]), **options)
    except ModuleNotFoundError as error:
        raise StoreError(f"{error.name} is not installed", fix="pip install 'gpuplan[postgres]'") from error
    if backend == "sqlite":
        event.listen(engine, "connect", _configure)
        event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: object) -> None:
    # Python's own transaction control begins too late, at the first write: take it over (see _begin).
    connection.isolation_level = None
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")


def _begin(connection: Connection) -> None:
    # A reader that turns writer halfway may find that what it read has changed: writers say so from the start.
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _writing(engine: Engine) -> Engine:
    return engine.execution_options(writes=True)


def _file(url: URL) -> Path | None:
    """The file of a SQLite URL; None for a server, for memory, and for SQLite's own ``file:`` URIs."""
    if url.get_backend_name() != "sqlite" or not url.database or url.database.startswith((":memory:", "file:")):
        return None
    return Path(url.database)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _refuse_newer(engine: Engine, revision: str | None) -> None:
    if revision is None or (revision.isdigit() and revision < SCHEMA_REVISION):
        return
    raise StoreError(
        f"{shown(engine.url)} is of a newer version (schema {revision}; this gpuplan knows {SCHEMA_REVISION})",
        fix="pip install --upgrade gpuplan",
    )


def _migrate(connection: Connection) -> None:
    # Alembic takes as long to import as everything else together, and only a new store needs it.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(files("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _prefer_wal(engine: Engine) -> None:
    """Let readers go on while one writes: a property of the file, so set once."""
    if engine.dialect.name != "sqlite":
        return
    # Only possible while nobody else uses the file. Who finds it busy leaves it: that costs waiting, not
    # correctness, whoever keeps it busy sets it too, and the next `gpuplan init` tries again.
    with contextlib.closing(engine.raw_connection()) as connection, contextlib.suppress(sqlite3.OperationalError):
        connection.cursor().execute("PRAGMA journal_mode = WAL")


@contextlib.contextmanager
def _explained(engine: Engine) -> Iterator[None]:
    try:
        yield
    except (DataError, OverflowError) as error:
        reason = error.orig if isinstance(error, DataError) else error
        raise InvalidInput(f"a value does not fit the database: {_first_line(reason)}") from error
    except DBAPIError as error:
        explanation = _explanation(error, engine.url)
        if explanation is None:
            raise
        raise explanation from error


def _explanation(error: DBAPIError, url: URL) -> GpuplanError | None:
    """What the database refused, in words; None for a statement that is wrong, which is a defect of gpuplan."""
    # Drivers may quote what they were given; no password is to end up in a log.
    reason = _first_line(error.orig).replace(url.password or "\0", "***")
    code, state = getattr(error.orig, "sqlite_errorcode", None), getattr(error.orig, "sqlstate", None)
    if code is not None:
        refusal = _SQLITE_REFUSALS.get(code & 0xFF)
    elif state is not None:
        refusal = _POSTGRES_REFUSALS.get(state)
    else:
        refusal = next((greeting for phrase, greeting in _POSTGRES_GREETINGS.items() if phrase in reason), None)
    if refusal:
        return StoreError(f"{shown(url)} {refusal[0]} ({reason})", fix=refusal[1])
    if isinstance(error, OperationalError):
        fix = _RESTORE if code is not None else "check that the server is running and reachable"
        return StoreError(f"{shown(url)} cannot be used ({reason})", fix=fix)
    return None


def _first_line(error: BaseException | None) -> str:
    return str(error).strip().partition("\n")[0]
