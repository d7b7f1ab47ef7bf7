"""What becomes of jobs in real worker processes, however the work behaves."""

from __future__ import annotations

import os
import signal
import time

import pytest
from sqlalchemy import Engine

from api.jobs import queue
from api.jobs.types import FINAL, Job
from planner.settings import Settings
from profiles import db
from tests.api.jobs.conftest import TOY, Supervise, pids_of, wait_until, worker_pids


def submit(engine: Engine, kind: str, **request) -> str:
    return queue.submit(engine, kind, request, "ann", most_queued=1000).id  # type: ignore[arg-type]


def ended(engine: Engine, name: str) -> Job:
    wait_until(lambda: queue.job(engine, name).state in FINAL, f"the end of job {name}")
    return queue.job(engine, name)


def running(engine: Engine, name: str) -> None:
    wait_until(lambda: queue.job(engine, name).state == "running", f"job {name} to begin")


@pytest.fixture
def store(sqlite_url: str) -> tuple[Engine, str]:
    return db.initialise(sqlite_url), sqlite_url


def test_a_failure_that_was_foreseen_is_told_in_full(store: tuple[Engine, str], supervise: Supervise) -> None:
    engine, url = store
    supervise(url)
    job = ended(engine, submit(engine, "refuse"))
    assert job.state == "failed"
    assert job.problem == {
        "title": "invalid input", "status": 422, "detail": "cannot be meant", "field": "spec.services[0]",
        "fix": "mean something else",
    }  # fmt: skip


def test_what_nobody_foresaw_fails_the_job_without_internals_and_keeps_the_worker(
    store: tuple[Engine, str], supervise: Supervise, capfd: pytest.CaptureFixture[str]
) -> None:
    engine, url = store
    supervisor = supervise(url)
    wait_until(supervisor.alive, "a worker")
    pids = worker_pids(supervisor)
    names = [submit(engine, "crash", how=how) for how in ("key", "memory", "exit", "recursion")]
    names += [submit(engine, "strange", what=what) for what in ("set", "nan")]
    names += [submit(engine, "unheard-of"), submit(engine, "square", limit_s="soon")]
    for name in names:
        job = ended(engine, name)
        assert job.state == "failed"
        assert job.problem is not None
        assert "secret-of-the-inside" not in str(job.problem)
    assert worker_pids(supervisor) == pids
    log = capfd.readouterr().err
    assert "secret-of-the-inside" in log
    assert names[0] in log


def test_a_job_that_kills_its_worker_fails_after_some_attempts_with_the_reason(
    store: tuple[Engine, str], supervise: Supervise
) -> None:
    engine, url = store
    supervise(url, most_attempts=2)
    poison, exiting, innocent = (
        submit(engine, "die"), submit(engine, "leave", code=7), submit(engine, "square", number=6)
    )  # fmt: skip
    for name, reason in ((poison, "SIGKILL"), (exiting, "exit code 7")):
        job = ended(engine, name)
        assert (job.state, job.attempts) == ("failed", 2)
        assert job.problem is not None
        assert reason in job.problem["detail"]
    assert ended(engine, innocent).result == {"square": 36}


def test_cancelling_work_that_listens_keeps_the_worker(store: tuple[Engine, str], supervise: Supervise) -> None:
    engine, url = store
    supervisor = supervise(url)
    name = submit(engine, "listen", seconds=60)
    running(engine, name)
    wait_until(lambda: queue.job(engine, name).progress_label == "listening", "progress")
    pids = worker_pids(supervisor)
    queue.cancel(engine, name)
    assert ended(engine, name).state == "cancelled"
    assert ended(engine, submit(engine, "square", number=2)).result == {"square": 4}
    assert worker_pids(supervisor) == pids


def test_cancelling_work_that_does_not_listen_takes_another_worker(
    store: tuple[Engine, str], supervise: Supervise
) -> None:
    engine, url = store
    supervisor = supervise(url)
    name = submit(engine, "deaf", seconds=60)
    running(engine, name)
    pids = worker_pids(supervisor)
    queue.cancel(engine, name)
    assert ended(engine, name).state == "cancelled"
    assert ended(engine, submit(engine, "square", number=2)).result == {"square": 4}
    assert worker_pids(supervisor) != pids


