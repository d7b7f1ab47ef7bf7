"""Nothing is lost and nothing happens twice, whoever is killed and whenever."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

from sqlalchemy import Engine, func, insert, select, update

from api.jobs import queue
from api.tables import JobRow
from planner.identity import new_id, now
from planner.tables import SavedPlanRow
from profiles import db
from profiles.db import reading, transaction
from tests.api.jobs.conftest import TOY, Supervise, pids_of, wait_until, worker_pids

NUM_JOBS = int(os.environ.get("GPUPLAN_SURVIVAL_JOBS", "1000"))
"""On each database; the 10,000 of the README take some three minutes."""
NUM_KILLS = NUM_JOBS // 200
HELD_BACK = NUM_JOBS // 10
"""Jobs that come in only when all the kills are done, so that there is work until then."""


def put(engine: Engine, numbers: range) -> None:
    rows = [
        {"id": new_id(), "kind": "square", "request": {"number": number}, "state": "queued", "owner": "ann",
         "created_at": now()}
        for number in numbers
    ]  # fmt: skip
    with transaction(engine) as session:
        session.execute(insert(JobRow), rows)


def test_every_job_survives_workers_killed_all_along(
    any_engine: Engine, database_url: str, supervise: Supervise
) -> None:
    put(any_engine, range(NUM_JOBS - HELD_BACK))
    supervisor = supervise(database_url, 3, most_attempts=50)
    draw = random.Random(7)  # noqa: S311
    kills = 0
    while kills < NUM_KILLS:
        time.sleep(draw.uniform(0.0, 0.2))
        if pids := worker_pids(supervisor):
            os.kill(draw.choice(pids), signal.SIGKILL)
            kills += 1
    put(any_engine, range(NUM_JOBS - HELD_BACK, NUM_JOBS))
    wait_until(lambda: queue.depth(any_engine)[:2] == (0, 0), "the queue to be drained")

    with reading(any_engine) as session:
        rows = session.execute(
            select(JobRow.request, JobRow.state, JobRow.result, JobRow.plan_id, JobRow.attempts)
        ).all()
        plan_ids = Counter(session.scalars(select(SavedPlanRow.id)))
    numbers = Counter(row.request["number"] for row in rows)
    assert numbers == Counter(range(NUM_JOBS))
    assert all(row.state == "done" and row.result == {"square": row.request["number"] ** 2} for row in rows)
    assert Counter(row.plan_id for row in rows if row.plan_id) == plan_ids
    assert len(plan_ids) == NUM_JOBS // 10
    assert sum(row.attempts - 1 for row in rows) > 0, "no kill hit a worker at work: this test proved nothing"


def test_a_killed_server_takes_its_workers_with_it_and_the_next_one_does_the_jobs(
    sqlite_url: str, supervise: Supervise
) -> None:
    engine = db.initialise(sqlite_url)
    running, waiting = (
        queue.submit(engine, kind, {"seconds": 60, "number": 3}, "ann", most_queued=9).id  # type: ignore[arg-type]
        for kind in ("deaf", "square")
    )
    command = [sys.executable, str(TOY), "serve", sqlite_url]
    server = subprocess.Popen(command, env=os.environ | {"GPUPLAN_SHUTDOWN_S": "0.5"})
    wait_until(lambda: queue.job(engine, waiting).state == "done", "the short job")
    wait_until(lambda: queue.job(engine, running).state == "running", "the long job to begin")
    server.kill()
    server.wait()
    wait_until(lambda: not pids_of(TOY.stem), "the workers to go")
    job = queue.job(engine, running)
    assert (job.state, job.attempts) == ("queued", 0)
    with transaction(engine) as session:  # shorter, so that somebody can do it
        session.execute(update(JobRow).where(JobRow.id == running).values(request={"seconds": 0}))
    supervise(sqlite_url)
    wait_until(lambda: queue.job(engine, running).state == "done", "the job that was begun")
    with reading(engine) as session:
        assert session.scalar(select(func.count()).select_from(JobRow)) == 2


def test_a_server_killed_between_taking_and_starting_a_job_leaves_it_to_the_next(
    any_engine: Engine, database_url: str, supervise: Supervise
) -> None:
    name = queue.submit(any_engine, "square", {"number": 5}, "ann", most_queued=9).id  # type: ignore[arg-type]
    assert queue.claim(any_engine, "a worker that dies here") is not None
    supervise(database_url, lease_s=0.5)
    wait_until(lambda: queue.job(any_engine, name).state == "done", "the job that nobody works on")
    job = queue.job(any_engine, name)
    assert (job.attempts, job.result) == (2, {"square": 25})
