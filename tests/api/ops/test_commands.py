"""``gpuplan keys``, ``backup`` and ``restore`` as people and programs see them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from sqlalchemy import Engine
from typer.testing import CliRunner, Result

from api.access import keys, keys_store
from api.commands import register
from planner.audit import entries
from profiles import db


def _run(*arguments: str, code: int = 0) -> Result:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code, result.output
    return result


def test_a_key_from_its_making_to_its_end(database_url: str) -> None:
    engine = db.initialise(database_url)
    at = ("--database", database_url)
    made = _run("keys", "create", "ann", "--scope", "plan", "--scope", "read", "--expires-days", "30", *at)
    whole = made.stdout.strip()
    shown = keys.parse(whole)
    assert shown is not None, "the key alone is on stdout, so that a script can keep it"
    assert "shown only now" in made.stderr
    listed = _run("keys", "list", "--json", *at).stdout
    (known,) = json.loads(listed)
    assert (known["id"], known["name"], known["scopes"], known["state"]) == (shown.id, "ann", ["read", "plan"], "live")
    assert whole not in listed
    assert shown.digest not in listed
    assert "ann" in _run("keys", "list", *at).stdout
    assert json.loads(_run("keys", "revoke", shown.id, "--json", *at).stdout)["state"] == "revoked"
    assert not keys_store.any_live(engine)
    assert [(entry.action, entry.subject) for entry in entries(engine)] == [
        ("key.revoke", shown.id), ("key.create", shown.id),
    ]  # fmt: skip
    assert whole.rpartition("_")[2] not in repr(entries(engine))
    engine.dispose()


def test_a_key_may_only_read_unless_said_otherwise(engine: Engine) -> None:
    made = json.loads(_run("keys", "create", "ann", "--json", "--database", str(engine.url)).stdout)
    assert made["scopes"] == ["read"]
    assert keys.parse(made["key"]) is not None


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (("create", "ann", "--scope", "root"), "scope"),
        (("create", ""), "name"),
        (("create", "a\nb"), "name"),
        (("create", "ann", "--expires-days", "0"), "expires"),
        (("create", "ann", "--expires-days", "1e300"), "--expires-days"),
        (("create", "ann", "--expires-days", "nan"), "--expires-days"),
        (("create", "ann", "--expires-days", "inf"), "--expires-days"),
        (("revoke", "no such"), None),
    ],
)
def test_what_cannot_be_meant(engine: Engine, arguments: tuple[str, ...], field: str | None) -> None:
    result = _run("keys", *arguments, "--json", "--database", str(engine.url), code=2)
    assert json.loads(result.stderr)["field"] == field
    assert keys_store.keys(engine) == ()


def test_backup_and_restore(engine: Engine, tmp_path: Path) -> None:
    at, copy = ("--database", str(engine.url)), str(tmp_path / "copy.db")
    keys_store.create(engine, "before", ["read"], None)
    assert json.loads(_run("backup", copy, "--json", *at).stdout)["schema"] == db.SCHEMA_REVISION
    keys_store.create(engine, "after", ["read"], None)
    engine.dispose()
    assert "--yes" in _run("restore", copy, *at, code=2).stderr
    assert len(keys_store.keys(engine)) == 2
    engine.dispose()
    answer = json.loads(_run("restore", copy, "--yes", "--json", *at).stdout)
    assert answer["before"].endswith("store.db.before-restore")
    assert [key.name for key in keys_store.keys(engine)] == ["before"]
    engine.dispose()
    assert "what was there" in _run("restore", copy, "--yes", *at).stdout
    assert "copy.db" in _run("backup", copy, *at).stdout


def test_postgresql_is_pointed_to_its_own_commands(postgresql_url: str) -> None:
    at = ("--database", postgresql_url.replace("postgres:@", "postgres:hidden@"))
    for command in (("backup", "copy"), ("restore", "copy", "--yes")):
        problem = json.loads(_run(*command, "--json", *at, code=2).stderr)
        assert "pg_" in problem["fix"]
        assert "hidden" not in problem["fix"]
