"""One worker process: takes a job from the queue, works on it, takes the next.

``python -m api.jobs.worker NAME``, started by ``api.jobs.child``, which holds the other end of standard input: the
first line has the settings, every byte after it says that a job came in, and its end says that the worker has to go,
whether its supervisor let go of it or died. Logs go to stderr.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from api.jobs import queue
from api.jobs.child import READY
from api.jobs.effort import work_on
from api.jobs.tie import MOST_WAIT_S, Tie, patiently
from api.jobs.work import WORKS, Works
from api.ops import logs
from planner.settings import Settings
from profiles import db

if TYPE_CHECKING:
    from sqlalchemy import Engine

POLL_S = 0.25
"""Between two looks into an empty queue. Jobs of the server beside it come with a byte and do not wait for this."""
NICENESS = 10
"""Below the server: it answers reads while every core plans."""
MOST_IDLE_MIB = 160.0
"""Compiled kernels and solvers stay in memory: a worker that has nothing to do and holds more begins anew."""
IDLE_S = 60.0
"""Without a job, before it does so: the next job of that kind then pays for the imports again."""
ANEW = "GPUPLAN_WORKER_SETTINGS"
"""Where a worker that begins anew finds its settings: the first line of standard input was read already."""

_log = logging.getLogger(__name__)


def main(works: Works = WORKS) -> None:
    """Work until standard input ends."""
    os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # so that ending this process can end its children as well, and nobody else
    settings = Settings.model_validate_json(os.environ.pop(ANEW, "") or _first_line(0))
    logs.configure(settings)
    tie = Tie()
    signal.signal(signal.SIGTERM, lambda *_: tie.let_go())  # a service manager may ask every process of a service
    Thread(target=tie.listen, args=(0,), daemon=True).start()
    engine = patiently(lambda: db.connect(settings.database_url), tie)
    if engine is not None:
        serve(engine, settings, sys.argv[1], tie, works)


def serve(engine: Engine, settings: Settings, name: str, tie: Tie, works: Works) -> None:
    """Take jobs and work on them until the tie is cut."""
    ready, worked_s = False, time.monotonic()
    while not tie.cut.is_set():
        tie.woken.clear()
        try:
            claim = patiently(lambda: queue.claim(engine, name), tie)
        except Exception:
            _log.exception("looking for a job failed in a way that it should not have: next try in %g s", MOST_WAIT_S)
            tie.cut.wait(MOST_WAIT_S)
            continue
        if not ready:
            ready = True
            _say_ready()
        if claim is not None:
            work_on(claim, engine, settings, tie, works)
            worked_s = time.monotonic()
        elif time.monotonic() - worked_s > IDLE_S and _resident_mib() > MOST_IDLE_MIB:
            engine.dispose()
            _begin_anew(settings)
        else:
            tie.woken.wait(POLL_S)


def _first_line(descriptor: int) -> bytes:
    """Read up to a line's end and not one byte further."""
    line = bytearray()
    while (byte := os.read(descriptor, 1)) not in (b"", b"\n"):
        line += byte
    return bytes(line)


def _resident_mib() -> float:
    """The memory of this process; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0.0
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _begin_anew(settings: Settings) -> None:
    """Start this program again in the same process: who started it, and its pipes, notice nothing."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # who started it knows that it is ready
    os.environ[ANEW] = settings.model_dump_json()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - what it was started with


def _say_ready() -> None:
    with suppress(OSError):  # nobody listens any more: the tie is about to be cut
        os.write(1, READY)
    os.dup2(2, 1)  # whatever a library prints belongs in the log


if __name__ == "__main__":
    main()
