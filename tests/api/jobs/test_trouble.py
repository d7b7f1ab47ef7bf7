"""Stores that refuse for a while, and clocks that jump: workers wait, jobs neither get lost nor are done twice."""

from __future__ import annotations

import datetime as dt
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

from api.jobs import leases, queue
from planner import identity
from profiles import db
from tests.api.jobs.conftest import Supervise, wait_until, worker_pids


def submit_squares(url: str, count: int) -> list[str]:
    engine = db.connect(url)
    names = [queue.submit(engine, "square", {"number": i}, "ann", most_queued=999).id for i in range(count)]  # type: ignore[arg-type]
    engine.dispose()
    return names


def all_done(url: str, names: list[str]) -> bool:
    engine = db.connect(url)
    found = queue.states(engine, names)
    engine.dispose()
    return all(found[name].state == "done" for name in names)


@pytest.fixture
def administer(postgresql_url: str) -> Iterator[Callable[[str], None]]:
    """Do something to the database from outside, and cut everybody's connections to it."""
    url = make_url(postgresql_url)
    database = url.database
    engine = create_engine(url.set(drivername="postgresql+psycopg", database="postgres"), isolation_level="AUTOCOMMIT")

    def run(statement: str) -> None:
        with engine.connect() as connection:
            connection.execute(text(statement.format(database=database)))
            cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :database")
            connection.execute(cut, {"database": database})

    yield run
    engine.dispose()


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        ("ALTER DATABASE {database} ALLOW_CONNECTIONS false", "ALTER DATABASE {database} ALLOW_CONNECTIONS true"),
        (
            "ALTER DATABASE {database} SET default_transaction_read_only = on",
            "ALTER DATABASE {database} RESET default_transaction_read_only",
        ),
    ],
    ids=["goes away", "read-only"],
)
def test_a_database_that_is_gone_for_a_while_costs_time_and_nothing_else(
    postgresql_url: str, supervise: Supervise, administer: Callable[[str], None], break_it: str, mend_it: str
) -> None:
    db.initialise(postgresql_url).dispose()
    supervisor = supervise(postgresql_url, 2)
    names = submit_squares(postgresql_url, 300)
    wait_until(supervisor.alive, "a worker")
    pids = worker_pids(supervisor)
    administer(break_it)
    time.sleep(1.5)
    assert set(pids) <= set(worker_pids(supervisor))
    administer(mend_it)
    wait_until(lambda: all_done(postgresql_url, names), "all jobs")
    assert set(pids) <= set(worker_pids(supervisor))


def test_a_store_that_somebody_else_locks_costs_time_and_nothing_else(sqlite_url: str, supervise: Supervise) -> None:
    engine = db.initialise(sqlite_url)
    supervisor = supervise(sqlite_url)
    wait_until(supervisor.alive, "a worker")
    pids = worker_pids(supervisor)
    names = submit_squares(sqlite_url, 100)
    other = sqlite3.connect(str(engine.url.database), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    time.sleep(7.0)  # longer than a statement waits
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: all_done(sqlite_url, names), "all jobs")
    assert worker_pids(supervisor) == pids


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 16 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(place)]
    mounting = subprocess.run(mount, capture_output=True, text=True)
    if mounting.returncode:
        pytest.skip(f"may not mount a disk here: {mounting.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_costs_time_and_nothing_else(small_disk: Path, supervise: Supervise) -> None:
    url = f"sqlite:///{small_disk / 'store.db'}"
    db.initialise(url).dispose()
    names = submit_squares(url, 300)
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.writelines([b"x" * 4096] * 8000)
    supervisor = supervise(url)
    time.sleep(2.0)
    filler.unlink()
    wait_until(lambda: all_done(url, names), "all jobs")
    assert supervisor.alive() == 1


@pytest.mark.parametrize("days", [-1, 1])
def test_a_clock_that_jumps_during_a_lease_changes_nothing(
    database_url: str, supervise: Supervise, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    """The clock of the worker jumps in the middle of its job, then that of the watcher, then both are apart."""
    engine = db.initialise(database_url)
    supervise(database_url, lease_s=1.0)
    name = queue.submit(
        engine, "with_clock_jump", {"seconds": 4, "days": days}, "ann", most_queued=9  # type: ignore[arg-type]
    ).id  # fmt: skip
    wait_until(lambda: queue.job(engine, name).progress_label == "jumped", "the clock of the worker to jump")
    shift = dt.timedelta(days=-days)
    true_now, true_time_ns = identity.now, time.time_ns
    monkeypatch.setattr(queue, "now", lambda: true_now() + shift)
    monkeypatch.setattr("time.time_ns", lambda: true_time_ns() + int(shift.total_seconds() * 1e9))
    wait_until(lambda: queue.job(engine, name).state != "running", "the end of the job")
    job = queue.job(engine, name)
    assert (job.state, job.attempts) == ("done", 1)
    engine.dispose()


def test_a_job_is_freed_after_a_lease_of_looks_and_not_before(any_engine, monkeypatch: pytest.MonkeyPatch) -> None:
    queue.submit(any_engine, "plan", {}, "ann", most_queued=9)
    claim = queue.claim(any_engine, "w")
    assert claim is not None
    seen: leases.Seen = {}
    for round_ in range(3):
        for look in range(leases.LOOKS_PER_LEASE):
            monkeypatch.setattr("time.time", lambda: 0.0 if look % 2 else 4e9)  # noqa: B023 - no clock counts
            seen = leases.look(any_engine, seen, 5, 1.0)
        assert queue.beat(any_engine, claim, 0.0, "") == "go on", round_
    for _ in range(leases.LOOKS_PER_LEASE):
        seen = leases.look(any_engine, seen, 5, 1.0)
    assert queue.job(any_engine, claim.job.id).state == "running"
    leases.look(any_engine, seen, 5, 1.0)
    assert queue.job(any_engine, claim.job.id).state == "queued"
