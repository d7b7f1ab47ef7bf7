"""A worker whose jobs are toys: run as ``python -m toy_worker NAME``, as a supervisor does.

Run as ``python toy_worker.py serve URL`` it is a whole server: a supervisor with two workers.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

from sqlalchemy import Engine

from api.jobs import queue, worker
from api.jobs.supervisor import Supervisor
from api.jobs.work import Done, Work
from planner import identity, store
from planner.errors import InvalidInput, StoreError
from planner.progress import progress
from planner.settings import Settings

kept: list[bytearray] = []


def square(request: dict[str, Any], engine: Engine) -> Done:
    """Every tenth also saves a plan, as real ones do."""
    number = request["number"]
    time.sleep(number % 7 * 0.0005)  # so that some are in the middle whenever a worker is killed
    if number % 10:
        return Done(None, {"square": number**2})
    plan = json.dumps({"kind": "serving", "outcome": "optimal", "objective": number, "solve_seconds": time.monotonic()})
    return Done(store.save(engine, "serving", json.dumps({"number": number}), plan), {"square": number**2})


def listen(request: dict[str, Any], engine: Engine) -> Done:
    """Tell progress for some seconds."""
    end_s = time.monotonic() + request["seconds"]
    while time.monotonic() < end_s:
        progress("listening", 0.5)
        time.sleep(0.02)
    return Done(None, {"pid": os.getpid()})


def deaf(request: dict[str, Any], engine: Engine) -> Done:
    """Tell nothing, like a long solve."""
    time.sleep(request["seconds"])
    return Done(None, {"pid": os.getpid()})


def with_clock_jump(request: dict[str, Any], engine: Engine) -> Done:
    """Work on while this process's clock jumps by some days."""
    listen({"seconds": request["seconds"] / 4}, engine)
    shift = dt.timedelta(days=request["days"])
    now, time_ns = identity.now, time.time_ns
    identity.now = queue.now = lambda: now() + shift
    time.time_ns = lambda: time_ns() + int(shift.total_seconds() * 1e9)
    end_s = time.monotonic() + request["seconds"]
    while time.monotonic() < end_s:
        progress("jumped", 0.5)
        time.sleep(0.02)
    return Done()


def start_another(request: dict[str, Any], engine: Engine) -> Done:
    """Have a process of its own, as a pool has."""
    subprocess.run(["sleep", request["seconds"]])
    return Done()


def grow(request: dict[str, Any], engine: Engine) -> Done:
    """Take memory and keep it."""
    kept.append(bytearray(os.urandom(request["mib"] * 2**20)))
    return Done()


def die(request: dict[str, Any], engine: Engine) -> Done:
    os.kill(os.getpid(), signal.SIGKILL)
    return Done()


def leave(request: dict[str, Any], engine: Engine) -> Done:
    os._exit(request["code"])


def refuse(request: dict[str, Any], engine: Engine) -> Done:
    raise InvalidInput("cannot be meant", field="spec.services[0]", fix="mean something else")


def crash(request: dict[str, Any], engine: Engine) -> Done:
    raise {"memory": MemoryError, "exit": SystemExit, "recursion": RecursionError, "key": KeyError}[request["how"]](
        "secret-of-the-inside"
    )


def without_store(request: dict[str, Any], engine: Engine) -> Done:
    raise StoreError("the disk is full")


def strange(request: dict[str, Any], engine: Engine) -> Done:
    """What no JSON can hold."""
    return Done(None, {"set": {1, 2}} if request["what"] == "set" else {"nan": float("nan")})


FUNCTIONS = (
    square, listen, deaf, with_clock_jump, grow, start_another, die, leave, refuse, crash, without_store, strange,
)  # fmt: skip
TOYS = {function.__name__: Work(function, lambda request: request.get("limit_s", 60.0)) for function in FUNCTIONS}

if __name__ == "__main__":
    if sys.argv[1] == "serve":
        supervisor = Supervisor(sys.argv[2], Settings(), 2, "toy_worker")
        supervisor.start()
        signal.pause()
    worker.NICENESS = 0  # tests wait for it
    worker.IDLE_S = 0.5
    worker.POLL_S = float(os.environ.get("TOY_POLL_S", worker.POLL_S))
    worker.main(TOYS)
