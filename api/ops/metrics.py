"""What the service counts, for Prometheus.

One server and its worker processes count together where ``api.ops.sharing`` says so. What is true of the whole store
(the queue, the workers) is read from the store when it is asked for.

Labels come from small fixed sets: route templates, methods, statuses, kinds, outcomes.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector
from sqlalchemy import Engine

from api.jobs import queue
from api.jobs.types import JobKind, JobState
from api.ops import sharing, store
from planner.errors import StoreError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_REQUEST_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_WORK_BUCKETS_S = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000)
_GAP_BUCKETS = (0, 1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1)


if sharing.VARIABLE in os.environ:  # before the first metric is made
    _slot = sharing.take_slot()
    values.ValueClass = values.MultiProcessValue(lambda: _slot)  # type: ignore[no-untyped-call]

REQUESTS = Counter("gpuplan_http_requests", "Requests answered", ["method", "route", "status"])
REQUEST_SECONDS = Histogram(
    "gpuplan_http_request_seconds", "Time to answer a request, to its last byte", ["method", "route"],
    buckets=_REQUEST_BUCKETS_S,
)  # fmt: skip
JOBS = Counter("gpuplan_jobs_ended", "Jobs that ended", ["kind", "state"])
JOB_SECONDS = Histogram("gpuplan_job_seconds", "Time that a job ran", ["kind", "state"], buckets=_WORK_BUCKETS_S)
SOLVE_SECONDS = Histogram("gpuplan_solve_seconds", "Time to solve", ["kind", "outcome"], buckets=_WORK_BUCKETS_S)
PLAN_GAP = Histogram("gpuplan_plan_gap", "Relative gap between a plan and its bound", ["kind", "outcome"],
                     buckets=_GAP_BUCKETS)  # fmt: skip
SIMULATED_REQUESTS = Counter("gpuplan_simulated_requests", "Requests replayed by the simulator")
SIMULATION_SECONDS = Counter("gpuplan_simulation_seconds", "Time that the simulator took for them")


def job_ended(kind: JobKind, state: JobState, seconds: float, result: Mapping[str, Any] | None = None) -> None:
    """Count a job that ended after ``seconds``.

    ``result``: of a plan ``kind`` (the planner's), ``outcome``, ``solve_s`` and ``gap``; of a simulation
    ``num_requests`` and ``wall_seconds``. What is missing is not counted.
    """
    JOBS.labels(kind, state).inc()
    JOB_SECONDS.labels(kind, state).observe(seconds)
    result = result or {}
    planner, outcome = str(result.get("kind", "other")), str(result.get("outcome", "other"))
    if result.get("solve_s") is not None:
        SOLVE_SECONDS.labels(planner, outcome).observe(result["solve_s"])
    if result.get("gap") is not None:
        PLAN_GAP.labels(planner, outcome).observe(result["gap"])
    if result.get("num_requests") is not None and result.get("wall_seconds") is not None:
        SIMULATED_REQUESTS.inc(result["num_requests"])
        SIMULATION_SECONDS.inc(result["wall_seconds"])


def request_ended(method: str, route: str, status: int, seconds: float) -> None:
    """Count a request; ``route`` is the template, such as ``/v1/plans/{plan_id}``."""
    REQUESTS.labels(method, route, str(status)).inc()
    REQUEST_SECONDS.labels(method, route).observe(seconds)


def exposition(engine: Engine) -> bytes:
    """Everything that this server and its workers count, and how the store stands, as Prometheus reads it."""
    registry = CollectorRegistry()
    if sharing.VARIABLE in os.environ:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    else:
        for metric in (REQUESTS, REQUEST_SECONDS, JOBS, JOB_SECONDS, SOLVE_SECONDS, PLAN_GAP, SIMULATED_REQUESTS,
                       SIMULATION_SECONDS):  # fmt: skip
            registry.register(metric)
    ProcessCollector(registry=registry)
    registry.register(_Store(engine))
    return generate_latest(registry)


class _Store:
    """What the store says: read at the moment of asking, so that every server says the same."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        labels = {"version": _version(), "python": platform.python_version()}
        build = GaugeMetricFamily("gpuplan_build_info", "Version that runs; always 1", labels=list(labels))
        build.add_metric(list(labels.values()), 1)
        yield build
        try:
            depth = queue.depth(self._engine)
            num_workers = store.num_alive(self._engine)
        except StoreError:
            yield GaugeMetricFamily("gpuplan_store_up", "Whether the store can be read", value=0)
            return
        yield GaugeMetricFamily("gpuplan_store_up", "Whether the store can be read", value=1)
        jobs = GaugeMetricFamily("gpuplan_jobs", "Jobs that wait or run", labels=["state"])
        jobs.add_metric(["queued"], depth.queued)
        jobs.add_metric(["running"], depth.running)
        yield jobs
        yield GaugeMetricFamily("gpuplan_oldest_queued_job_seconds", "How long the first job of the queue has waited",
                                value=depth.oldest_queued_s)  # fmt: skip
        yield GaugeMetricFamily("gpuplan_workers", "Worker processes alive, on all machines", value=num_workers)


def _version() -> str:
    try:
        return version("gpuplan")
    except PackageNotFoundError:  # run from a checkout
        return "unknown"
