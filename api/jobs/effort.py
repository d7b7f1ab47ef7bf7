"""Works on one job: does it, gives signs of life all the while, and writes what became of it.

The thread that works may be deep inside a solver, so another one gives the signs of life, hears that the job was
cancelled, and ends the process where the work does not stop by itself. Another process takes its place.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, Literal

import structlog

from api.jobs import queue
from api.jobs.child import GRACE_S
from api.jobs.tie import Tie, patiently
from api.jobs.types import FINAL, Claim, JobState
from api.jobs.work import Works, problem
from api.ops import metrics
from planner.errors import GpuplanError, InvalidInput, StoreError
from planner.progress import showing
from planner.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

Reason = Literal["lost", "cancelled", "too long", "leaving"]

BEAT_S = 0.5
"""Between two signs of life: far below any sensible lease, and what a cancelled job waits at most to hear of it."""

_log = logging.getLogger(__name__)


class Stopped(BaseException):
    """Raised inside the work, where it tells its progress, to end it. Not an Exception: nobody may swallow it."""


class Effort:
    """A job while it is worked on, as the thread that works and the thread that gives signs of life share it."""

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.limit_s = math.inf
        self.begun_s = time.monotonic()
        self.told = ("", 0.0)
        self.stop: Reason | None = None
        self.result: dict[str, Any] | None = None
        self.computed = Event()
        self.written = Event()

    def tell(self, label: str, fraction: float) -> None:
        """Take progress from the work. This is where it is stopped."""
        self.told = (label, fraction)
        if self.stop is not None:
            raise Stopped


def work_on(claim: Claim, engine: Engine, settings: Settings, tie: Tie, works: Works) -> None:
    """Do what a job asks for and write what became of it, with signs of life all the while."""
    effort = Effort(claim)
    Thread(target=_live, args=(effort, engine, settings, tie), daemon=True).start()
    structlog.contextvars.bind_contextvars(job=claim.job.id, request_id=claim.job.request_id)
    try:
        write = _worked(effort, engine, settings, works)
        effort.computed.set()
        state = patiently(write, tie)
    except Exception as error:  # the end does not fit the store: a defect, and no reason to try again
        reason = problem(error, claim.job)
        failed = patiently(lambda: queue.fail(engine, claim, reason), tie)
        state = failed
    finally:
        effort.written.set()
    _count(effort, state)
    structlog.contextvars.clear_contextvars()


def _worked(effort: Effort, engine: Engine, settings: Settings, works: Works) -> Callable[[], JobState | None]:
    """Work; what comes back writes how it ended."""
    claim = effort.claim
    try:
        if (work := works.get(claim.job.kind)) is None:
            raise InvalidInput(f"this version of gpuplan does no jobs of kind {claim.job.kind!r}", field="kind")
        effort.limit_s = work.limit_s(claim.job.request)
        with showing(effort.tell):
            done = work.run(claim.job.request, engine)
        effort.result = done.result
        return lambda: queue.finish(engine, claim, done.plan_id, done.result)
    except Stopped:
        return lambda: _write_stopped(effort, engine)
    except StoreError as error:
        reason = problem(error, claim.job)
        return lambda: queue.again(engine, claim, settings.most_attempts, reason)
    except BaseException as error:  # whatever it is, the job ends with it and the worker does not
        reason = problem(error, claim.job)
        return lambda: queue.fail(engine, claim, reason)


def _live(effort: Effort, engine: Engine, settings: Settings, tie: Tie) -> None:
    """Give signs of life until the end is written; end the process where the work does not listen."""
    leave_at_s: float | None = None
    while not effort.written.wait(min(BEAT_S, settings.lease_s / 5)):
        if tie.cut.is_set() and leave_at_s is None:
            leave_at_s = time.monotonic() + settings.shutdown_s
        effort.stop = _reason_to_stop(effort, engine, leave_at_s)
        if effort.stop is None or effort.computed.wait(GRACE_S):
            continue
        _log.warning("job %s does not stop (%s): ending the process", effort.claim.job.id, effort.stop)
        with suppress(Exception):  # who watches comes to the same end, only later
            _count(effort, _write_stopped(effort, engine))
        os.killpg(os.getpid(), signal.SIGKILL)


def _reason_to_stop(effort: Effort, engine: Engine, leave_at_s: float | None) -> Reason | None:
    label, fraction = effort.told
    try:
        heard = queue.beat(engine, effort.claim, fraction, label)
    except Exception as error:
        _log.warning("no sign of life for job %s: %s", effort.claim.job.id, error)
        heard = "go on"
    now_s = time.monotonic()
    if heard != "go on":
        return "lost" if heard == "lost" else "cancelled"
    if now_s - effort.begun_s > effort.limit_s:
        return "too long"
    return "leaving" if leave_at_s is not None and now_s >= leave_at_s else None


def _count(effort: Effort, state: JobState | None) -> None:
    """Tell whoever measures in which state the job was left; None: it was not ours any more."""
    if state is None:
        _log.warning("the end of job %s was not written: it is not ours any more, or we go", effort.claim.job.id)
    elif state in FINAL:
        metrics.job_ended(effort.claim.job.kind, state, time.monotonic() - effort.begun_s, effort.result)


def _write_stopped(effort: Effort, engine: Engine) -> JobState | None:
    """Write why the work was stopped."""
    claim = effort.claim
    if effort.stop == "cancelled":
        return queue.stop(engine, claim)
    if effort.stop == "leaving":
        return queue.give_back(engine, claim)
    if effort.stop == "lost":
        return None
    error = GpuplanError(
        f"stopped after {effort.limit_s:.0f} s: far over its time limit",
        fix="ask for less at once, or allow a larger time_limit_s",
    )
    return queue.fail(engine, claim, problem(error, claim.job))
