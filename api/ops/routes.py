"""Whether the server lives, whether it can do its work, and what it counts."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Literal, Protocol

import structlog
from fastapi import APIRouter, Depends, Response
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool

from api.access.auth import Caller, needs
from api.ops import metrics, replicas, store
from api.problems import named_in_path
from planner.errors import StoreError
from planner.types import Frozen

PATIENCE_S = 2.0
"""A store that does not answer for so long is out of reach: probes of orchestrators wait about as long."""

ASKED_AGAIN_S = 1.0
"""Readiness is asked for without a key, so the store is asked at most this often."""

_log = structlog.get_logger("gpuplan.ops")


class Workers(Protocol):
    """Worker processes beside the server, as ``api.jobs.supervisor.Supervisor`` has them."""

    def alive(self) -> int:
        """How many of them live."""


class Alive(Frozen):
    """The server answers."""

    status: Literal["alive"] = "alive"


class Readiness(Frozen):
    """Whether the server can do its work, part by part."""

    ready: bool
    store: Literal["ok", "other version", "out of reach"]
    workers: Literal["alive", "none", "unknown"]


OUT_OF_REACH = Readiness(ready=False, store="out of reach", workers="unknown")


def operations(engine: Engine, workers: Workers | None) -> APIRouter:
    """The routes that operators use; ``workers`` are those beside this server, where there are any."""
    router = APIRouter(tags=["operations"])
    probe = _Probe(engine, workers)

    @router.get("/healthz", operation_id="getHealth")
    async def healthz() -> Alive:
        """Whether the server lives; asks nothing else. Needs no key."""
        return Alive()

    not_ready = {"model": Readiness, "description": "Not ready; says which part"}

    @router.get("/readyz", operation_id="getReadiness", responses={503: not_ready})
    async def readyz(response: Response) -> Readiness:
        """Whether the store can be reached, its schema is this version's, and a worker lives. Needs no key."""
        readiness = await probe.answer()
        response.status_code = 200 if readiness.ready else 503
        response.headers["Cache-Control"] = "no-store"
        return readiness

    as_text = {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format"}

    @router.get("/metrics", operation_id="getMetrics", response_class=Response, responses={200: as_text})
    async def get_metrics(_: Annotated[Caller, Depends(needs("read"))]) -> Response:
        """What this server and its workers count."""
        return _as_metrics(await run_in_threadpool(metrics.exposition, engine))

    @router.get("/metrics/replicas/{service}", operation_id="getReplicas", response_class=Response,
                responses={200: as_text})  # fmt: skip
    def get_replicas(service: str, _: Annotated[Caller, Depends(needs("read"))]) -> Response:
        """Replicas that the plan of a saved service wants now, by deployment: `vllm:deployment_replicas`."""
        with named_in_path("service with a running plan", service):
            return _as_metrics(replicas.exposition(engine, service))

    @router.get("/metrics/replicas/{service}/{deployment}", operation_id="getReplicasOfDeployment",
                response_class=Response, responses={200: as_text})  # fmt: skip
    def get_replicas_of_deployment(
        service: str, deployment: str, _: Annotated[Caller, Depends(needs("read"))]
    ) -> Response:
        """The same of one deployment: what an AIBrix autoscaler reads."""
        with named_in_path("deployment that runs", f"{service}/{deployment}"):
            return _as_metrics(replicas.exposition(engine, service, deployment))

    return router


def _as_metrics(text: bytes) -> Response:
    return Response(text, headers={"Content-Type": metrics.CONTENT_TYPE, "Cache-Control": "no-store"})


class _Probe:
    """Asks the store once for everybody who wants to know at the same time."""

    def __init__(self, engine: Engine, workers: Workers | None) -> None:
        self._engine = engine
        self._workers = workers
        self._look: asyncio.Task[Readiness] | None = None
        self._looked_s = 0.0

    async def answer(self) -> Readiness:
        old = time.monotonic() - self._looked_s > ASKED_AGAIN_S
        if self._look is None or (old and self._look.done()):
            self._looked_s = time.monotonic()
            self._look = asyncio.create_task(run_in_threadpool(_look, self._engine, self._workers))
        # Not wait_for: a thread cannot be cancelled, and the next one who asks waits for the same.
        done, _ = await asyncio.wait({self._look}, timeout=PATIENCE_S)
        return self._look.result() if done else OUT_OF_REACH


def _look(engine: Engine, workers: Workers | None) -> Readiness:
    try:
        current = store.is_current(engine)
        alive = (workers is not None and workers.alive() > 0) or (current and store.num_alive(engine) > 0)
    except StoreError as error:
        _log.warning("not ready", reason=str(error))
        return OUT_OF_REACH
    return Readiness(
        ready=current and alive, store="ok" if current else "other version", workers="alive" if alive else "none"
    )
