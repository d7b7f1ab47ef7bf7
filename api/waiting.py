"""Waiting for jobs: one look at the store every ``POLL_S`` seconds serves everybody who waits."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated

import structlog
from fastapi import Depends, Header, Request
from sqlalchemy import Engine
from sse_starlette.sse import AppStatus
from starlette.concurrency import run_in_threadpool

from api.jobs import queue
from api.jobs.types import FINAL, Status
from planner.errors import StoreError

POLL_S = 0.05
"""How late an answer may be noticed: little beside the quarter of a second that the quickest plan takes."""

AWAY_POLL_S = 1.0
"""While the store cannot be read."""

MOST_AT_ONCE = 500
"""Jobs per query."""

DEFAULT_WAIT_S, MOST_WAIT_S = 10, 60
"""Of ``Prefer: wait=N``: proxies commonly end a request after a minute."""

_WAIT = re.compile(r"(?:^|[,;\s])wait\s*=\s*(\d{1,9})\s*(?=$|[,;])", re.IGNORECASE)
_ASYNC = re.compile(r"(?:^|[,;\s])respond-async\s*(?=$|[,;])", re.IGNORECASE)

_log = structlog.get_logger("gpuplan.waiting")


@dataclass
class _Watched:
    """A job that somebody waits for; ``status`` is None until the first look, or where there is no such job."""

    status: Status | None = None
    looked: bool = False
    num_waiting: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)


class Waiting:
    """Those who wait for jobs in one server process, on its event loop."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watched: dict[str, _Watched] = {}
        self._looking: asyncio.Task[None] | None = None

    async def until_final(self, job_id: str, seconds: float) -> None:
        """Return when the job has ended, or after so many seconds."""
        try:
            async with asyncio.timeout(seconds), aclosing(self.changes(job_id)) as changes:
                async for _ in changes:
                    pass
        except TimeoutError:
            return

    async def changes(self, job_id: str) -> AsyncGenerator[Status]:
        """How far the job is, now and whenever that changes; ends with its final state, or when the server stops."""
        watched = self._watched.setdefault(job_id, _Watched())
        watched.num_waiting += 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            seen: Status | None = None
            while True:
                changed = watched.changed
                status = watched.status
                if status is None and watched.looked:
                    return
                if status is None or status == seen:
                    await changed.wait()
                    continue
                seen = status
                yield status
                if status.state in FINAL:
                    return
        finally:
            watched.num_waiting -= 1
            if not watched.num_waiting:
                self._watched.pop(job_id, None)

    async def _look(self) -> None:
        """Look at the store until nobody waits any more."""
        while self._watched:
            try:
                everybody = tuple(self._watched)
                for start in range(0, len(everybody), MOST_AT_ONCE):
                    ids = everybody[start : start + MOST_AT_ONCE]
                    # A server that stops keeps nobody waiting: all are told that there is nothing more to come.
                    stopping = AppStatus.should_exit
                    self._tell(ids, {} if stopping else await run_in_threadpool(queue.states, self._engine, ids))
                await asyncio.sleep(POLL_S)
            except StoreError as error:
                _log.warning("the store cannot be read", reason=str(error))
                await asyncio.sleep(AWAY_POLL_S)

    def _tell(self, ids: tuple[str, ...], found: dict[str, Status]) -> None:
        for job_id in ids:
            watched = self._watched.get(job_id)
            if watched is None or (watched.looked and watched.status == found.get(job_id)):
                continue
            watched.status, watched.looked = found.get(job_id), True
            watched.changed.set()
            watched.changed = asyncio.Event()


def _documented(
    _: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description="`wait=N`: seconds to wait for the answer (default 10, most 60); `respond-async`: 202 at once",
        ),
    ] = None,
) -> None: ...


MAY_WAIT = Depends(_documented)
"""Dependency of the routes that call ``preferred_wait_s``, for their documentation."""


def preferred_wait_s(request: Request) -> tuple[int, str | None]:
    """How long to wait for an answer, and what ``Preference-Applied`` says (RFC 7240). What is no sense is ignored."""
    prefer = ",".join(request.headers.getlist("prefer"))
    if _ASYNC.search(prefer):
        return 0, "respond-async"
    if found := _WAIT.search(prefer):
        seconds = min(int(found[1]), MOST_WAIT_S)
        return seconds, f"wait={seconds}"
    return DEFAULT_WAIT_S, None
