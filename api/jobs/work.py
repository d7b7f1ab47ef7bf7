"""What there is to do for a job of each kind, and how what went wrong is told."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from api.jobs.types import Job
from planner.errors import GpuplanError
from planner.lazy import lazily

if TYPE_CHECKING:
    from sqlalchemy import Engine

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done:
    """What a job made: the id of a saved plan, and whatever else its kind answers with (JSON, of finite numbers)."""

    plan_id: str | None = None
    result: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        # Here, where the job can still fail with it: not every database refuses NaN, and no client can read it.
        json.dumps(self.result, allow_nan=False)


@dataclass(frozen=True)
class Work:
    """What is done for a request of one kind, and after how many seconds it must have ended."""

    run: Callable[[dict[str, Any], Engine], Done]
    limit_s: Callable[[dict[str, Any]], float]


Works = Mapping[str, Work]


def _kind(name: str) -> Work:
    return Work(lazily("api.jobs.kinds", name), lazily("api.jobs.kinds", f"{name}_limit_s"))


WORKS: Works = {kind: _kind(kind) for kind in ("plan", "simulation", "sweep", "validation", "replan", "deployment")}
"""By kind; imported with the first job, so that a worker that waits stays small."""


def problem(error: BaseException, job: Job) -> dict[str, Any]:
    """Why a job failed, as RFC 9457 has it. What nobody expected goes to the log: a client is told where, not what."""
    if isinstance(error, GpuplanError):
        return {
            "title": error.title, "status": error.http_status, "detail": error.detail, "field": error.field,
            "fix": error.fix,
        }  # fmt: skip
    _log.error("job %s of kind %s failed", job.id, job.kind, exc_info=error)
    detail = f"the job ended in a way that it should not have; the log of the worker tells it under job {job.id}"
    return {
        "title": GpuplanError.title, "status": GpuplanError.http_status, "detail": detail, "field": None,
        "fix": "report it with that part of the log",
    }  # fmt: skip
