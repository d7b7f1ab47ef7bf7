"""Starts worker processes, starts new ones for those that die, and sees to it that no job dies with a worker."""

from __future__ import annotations

import datetime as dt
import logging
import time
from contextlib import suppress
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING

from api.jobs import leases, queue
from api.jobs.child import GRACE_S, Child
from planner.errors import StoreError
from planner.identity import now
from planner.settings import Settings
from profiles import db

if TYPE_CHECKING:
    from sqlalchemy import Engine

TICK_S = 0.1
"""Between two looks at the children: what a job waits longer where its worker died."""
FIRST_DELAY_S, MOST_DELAY_S = 0.5, 30.0
"""Before a new process where the last died before it was ready; doubles from the first to the last."""
KEPT = dt.timedelta(days=30)
"""For how long ended jobs are listed; what they planned stays."""
PRUNED_EVERY_S = 3600.0

_log = logging.getLogger(__name__)


class Supervisor:
    """``num_workers`` processes that take jobs from the store at ``url``, from ``start`` to ``stop``.

    It also frees the jobs of workers elsewhere that gave no sign of life, and forgets jobs that ended long ago.
    ``module`` is what a child runs, as ``api.jobs.worker`` says.
    """

    def __init__(self, url: str, settings: Settings, num_workers: int, module: str = "api.jobs.worker") -> None:
        self._settings = settings.model_copy(update={"database_url": url})
        self._module = module
        self._children: list[Child] = []
        self._children_lock = Lock()  # the thread below changes the list while requests wake and count
        self._due_s = [0.0] * num_workers
        self._num_stillborn = 0
        self._bereaved: dict[str, str] = {}
        self._stopping = Event()
        self._thread = Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start the processes; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """Let running jobs end for ``shutdown_s``, have the others queued again, and end all processes."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def alive(self) -> int:
        """The number of processes that run and have reached the store."""
        with self._children_lock:
            return sum(child.ready and not child.dead for child in self._children)

    def wake(self) -> None:
        """Have a job that was just submitted begin at once, where a process is free. Never waits."""
        with self._children_lock:
            for child in self._children:
                child.wake()

    def _run(self) -> None:
        engine: Engine | None = None
        seen: leases.Seen = {}
        look_s = prune_s = 0.0
        while True:
            try:
                self._tend_children()
                engine = engine or db.connect(self._settings.database_url)
                self._free_the_bereaved(engine)
                if time.monotonic() >= look_s:
                    look_s = time.monotonic() + self._settings.lease_s / leases.LOOKS_PER_LEASE
                    seen = leases.look(engine, seen, self._settings.most_attempts, self._settings.lease_s)
                if time.monotonic() >= prune_s:
                    prune_s = time.monotonic() + PRUNED_EVERY_S
                    queue.prune(engine, now() - KEPT)
            except StoreError as error:
                _log.warning("the store is out of reach: %s", error.detail)
                self._stopping.wait(FIRST_DELAY_S)
            except Exception:
                _log.exception("a defect: the supervisor goes on")
                self._stopping.wait(FIRST_DELAY_S)
            if self._stopping.wait(TICK_S):
                break
        self._end_children()
        with suppress(StoreError):  # then what is left waits for its lease to run out
            engine = engine or db.connect(self._settings.database_url)
            self._free_the_bereaved(engine)
        if engine is not None:
            engine.dispose()

    def _tend_children(self) -> None:
        with self._children_lock:
            dead = [child for child in self._children if child.dead]
            self._children = [child for child in self._children if child not in dead]
        for child in dead:
            self._num_stillborn = 0 if child.ready else self._num_stillborn + 1
            self._due_s.append(time.monotonic() + self._delay_s())
            self._bury(child)
        for due_s in [due_s for due_s in self._due_s if due_s <= time.monotonic()]:
            child = Child(self._module, self._settings)
            self._due_s.remove(due_s)
            with self._children_lock:
                self._children.append(child)

    def _delay_s(self) -> float:
        """Before the next process starts: none, unless the last ones died before they were ready."""
        return min(FIRST_DELAY_S * 2 ** (self._num_stillborn - 1), MOST_DELAY_S) if self._num_stillborn else 0.0

    def _end_children(self) -> None:
        with self._children_lock:
            leaving, self._children = self._children, []
        for child in leaving:
            child.let_go()
        end_s = time.monotonic() + self._settings.shutdown_s + GRACE_S + 1
        while time.monotonic() < end_s and not all(child.dead for child in leaving):
            time.sleep(TICK_S / 2)
        for child in leaving:
            self._bury(child)

    def _bury(self, child: Child) -> None:
        ready, how = child.ready, child.bury()
        self._bereaved[child.name] = how
        if ready:
            _log.info("worker %s: %s", child.name, how)
        else:
            _log.error("worker %s never came to look for jobs: %s", child.name, how)

    def _free_the_bereaved(self, engine: Engine) -> None:
        for name, how in list(self._bereaved.items()):
            leases.free_jobs_of(engine, name, self._settings.most_attempts, how)
            del self._bereaved[name]
