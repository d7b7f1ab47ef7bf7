"""Workers of ``planner.sweep.engines`` on a Ray cluster: one that is there, or one here for the time of a run."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from planner.errors import InvalidInput
from planner.settings import settings
from planner.sweep.engines import Workers

# Ray reads these when it is imported. It reports to nobody, and a cluster of its own listens on loopback only: so it
# does where it may not form clusters with other machines, which on Linux needs to be asked for.
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
if settings().ray_address is None:
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"

import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

DIED = (WorkerCrashedError, OutOfMemoryError, NodeDiedError)

RETRIES = 1
"""By Ray itself, on another worker, before the items are tried one at a time."""


@contextmanager
def workers_on_ray(function: Callable[[Any, Any], Any], shared: Any) -> Iterator[Workers]:
    """Workers of the cluster that is connected already, else of ``GPUPLAN_RAY_ADDRESS``, else of a local cluster that
    listens on loopback only. ``shared`` goes into the object store once. ``InvalidInput`` where no cluster answers.
    """
    mine = not ray.is_initialized()
    if mine:
        _connect(settings().ray_address)
    handed_over: set[Any] = set()
    try:
        kept = ray.put((function, shared))

        def submit(part: list[Any]) -> Future[list[Any]]:
            reference = _answers.remote(kept, part)
            handed_over.add(reference)
            future: Future[list[Any]] = reference.future()
            future.add_done_callback(lambda _: handed_over.discard(reference))
            return future

        cluster = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield Workers(max(1, int(cluster.get("CPU", 1))), submit, DIED)
    finally:
        for reference in list(handed_over):  # none is left where all went well
            ray.cancel(reference, force=True)
        if mine:
            ray.shutdown()


@ray.remote(num_cpus=1, max_retries=RETRIES)
def _answers(kept: tuple[Callable[[Any, Any], Any], Any], part: list[Any]) -> list[Any]:
    function, shared = kept
    return [function(shared, item) for item in part]


def _connect(address: str | None) -> None:
    try:
        if address:
            ray.init(address, log_to_driver=False, configure_logging=False)
        else:
            ray.init("local", include_dashboard=False, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise InvalidInput(
            f"no Ray cluster answers: {error}", field="GPUPLAN_RAY_ADDRESS", fix="correct it, or unset it to start one"
        ) from None