@pytest.mark.parametrize("kind", ["listen", "deaf"])
def test_work_far_over_its_time_fails(store: tuple[Engine, str], supervise: Supervise, kind: str) -> None:
    engine, url = store
    supervise(url)
    job = ended(engine, submit(engine, kind, seconds=60, limit_s=0.3))
    assert job.state == "failed"
    assert job.problem is not None
    assert "time limit" in job.problem["detail"]


def test_stopping_lets_a_job_end_that_soon_does(store: tuple[Engine, str], supervise: Supervise) -> None:
    engine, url = store
    supervisor = supervise(url, shutdown_s=30.0)
    name, waiting = submit(engine, "listen", seconds=1), submit(engine, "square", number=1)
    running(engine, name)
    supervisor.stop()
    assert queue.job(engine, name).state == "done"
    assert queue.job(engine, waiting).state == "queued"
    assert supervisor.alive() == 0


@pytest.mark.parametrize("kind", ["listen", "deaf"])
def test_stopping_queues_again_what_takes_longer(store: tuple[Engine, str], supervise: Supervise, kind: str) -> None:
    engine, url = store
    supervisor = supervise(url, shutdown_s=0.2)
    name = submit(engine, kind, seconds=60)
    running(engine, name)
    pids = worker_pids(supervisor)
    supervisor.stop()
    job = queue.job(engine, name)
    assert (job.state, job.attempts) == ("queued", 0)
    assert not set(pids) & set(pids_of(TOY.stem))


def test_a_job_that_lacks_the_store_is_tried_again_and_then_fails(
    store: tuple[Engine, str], supervise: Supervise
) -> None:
    engine, url = store
    supervise(url, most_attempts=2)
    job = ended(engine, submit(engine, "without_store"))
    assert (job.state, job.attempts) == ("failed", 2)
    assert job.problem is not None
    assert job.problem["detail"] == "the disk is full"


def test_a_worker_that_hangs_loses_its_job_and_changes_nothing_when_it_goes_on(
    store: tuple[Engine, str], supervise: Supervise
) -> None:
    engine, url = store
    stalled, helping = supervise(url, lease_s=1.0), supervise(url, 0, lease_s=1.0)
    name = submit(engine, "listen", seconds=3)
    running(engine, name)
    (pid,) = worker_pids(stalled)
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: queue.job(engine, name).state == "queued", "the lease to run out")
    claim = queue.claim(engine, "another")
    assert claim is not None
    os.kill(pid, signal.SIGCONT)
    for _ in range(15):  # long enough for it to find out
        assert queue.beat(engine, claim, 0.0, "") == "go on"
        time.sleep(0.1)
    assert queue.finish(engine, claim, None, {"by": "another"})
    assert ended(engine, submit(engine, "square", number=3)).result == {"square": 9}
    assert queue.job(engine, name).result == {"by": "another"}
    assert helping.alive() == 0


def resident_mib(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def test_an_idle_worker_is_small(store: tuple[Engine, str], supervise: Supervise) -> None:
    _, url = store
    supervisor = supervise(url, module="api.jobs.worker")
    wait_until(supervisor.alive, "a worker")
    (pid,) = worker_pids(supervisor)
    assert resident_mib(pid) < 150


def test_a_worker_that_has_grown_begins_anew_when_it_has_nothing_to_do(
    store: tuple[Engine, str], supervise: Supervise, capfd: pytest.CaptureFixture[str]
) -> None:
    engine, url = store
    supervisor = supervise(url)
    ended(engine, submit(engine, "grow", mib=300))
    (pid,) = worker_pids(supervisor)
    assert resident_mib(pid) > 300
    wait_until(lambda: resident_mib(pid) < 150, "the worker to be small again")
    assert ended(engine, submit(engine, "square", number=4)).result == {"square": 16}
    assert worker_pids(supervisor) == [pid]
    supervisor.stop()
    assert not pids_of(TOY.stem)
    assert "ready" not in capfd.readouterr().err


def test_settings_and_their_password_are_on_no_command_line(store: tuple[Engine, str], supervise: Supervise) -> None:
    _, url = store
    supervisor = supervise(url)
    wait_until(supervisor.alive, "a worker")
    (pid,) = worker_pids(supervisor)
    with open(f"/proc/{pid}/cmdline") as line:
        assert "sqlite" not in line.read()
    assert Settings().database_url not in str(supervisor)
