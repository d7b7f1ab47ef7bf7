"""Uneven shares for GPUs of different speed: layers for pipeline stages, micro-batches for replicas.

Metis (ATC 2024) and AMP (NeurIPS 2022) cut models and batches so that no slow GPU holds up the others. Both are one
problem: whole pieces for workers, so that the slowest finishes as early as can be. Giving each piece to the worker that
then finishes first is exact, because a worker's time only grows with its pieces.
"""

from __future__ import annotations

import heapq

import numpy as np

from planner.errors import InvalidInput
from planner.program import Floats, Ints


def uneven_layers(num_layers: int, stage_speed: Floats, first_extra: float = 0.0, last_extra: float = 0.0) -> Ints:
    """(pp,) layers of each stage, at least one, such that the slowest stage is as fast as can be.

    ``stage_speed`` (pp,) is relative; ``first_extra`` and ``last_extra`` are what embeddings and logits take there, in
    layers. Raises ``InvalidInput`` for fewer layers than stages, or numbers that are not positive and finite.
    """
    speed = _positive(stage_speed, "stage_speed")
    if num_layers < len(speed):
        raise InvalidInput(
            f"{num_layers} layers for {len(speed)} stages", field="num_layers", fix="use as many stages or fewer"
        )
    extra = np.zeros(len(speed))
    extra[0] += _extra(first_extra, "first_extra")
    extra[-1] += _extra(last_extra, "last_extra")
    return _shares(num_layers, speed, extra)


def uneven_batches(global_batch: int, micro_batch: int, replica_speed: Floats, num_stages: int = 1) -> Ints:
    """(dp,) micro-batches of each replica, at least one, such that the slowest replica is as fast as can be.

    A replica of ``num_stages`` stages takes as long as num_stages − 1 more micro-batches to fill and drain. Raises
    ``InvalidInput`` where ``micro_batch`` does not divide ``global_batch``, or there are fewer micro-batches than
    replicas.
    """
    speed = _positive(replica_speed, "replica_speed")
    if micro_batch < 1 or global_batch % micro_batch:
        raise InvalidInput(
            f"micro-batches of {micro_batch} do not divide a global batch of {global_batch}", field="micro_batch",
            fix="give a divisor of the global batch",
        )  # fmt: skip
    if num_stages < 1:
        raise InvalidInput(f"{num_stages} stages", field="num_stages", fix="give 1 or more")
    count = global_batch // micro_batch
    if count < len(speed):
        raise InvalidInput(
            f"{count} micro-batches for {len(speed)} replicas", field="global_batch",
            fix="use a larger batch, smaller micro-batches or fewer replicas",
        )  # fmt: skip
    return _shares(count, speed, np.full(len(speed), num_stages - 1.0))


def _shares(count: int, speed: Floats, extra: Floats) -> Ints:
    """Least max of (pieces + extra) / speed over workers with at least one piece each; ties go to the first."""
    shares = np.ones(len(speed), dtype=np.int64)
    queue = [((2 + extra[i]) / speed[i], i) for i in range(len(speed))]
    heapq.heapify(queue)
    for _ in range(count - len(speed)):
        worker = queue[0][1]
        shares[worker] += 1
        heapq.heapreplace(queue, ((shares[worker] + 1 + extra[worker]) / speed[worker], worker))
    return shares


def _positive(values: Floats, name: str) -> Floats:
    speed = np.asarray(values, dtype=float)
    if speed.ndim != 1 or not speed.size or not (np.isfinite(speed) & (speed > 0)).all():
        raise InvalidInput("speeds must be positive and finite, one or more", field=name, fix="correct the speeds")
    return speed


def _extra(value: float, name: str) -> float:
    if not (np.isfinite(value) and value >= 0):
        raise InvalidInput(f"{name} is {value}", field=name, fix="give 0 or more layers")
    return value
