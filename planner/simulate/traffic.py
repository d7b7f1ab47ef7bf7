"""Requests in the order of their arrival, some at a time, so that traffic of any length takes the same memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from planner.errors import InvalidInput
from planner.serving.spec import Service
from planner.simulate.state import Floats, Ints
from planner.trace_file import MOST_TOKENS

CHUNK = 1 << 16
"""Requests at a time."""


@dataclass(frozen=True)
class Chunk:
    """Some requests [n]: seconds since the start of the traffic, not decreasing, and tokens, at least 1."""

    arrival_s: Floats
    input_tokens: Ints
    output_tokens: Ints

    def __len__(self) -> int:
        return len(self.arrival_s)

    def between(self, start: int, stop: int) -> Chunk:
        """The requests from position ``start`` to before ``stop``."""
        part = slice(start, stop)
        return Chunk(self.arrival_s[part], self.input_tokens[part], self.output_tokens[part])


@dataclass(frozen=True)
class Traffic:
    """Requests over time. ``chunks()`` yields them from the start, each time the same.

    ``duration_s`` and ``num_requests`` are about how long and how many, for progress; None where nobody knows yet.
    """

    description: str
    chunks: Callable[[], Iterator[Chunk]]
    duration_s: float | None = None
    num_requests: int | None = None

    def share_arrived(self, time_s: float, num_requests: int) -> float | None:
        """How much of it is there when so many requests have arrived by this time."""
        if self.duration_s:
            return min(time_s / self.duration_s, 1.0)
        return min(num_requests / self.num_requests, 1.0) if self.num_requests else None


@dataclass(frozen=True)
class Sizes:
    """Request sizes to draw from: tokens [k] and how often each comes [k]."""

    description: str
    input_tokens: Ints
    output_tokens: Ints
    weight: Floats

    @classmethod
    def of_service(cls, service: Service) -> Sizes:
        """The mean size of each bucket of a service, as often as the bucket."""
        buckets = service.workload.all_buckets()
        if not buckets:
            raise InvalidInput("has no traffic to draw sizes from", field=f"service {service.name}",
                               fix="give a trace to take the sizes from")  # fmt: skip
        tokens = np.maximum(np.rint([bucket.size for bucket in buckets]), 1).astype(np.int64)
        rates = np.array([bucket.requests_per_s for bucket in buckets])
        return cls(f"sizes of the plan's {len(buckets)} buckets", tokens[:, 0], tokens[:, 1], rates)

    def draw(self, random: np.random.Generator, count: int) -> tuple[Ints, Ints]:
        """Input and output tokens of ``count`` requests."""
        upper = np.cumsum(self.weight)
        at = np.searchsorted(upper, random.random(count) * upper[-1], side="right")
        at = np.minimum(at, len(upper) - 1)
        return self.input_tokens[at], self.output_tokens[at]


def from_arrays(arrival_s: ArrayLike, input_tokens: ArrayLike, output_tokens: ArrayLike) -> Traffic:
    """Traffic of requests at hand; ``InvalidInput`` unless times increase and tokens lie in 1 to ``MOST_TOKENS``."""
    times = np.asarray(arrival_s, dtype=float)
    tokens = [np.asarray(values) for values in (input_tokens, output_tokens)]
    if not len(times) == len(tokens[0]) == len(tokens[1]):
        raise InvalidInput("arrival_s, input_tokens and output_tokens differ in length", field="traffic")
    if not (np.isfinite(times).all() and (np.diff(times, prepend=0.0) >= 0).all()):
        raise InvalidInput("must be finite, not negative, and not decrease", field="traffic: arrival_s")
    for name, values in zip(("input_tokens", "output_tokens"), tokens, strict=True):
        if not ((values >= 1) & (values <= MOST_TOKENS) & (values == np.floor(values))).all():
            raise InvalidInput(f"must be whole numbers from 1 to {MOST_TOKENS:,}", field=f"traffic: {name}")
    whole = Chunk(times, tokens[0].astype(np.int64), tokens[1].astype(np.int64))

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(whole), CHUNK):
            yield whole.between(start, start + CHUNK)

    return Traffic("given requests", chunks, num_requests=len(times))
