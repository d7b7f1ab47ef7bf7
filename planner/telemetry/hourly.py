"""Request rates over time: of single requests, and of a counter of those that ended."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from planner.errors import InvalidInput
from planner.trace_file import read_rows

HOUR_S = 3600
EARLIEST_S = 1e8
"""Times below (1973) count from the start of the file, not from 1970."""

MOST_HOURS = 24 * 366 * 20


@dataclass(frozen=True)
class Hourly:
    """Mean requests/s of each hour. The first and the last need not be whole: their rates are of the time there is.

    ``start``: of the first hour, UTC; None where the file counts from somewhere else.
    """

    start: dt.datetime | None
    requests_per_s: np.ndarray


def hourly_rates(trace: Path) -> Hourly:
    """The rates of a file of requests in any format; raises what ``read_rows`` raises."""
    counts: dict[int, int] = {}
    first_s, last_s = np.inf, -np.inf
    for rows in read_rows(trace):
        hours, found = np.unique(rows.time_s // HOUR_S, return_counts=True)
        for hour, count in zip(hours, found, strict=True):
            counts[int(hour)] = counts.get(int(hour), 0) + int(count)
        first_s, last_s = min(first_s, float(rows.time_s.min())), max(last_s, float(rows.time_s.max()))
    first, end = min(counts), max(counts) + 1
    if end - first > MOST_HOURS:
        raise InvalidInput(f"spans {(end - first) / 8766:,.0f} years", field=str(trace), fix="correct the times")
    in_hour = np.array([counts.get(hour, 0) for hour in range(first, end)], dtype=float)
    seconds = np.full(len(in_hour), float(HOUR_S))
    seconds[0] -= first_s - first * HOUR_S
    seconds[-1] -= end * HOUR_S - last_s
    return Hourly(_moment(first, first_s), in_hour / np.maximum(seconds, 1.0))


def hourly_of_counter(time_s: np.ndarray, ended: np.ndarray) -> Hourly:
    """The rates of a counter that grew to ``ended`` by each of two or more points of time.

    What ended between two points is spread evenly between them.
    """
    first = int(time_s[0] // HOUR_S)
    edges = np.arange(first, int(np.ceil(time_s[-1] / HOUR_S)) + 1) * float(HOUR_S)
    seen_s = np.clip(edges, time_s[0], time_s[-1])
    return Hourly(_moment(first, time_s[0]), np.diff(np.interp(seen_s, time_s, ended)) / np.diff(seen_s))


def busiest_of_counter(time_s: np.ndarray, ended: np.ndarray, window_s: float) -> float | None:
    """Requests/s of the busiest time between two points that are ``window_s`` apart (or the first that is more).

    None where all points are closer together.
    """
    later = np.searchsorted(time_s, time_s + window_s)
    later = later[later < len(time_s)]
    grown, passed_s = ended[later] - ended[: len(later)], time_s[later] - time_s[: len(later)]
    return float((grown / passed_s).max()) if len(later) else None


def _moment(hour: int, time_s: float) -> dt.datetime | None:
    return dt.datetime.fromtimestamp(hour * HOUR_S, dt.UTC) if time_s >= EARLIEST_S else None
