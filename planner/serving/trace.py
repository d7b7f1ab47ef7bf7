"""A request trace as traffic: how often each request size arrives. Reads any length of trace in bounded memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from planner.errors import InvalidInput
from planner.serving.spec import Bucket, Workload
from planner.trace_file import read_rows

INPUT_EDGES = (0, 64, 128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 32768, 65536, 131072,
               262144, 1_048_576, 10_000_000)  # fmt: skip
OUTPUT_EDGES = (0, 16, 32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384, 32768, 10_000_000)
"""Fine where most traffic is, so that one mean size stands well for a range."""

RateOf = Literal["mean", "busiest"]

MOST_REQUESTS_PER_S = 1e7
"""That a workload may have."""


def _cells() -> np.ndarray:
    return np.zeros((len(INPUT_EDGES) - 1, len(OUTPUT_EDGES) - 1))


@dataclass
class _Totals:
    """What is kept of a trace: counts and token sums per size cell, and requests per window."""

    window_s: float
    count: np.ndarray = field(default_factory=_cells)
    input_sum: np.ndarray = field(default_factory=_cells)
    output_sum: np.ndarray = field(default_factory=_cells)
    first_s: float = np.inf
    last_s: float = -np.inf
    windows: np.ndarray = field(default_factory=lambda: np.zeros(0))  # index of each window with requests
    in_window: np.ndarray = field(default_factory=lambda: np.zeros(0))  # requests in it

    def add(self, time_s: np.ndarray, input_tokens: np.ndarray, output_tokens: np.ndarray) -> None:
        i = np.searchsorted(INPUT_EDGES, input_tokens, side="left") - 1
        j = np.searchsorted(OUTPUT_EDGES, output_tokens, side="left") - 1
        for totals, weight in ((self.count, None), (self.input_sum, input_tokens), (self.output_sum, output_tokens)):
            cells = np.bincount(i * totals.shape[1] + j, weights=weight, minlength=totals.size)
            totals += cells.reshape(totals.shape)
        self.first_s = min(self.first_s, float(time_s.min()))
        self.last_s = max(self.last_s, float(time_s.max()))
        windows, counts = np.unique(time_s // self.window_s, return_counts=True)
        self.windows, at = np.unique(np.concatenate([self.windows, windows]), return_inverse=True)
        self.in_window = np.bincount(at, weights=np.concatenate([self.in_window, counts]))


def read_trace(path: Path, *, rate: RateOf = "busiest", window_s: float = 300.0) -> Workload:
    """Buckets of a CSV trace with columns for time, input tokens and output tokens, as in the Azure traces.

    Rows may be in any order. ``rate``: plan for the busiest window of ``window_s`` seconds (sizes as over the whole
    trace), or for the mean. Times are dates, or numbers: seconds, or milliseconds to nanoseconds since 1970.

    Raises
    ------
    InvalidInput
        The file is missing, empty, not a CSV, lacks a column, has a bad row (named by its line), or a single time.
    """
    totals = _Totals(window_s)
    num_requests = 0
    for rows in read_rows(path):
        totals.add(*rows)
        num_requests += len(rows.time_s)
    if num_requests >= MOST_REQUESTS_PER_S * (totals.last_s - totals.first_s):
        raise InvalidInput(
            "all requests have nearly the same time, which says nothing of a rate", field=str(path),
            fix="give times to the second, and at least two requests",
        )  # fmt: skip
    return _workload(totals, path, rate, num_requests)


def _workload(totals: _Totals, path: Path, rate: RateOf, num_requests: int) -> Workload:
    span_s = totals.last_s - totals.first_s
    mean = num_requests / span_s
    busiest = float(totals.in_window.max()) / min(totals.window_s, span_s)
    planned = max(mean, busiest) if rate == "busiest" else mean
    buckets = []
    for i, j in zip(*np.nonzero(totals.count), strict=True):
        count = totals.count[i, j]
        buckets.append(
            Bucket(
                input_tokens=(INPUT_EDGES[i] + 1, INPUT_EDGES[i + 1]),
                output_tokens=(OUTPUT_EDGES[j] + 1, OUTPUT_EDGES[j + 1]),
                requests_per_s=planned * float(count) / num_requests,
                mean_input_tokens=float(totals.input_sum[i, j] / count),
                mean_output_tokens=float(totals.output_sum[i, j] / count),
            )
        )
    basis = f"its busiest {totals.window_s:g} s" if rate == "busiest" else "its mean"
    return Workload(
        buckets=tuple(buckets),
        description=(
            f"{path.name}: {num_requests:,} requests over {span_s / 3600:.2f} h, {mean:.3g} requests/s on average; "
            f"planned for {basis}, {planned:.3g} requests/s"
        ),
    )
