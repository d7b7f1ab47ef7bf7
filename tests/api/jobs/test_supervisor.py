"""What a supervisor does with its processes: starts them again, and leaves none behind."""

from __future__ import annotations

import os
import signal
import time

import pytest
from sqlalchemy import Engine

from api.jobs import queue
from api.jobs.supervisor import Supervisor
from planner.settings import Settings
from profiles import db
from tests.api.jobs.conftest import Supervise, pids_of, wait_until, worker_pids


def submit(engine: Engine, kind: str, **request) -> str:
    return queue.submit(engine, kind, request, "ann", most_queued=1000).id  # type: ignore[arg-type]


def test_workers_that_cannot_start_are_not_started_in_a_hurry(
    sqlite_url: str, supervise: Supervise, caplog: pytest.LogCaptureFixture
) -> None:
    db.initialise(sqlite_url).dispose()
    supervisor = supervise(sqlite_url, module="no_such_module")
    wait_until(lambda: caplog.text.count("never came to look for jobs") >= 3, "three starts")
    time.sleep(1.0)
    assert caplog.text.count("never came to look for jobs") <= 4
    assert supervisor.alive() == 0


def test_workers_wait_for_a_store_that_is_not_there_yet(sqlite_url: str, supervise: Supervise) -> None:
    supervisor = supervise(sqlite_url)
    time.sleep(1.5)
    assert supervisor.alive() == 0
    engine = db.initialise(sqlite_url)
    name = submit(engine, "square", number=5)
    wait_until(lambda: queue.job(engine, name).state == "done", "the job")


def test_what_a_killed_worker_had_started_is_ended_too(sqlite_url: str, supervise: Supervise) -> None:
    engine = db.initialise(sqlite_url)
    supervisor = supervise(sqlite_url)
    submit(engine, "start_another", seconds="86399.25")
    wait_until(lambda: pids_of("86399.25"), "a process of the worker's own")
    (pid,) = worker_pids(supervisor)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not pids_of("86399.25"), "it to be gone")


def test_a_worker_that_is_asked_to_end_gives_its_job_back(sqlite_url: str, supervise: Supervise) -> None:
    engine = db.initialise(sqlite_url)
    supervisor = supervise(sqlite_url, shutdown_s=0.2)
    name = submit(engine, "listen", seconds=60)
    wait_until(lambda: queue.job(engine, name).progress_label == "listening", "the job to begin")
    os.kill(worker_pids(supervisor)[0], signal.SIGTERM)
    wait_until(lambda: queue.job(engine, name).state == "queued", "the job to be given back")
    assert queue.job(engine, name).attempts == 0


def test_a_wake_reaches_a_worker_before_it_looks_by_itself(
    sqlite_url: str, supervise: Supervise, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOY_POLL_S", "3600")
    engine = db.initialise(sqlite_url)
    supervisor = supervise(sqlite_url)
    wait_until(supervisor.alive, "a worker")
    name = submit(engine, "square", number=5)
    time.sleep(1.0)
    assert queue.job(engine, name).state == "queued"
    supervisor.wake()
    wait_until(lambda: queue.job(engine, name).state == "done", "the job")


def test_stopping_twice_or_before_the_start_is_no_mistake(sqlite_url: str) -> None:
    supervisor = Supervisor(sqlite_url, Settings(), 1)
    supervisor.stop()
    supervisor.stop()
    assert supervisor.alive() == 0
