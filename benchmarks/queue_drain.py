"""A queue of real plans, drained by worker processes that are killed at random: rate, and what was lost or doubled.

Run: python benchmarks/queue_drain.py --jobs 10000 --workers 2 --kills 50 [--database postgresql://...]
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import signal
import statistics
import tempfile
import time
from collections import Counter
from pathlib import Path

from sqlalchemy import Engine

from api.jobs import queue
from api.jobs.supervisor import Supervisor
from planner import store
from planner.settings import Settings
from profiles import db

NUM_SINGLE = 100
"""Jobs submitted one by one to an idle queue: how long one takes from asking to done."""


def request(number: int) -> dict[str, object]:
    """A small expert placement: another for each number, planned in a few milliseconds."""
    loads = [100 + (number * (expert + 3)) % 9973 for expert in range(8)]
    topology = {"gpus": 4, "nodes": 1, "slots_per_gpu": 3}
    spec = {"kind": "experts", "topology": topology, "workloads": [{"name": str(number), "counts": [loads]}]}
    return {"kind": "experts", "spec": spec, "time_limit_s": 5.0}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--database", help="an empty database; default: a SQLite file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        url = asked.database or f"sqlite:///{Path(directory) / 'store.db'}"
        engine = db.initialise(url)
        supervisor = Supervisor(url, Settings(most_attempts=100), asked.workers)
        supervisor.start()
        while supervisor.alive() < asked.workers:
            time.sleep(0.05)
        single(engine, supervisor)
        drain(engine, supervisor, asked.jobs, asked.kills)
        supervisor.stop()
        engine.dispose()


def single(engine: Engine, supervisor: Supervisor) -> None:
    times_ms = []
    for number in range(NUM_SINGLE):
        started_s = time.perf_counter()
        name = queue.submit(engine, "plan", request(-1 - number), "benchmark", most_queued=9).id
        supervisor.wake()
        while queue.states(engine, [name])[name].state != "done":
            time.sleep(0.002)
        times_ms.append(1000 * (time.perf_counter() - started_s))
    tail = statistics.quantiles(times_ms, n=100)[98]
    print(f"one job on an idle queue: {statistics.median(times_ms):.0f} ms in the median, {tail:.0f} ms p99")


def drain(engine: Engine, supervisor: Supervisor, num_jobs: int, num_kills: int) -> None:
    before, draw = Counter(plan_ids(engine)), random.Random(1)  # noqa: S311
    started_s = time.perf_counter()
    names = [
        queue.submit(engine, "plan", request(number), "benchmark", most_queued=num_jobs).id
        for number in range(num_jobs)
    ]
    submitted_s = time.perf_counter() - started_s
    print(f"{num_jobs:,} jobs submitted, one transaction each: {num_jobs / submitted_s:,.0f}/s, while workers drain")
    kills, left = 0, num_jobs
    while left:
        time.sleep(0.2)
        left = sum(queue.depth(engine)[:2])
        ready = [child.pid for child in supervisor._children if child.ready and not child.dead]
        if kills < num_kills and ready and left < num_jobs * (1 - kills / num_kills):
            os.kill(draw.choice(ready), signal.SIGKILL)
            kills += 1
    seconds = time.perf_counter() - started_s
    jobs = [queue.job(engine, name) for name in names]
    plans = Counter(plan_ids(engine)) - before
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"drained in {seconds:.1f} s: {num_jobs / seconds:,.0f}/s with {kills} kills")
    print(f"CPU of dead workers: {used.ru_utime + used.ru_stime:.1f} s")
    print(f"lost: {sum(job.state != 'done' for job in jobs)}; begun again: {sum(job.attempts - 1 for job in jobs)}")
    print(f"plans saved: {plans.total():,} for {len({job.plan_id for job in jobs}):,} different answers")


def plan_ids(engine: Engine) -> list[str]:
    page = store.list_plans(engine, limit=1000)
    found = [plan.id for plan in page.plans]
    while page.next_cursor is not None:
        page = store.list_plans(engine, limit=1000, cursor=page.next_cursor)
        found += [plan.id for plan in page.plans]
    return found


if __name__ == "__main__":
    main()
