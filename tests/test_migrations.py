"""The migrations make exactly the tables that the code declares, and can take them away again."""

from __future__ import annotations

import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, make_url

import api.tables  # noqa: F401  its tables join the metadata, and planner's with them
from profiles import catalogue, db, store
from profiles.tables import Base
from profiles.types import Batch


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.attributes["connection"] = connection
    return config


def _differences(connection: Connection) -> list[Any]:
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return compare_metadata(context, Base.metadata)


def _declared(connection: Connection) -> dict[str, Any]:
    """Every table as the database itself describes it, constraints that alembic does not compare included."""
    inspector = inspect(connection)
    return {
        table: {
            "columns": [(c["name"], str(c["type"]), c["nullable"]) for c in inspector.get_columns(table)],
            "key": inspector.get_pk_constraint(table),
            "foreign keys": sorted(inspector.get_foreign_keys(table), key=str),
            "checks": sorted(
                (c["name"], " ".join(c["sqltext"].split())) for c in inspector.get_check_constraints(table)
            ),
            "indexes": sorted(inspector.get_indexes(table), key=str),
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def _plain_engine(url: str) -> Any:
    parsed = make_url(url)
    return create_engine(parsed.set(drivername=db._DRIVERS[parsed.get_backend_name()]))


def test_the_constant_that_connect_compares_is_alembics_head() -> None:
    assert ScriptDirectory.from_config(_config()).get_current_head() == db.SCHEMA_REVISION


def test_up_leaves_no_difference_down_leaves_no_table_and_up_again_works(database_url: str) -> None:
    engine = _plain_engine(database_url)
    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")
        assert _differences(connection) == []
    with engine.begin() as connection:
        command.downgrade(_config(connection), "base")
        assert inspect(connection).get_table_names() == ["alembic_version"]
    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")
        assert _differences(connection) == []
    engine.dispose()


def test_a_forgotten_migration_would_be_noticed(sqlite_url: str) -> None:
    engine = db.initialise(sqlite_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE models DROP COLUMN vocab_size")
        assert [difference[0] for difference in _differences(connection)] == ["add_column"]
    engine.dispose()


def test_migrated_tables_have_the_constraints_and_indexes_of_declared_ones(database_url: str) -> None:
    engine = _plain_engine(database_url)
    with engine.begin() as connection:
        command.upgrade(_config(connection), "head")
        migrated = _declared(connection)
        command.downgrade(_config(connection), "base")
        Base.metadata.create_all(connection)
        assert migrated == _declared(connection)
    assert migrated["prices"]["foreign keys"][0]["referred_table"] == "instance_types"
    engine.dispose()


def test_opening_a_store_imports_no_alembic(sqlite_url: str) -> None:
    db.initialise(sqlite_url).dispose()
    code = f"import sys; from profiles import db, store; db.connect({sqlite_url!r}); print('alembic' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_types_import_no_sqlalchemy() -> None:
    code = "import sys; import profiles.types, planner.types; print('sqlalchemy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"


def test_the_migrations_lie_in_an_importable_package() -> None:
    package = Path(str(files("migrations")))
    assert (package / "__init__.py").exists()
    assert (package / "script.py.mako").exists()


@pytest.mark.parametrize("first", ["alembic upgrade", "initialise"])
def test_alembic_by_hand_and_initialise_agree(sqlite_url: str, first: str) -> None:
    engine = _plain_engine(sqlite_url)
    if first == "alembic upgrade":
        with engine.begin() as connection:
            command.upgrade(_config(connection), "head")
        db.initialise(sqlite_url).dispose()
    else:
        db.initialise(sqlite_url).dispose()
        with engine.begin() as connection:
            command.upgrade(_config(connection), "head")
    db.connect(sqlite_url).dispose()
    engine.dispose()


def test_rows_of_the_first_schema_are_the_same_facts_afterwards(database_url: str) -> None:
    facts = catalogue.load()
    measured = next(m for m in facts.measurements if m.mean_power_w)
    batch = Batch(gpus=tuple(gpu for gpu in facts.gpus if gpu.name == measured.gpu), measurements=(measured,))
    engine = _plain_engine(database_url)
    with engine.begin() as connection:
        command.upgrade(_config(connection), "0001")
        rows = {"gpu_types": batch.gpus[0].model_dump(), "measurements": measured.model_dump()}
        rows["measurements"]["digest"] = measured.digest
        for table, row in rows.items():
            columns = {column["name"] for column in inspect(connection).get_columns(table)}
            old = {name: value for name, value in row.items() if name in columns}
            connection.execute(Base.metadata.tables[table].insert().inline(), old)
    engine.dispose()
    upgraded = db.initialise(database_url)
    assert store.snapshot(upgraded).measurements == (measured,)
    assert store.add(upgraded, batch).measurements == store.Change(unchanged=1)  # its digest is still its name
    with upgraded.begin() as connection:
        command.downgrade(_config(connection), "0001")
        assert connection.exec_driver_sql("SELECT count(*) FROM measurements").scalar() == 1
    upgraded.dispose()
