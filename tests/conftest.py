"""Stores to test on: a SQLite file, and a real PostgreSQL server that the tests start themselves."""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text

from profiles import db

_databases = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A PostgreSQL server of this session (of each worker under xdist), gone with it."""
    pgserver = pytest.importorskip("pgserver")
    # Not under pytest's own directory: root's is closed to the user as whom the server must run.
    directory = Path(tempfile.mkdtemp(prefix="gpuplan-pg-"))
    directory.chmod(0o755)
    server = pgserver.get_server(directory / "data", cleanup_mode="stop")
    # Nothing here outlives a crash, so nothing needs to reach the disk.
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        server.psql(f"ALTER SYSTEM SET {setting} = off")
    server.psql("SELECT pg_reload_conf()")
    yield server
    server.cleanup()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def postgresql_url(postgres_server: Any) -> Iterator[str]:
    """A fresh, empty PostgreSQL database."""
    name = f"test_{next(_databases)}"
    maintenance = create_engine(
        postgres_server.get_uri().replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT"
    )
    with maintenance.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield postgres_server.get_uri(name)
    with maintenance.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    maintenance.dispose()


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty place for a store, in either database: what needs it runs twice."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    """An empty store in a SQLite file."""
    engine = db.initialise(sqlite_url)
    yield engine
    engine.dispose()


@pytest.fixture
def any_engine(database_url: str) -> Iterator[Engine]:
    """An empty store, in either database."""
    engine = db.initialise(database_url)
    yield engine
    engine.dispose()
