"""``gpuplan doctor`` finds what is wrong, says how to mend it, and never breaks over it."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import sqlite3
import subprocess
import sys
import tomllib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from planner import doctor, solver_trial
from planner.cli import app
from planner.command import initialise_store
from profiles.types import Facts

ROOT = Path(__file__).parents[2]


def findings(*words: str) -> tuple[int, dict[str, dict[str, Any]]]:
    result = CliRunner().invoke(app, ["doctor", "--json", *words])
    report = json.loads(result.stdout)
    assert report["well"] == (result.exit_code == 0)
    return result.exit_code, {finding["name"]: finding for finding in report["findings"]}


def test_all_is_well_with_a_store(sqlite_url: str) -> None:
    initialise_store(sqlite_url)[0].dispose()
    code, found = findings("--database", sqlite_url)
    assert code == 0
    assert {"Python", "gpuplan", "CPUs", "settings", "store", "prices", "measurements", "disk", "GPU"} <= found.keys()
    solvers = [finding for name, finding in found.items() if name.startswith(("HiGHS", "CP-SAT"))]
    assert [(finding["state"], finding["detail"]) for finding in solvers] == [("ok", "solves")] * 2
    assert all(finding["fix"] for finding in found.values() if finding["state"] in ("warn", "fail"))


def test_people_read_a_line_each(sqlite_url: str) -> None:
    initialise_store(sqlite_url)[0].dispose()
    shown = CliRunner().invoke(app, ["doctor", "--database", sqlite_url]).stdout
    assert "ok   store" in shown
    assert "→ pip install 'gpuplan[" in shown or all(f"ok   [{extra}]" in shown for extra in doctor.EXTRAS)


def store_findings(url: str | None) -> list[doctor.Finding]:
    return list(doctor._store(url))


def test_no_store_yet_is_no_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GPUPLAN_DATABASE_URL", raising=False)
    store, disk = store_findings(None)
    assert (store.state, store.fix, disk.name) == ("warn", "gpuplan init", "disk")
    assert list(tmp_path.iterdir()) == [], "looking makes nothing"


def test_stores_that_cannot_be_used(tmp_path: Path, sqlite_url: str) -> None:
    (missing,) = store_findings(f"sqlite:///{tmp_path}/missing.db")
    assert (missing.state, "gpuplan init" in missing.fix) == ("fail", True)
    (tmp_path / "text.db").write_text("no database " * 100)
    (text,) = store_findings(f"sqlite:///{tmp_path}/text.db")
    assert text.state == "fail"
    (unreachable,) = store_findings("postgresql://nobody:s3cret@127.0.0.1:1/none")
    assert unreachable.state == "fail"
    assert "s3cret" not in unreachable.model_dump_json()
    initialise_store(sqlite_url)[0].dispose()
    shutil.copyfile(tmp_path / "store.db", tmp_path / "old.db")
    with closing(sqlite3.connect(tmp_path / "old.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    (old,) = store_findings(f"sqlite:///{tmp_path}/old.db")
    assert (old.state, "gpuplan init" in old.fix) == ("fail", True)


def test_a_store_that_another_process_writes_to(sqlite_url: str, tmp_path: Path) -> None:
    initialise_store(sqlite_url)[0].dispose()
    with closing(sqlite3.connect(tmp_path / "store.db", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        found = {finding.name: finding for finding in store_findings(sqlite_url)}
    assert found["store"].state == "fail"
    assert "locked" in found["store"].detail


@pytest.mark.parametrize(
    ("days", "state", "said"),
    [(0, "ok", "today"), (1, "ok", "1 day ago"), (60, "ok", "60 days"), (61, "warn", "61 days")],
)
def test_prices_age(sqlite_url: str, days: int, state: str, said: str) -> None:
    engine, _ = initialise_store(sqlite_url)
    from profiles.store import snapshot

    facts = snapshot(engine)
    engine.dispose()
    newest = max(price.as_of for price in facts.prices)
    prices, _ = doctor._ages(facts, newest + dt.timedelta(days=days))
    assert (prices.state, said in prices.detail, bool(prices.fix)) == (state, True, state == "warn")


def test_an_empty_store_has_nothing_to_be_old() -> None:
    assert [(f.state, f.detail) for f in doctor._ages(Facts(digest="x"), dt.date(2026, 1, 1))] == [
        ("warn", "none in the store")
    ] * 2


def test_a_setting_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPUPLAN_PORT", "many")
    assert (doctor._settings().state, doctor._settings().fix) == ("fail", "unset GPUPLAN_PORT")


def test_extras_are_those_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert doctor.EXTRAS.keys() == extras.keys() - {"dev"}
    assert {f.state for f in doctor._extras(lambda module: None)} == {"off"}
    assert {f.state for f in doctor._extras(lambda module: module)} == {"ok"}


def _process(program: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("import os; os.kill(os.getpid(), 11)", "ended with -11"),
        ("import no_such_solver", "No module named 'no_such_solver'"),
        ("""print('{"HiGHS 9": "says 4.0 where the answer is 3.0"}')""", "says 4.0"),
    ],
)
def test_solvers_that_break(program: str, said: str) -> None:
    (finding,) = doctor._solvers(_process(program))
    assert (finding.state, said in finding.detail, bool(finding.fix)) == ("fail", True, True)


def test_a_wrong_answer_is_noticed() -> None:
    assert solver_trial._said(3.0) == ""
    assert solver_trial._said(4.0)
    assert solver_trial._said(None)


@pytest.mark.parametrize(
    ("script", "state", "said"),
    [
        ("echo 'NVIDIA H100 80GB HBM3, 81559 MiB, 570.1'", "ok", "H100"),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch' >&2; exit 18", "warn", "mismatch"),
    ],
)
def test_gpus_as_their_driver_tells(
    script: str, state: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    (finding,) = doctor._gpus()
    assert (finding.state, said in finding.detail) == (state, True)


def test_little_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    for free_gib, state in ((50, "ok"), (0.5, "warn"), (0.01, "fail")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free_gib: usage._replace(free=int(free * 2**30)))
        assert doctor._disk(tmp_path).state == state
