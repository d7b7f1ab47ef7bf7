"""Request rates by hour, out of the files that a saved service names: what a forecast learns from."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from planner.errors import InvalidInput
from planner.replan.service import Demand
from planner.telemetry.columns import as_floats, dates_as_seconds, shown
from planner.telemetry.hourly import hourly_rates

HOUR_S = 3600
TIME_COLUMNS = ("time", "timestamp", "arrival_time", "arrived_at", "arrival_timestamp", "hour", "date")
RATE_COLUMNS = ("requests_per_s", "requests_per_second", "rate", "qps", "rps")
COUNT_COLUMNS = ("requests", "num_requests", "count")
ROWS_AT_ONCE = 500_000
MOST_HOURS = 20_000
"""Of history: more than two years. Older hours say nothing about tomorrow."""
MOST_REQUESTS_PER_S = 1e7
EARLIEST_S, LATEST_S = 1e8, 1e11
"""Seconds since 1970 from 1973 to beyond 5000: smaller numbers count from somewhere else, larger ones count milli-,
micro- or nanoseconds."""
FIX_TIME = "write dates like 2026-03-01T13:00:00+01:00 (UTC where no offset is given), or seconds since 1970"


@dataclass(frozen=True)
class History:
    """Mean requests/s of each hour from ``start`` (a whole hour, UTC) on; nan where nobody knows.

    ``notes`` say what was done to make it: for reports.
    """

    start: dt.datetime
    requests_per_s: np.ndarray
    notes: tuple[str, ...] = ()

    @property
    def end(self) -> dt.datetime:
        """The first moment after it."""
        return self.start + dt.timedelta(hours=len(self.requests_per_s))

    def before(self, moment: dt.datetime) -> History:
        """The whole hours that are over by ``moment``."""
        num_hours = max(0, int((moment - self.start) / dt.timedelta(hours=1)))
        return History(self.start, self.requests_per_s[:num_hours], self.notes)


def read_history(demand: Demand, before: dt.datetime) -> History:
    """What ``demand`` knows of the hours before a moment.

    Raises
    ------
    InvalidInput
        A file cannot be read, has no times or rates, a row that cannot be meant (named by its number), or nothing at
        all is known before ``before``.
    """
    hours: dict[int, float] = {}
    notes: list[str] = []
    for path in demand.files:
        found = _hours_of(path, before.timestamp(), notes)
        overlap = len(found.keys() & hours.keys())
        if overlap > 1:
            notes.append(f"{path.name} repeats {overlap} hours of earlier files: its numbers are used")
        hours |= found
    if demand.observed is not None:
        first = int(demand.observed.start.timestamp()) // HOUR_S
        hours |= {first + i: rate for i, rate in enumerate(demand.observed.requests_per_s) if rate is not None}
    last_hour = int(before.timestamp()) // HOUR_S
    hours = {hour: rate for hour, rate in hours.items() if hour < last_hour}
    if not hours:
        raise InvalidInput(
            f"says nothing of any hour before {before:%Y-%m-%d %H:%M %Z}", field=f"demand[{demand.service}]",
            fix="add files of earlier hours, or plan for a later date",
        )  # fmt: skip
    first, end = min(hours), max(hours) + 1
    first = max(first, end - MOST_HOURS)
    rates = np.array([hours.get(hour, np.nan) for hour in range(first, end)])
    start = dt.datetime.fromtimestamp(first * HOUR_S, dt.UTC)
    return History(start, rates, tuple(notes))


def _hours_of(path: Path, before_s: float, notes: list[str]) -> dict[int, float]:
    """Requests/s by hours since 1970, from one file."""
    times: list[np.ndarray] = []
    values: list[np.ndarray] = []
    counts = False
    first_row = 0
    for table in _tables(path):
        columns = _columns(table.columns, path)
        if columns is None:
            return _counted(path, notes)
        time_column, value_column, counts = columns
        row = first_row + (2 if ".csv" in path.name.lower() else 1)  # below the header
        time_s = _seconds(table[time_column], path, row)
        keep = time_s < before_s
        times.append(time_s[keep])
        values.append(_numbers(table[value_column], path, row, value_column)[keep])
        first_row += len(table)
    if first_row == 0:
        raise InvalidInput("has no rows", field=str(path), fix="give a file with at least a day of hours")
    time_s, rate = np.concatenate(times), np.concatenate(values)
    repeated = len(time_s) - len(np.unique(time_s))
    if repeated:
        notes.append(f"{path.name}: {repeated:,} rows repeat a time: the mean of the rows of an hour counts")
    spacing_s = _spacing_s(time_s, path)
    return _averaged(time_s, rate / spacing_s if counts else rate)


def _counted(path: Path, notes: list[str]) -> dict[int, float]:
    """Requests one by one: whole hours between the first and the last."""
    counted = hourly_rates(path)
    if counted.start is None:
        raise InvalidInput("has times that do not count from 1970", field=str(path), fix=FIX_TIME)
    first, rates = int(counted.start.timestamp()) // HOUR_S, counted.requests_per_s.tolist()
    if len(rates) < 3:
        raise InvalidInput("holds requests of less than one whole hour", field=str(path),
                           fix="give requests of several days, or rates by hour")  # fmt: skip
    notes.append(f"{path.name}: requests were counted by hour; its first and last hour are not whole")
    return {first + i: rate for i, rate in enumerate(rates) if 0 < i < len(rates) - 1}


def _averaged(time_s: np.ndarray, rate: np.ndarray) -> dict[int, float]:
    """Rows of an hour or less: the mean of those that say something in each hour."""
    known = np.isfinite(rate)
    hour, at = np.unique((time_s[known] // HOUR_S).astype(np.int64), return_inverse=True)
    means = np.bincount(at, weights=rate[known]) / np.bincount(at) if len(hour) else np.array([])
    return dict(zip(hour.tolist(), means.tolist(), strict=True))


def _spacing_s(time_s: np.ndarray, path: Path) -> float:
    """How long a row lasts: the usual distance to the next."""
    distances = np.diff(np.unique(time_s))
    spacing_s = float(np.median(distances)) if len(distances) else HOUR_S
    if spacing_s > HOUR_S:
        raise InvalidInput(f"has a row every {spacing_s / HOUR_S:.3g} hours", field=str(path),
                           fix="give rates or counts of every hour, or of less")  # fmt: skip
    return spacing_s


def _columns(names: Sequence[Any], path: Path) -> tuple[Any, Any, bool] | None:
    """The columns of time and of rates or (True) counts; None: each row is a request."""
    by_name = {str(name).strip().lower(): name for name in names}
    value = next((by_name[name] for name in (*RATE_COLUMNS, *COUNT_COLUMNS) if name in by_name), None)
    if value is None:
        return None
    time = next((by_name[name] for name in TIME_COLUMNS if name in by_name), None)
    if time is None:
        raise InvalidInput(f"has no column for time ({', '.join(str(name)[:40] for name in list(names)[:8])})",
                           field=str(path), fix=f"name it {TIME_COLUMNS[0]!r}")  # fmt: skip
    return time, value, str(value).strip().lower() in COUNT_COLUMNS


def _tables(path: Path) -> Iterator[Any]:
    """The rows of a CSV, JSONL (both may be gzipped) or Parquet file, some at a time."""
    import pandas as pd

    name = path.name.lower()
    try:
        if name.endswith((".parquet", ".pq")):
            from pyarrow import parquet

            yield parquet.read_table(path).to_pandas(ignore_metadata=True)  # what pandas calls an index is a column
        elif name.endswith((".jsonl", ".jsonl.gz", ".ndjson")):
            yield from pd.read_json(path, lines=True, chunksize=ROWS_AT_ONCE, dtype=False)
        elif name.endswith((".csv", ".csv.gz")):
            yield from pd.read_csv(path, chunksize=ROWS_AT_ONCE, encoding="utf-8-sig", skipinitialspace=True)
        else:
            raise InvalidInput("is of no known format", field=str(path), fix="give .csv, .jsonl (or .gz) or .parquet")
    except pd.errors.EmptyDataError:
        raise InvalidInput("is empty", field=str(path), fix="give a file with a header and rows") from None
    except ImportError as error:
        raise InvalidInput(f"needs {error.name or 'pyarrow'}", field=str(path),
                           fix="pip install 'gpuplan[parquet]'") from None  # fmt: skip
    except OSError as error:
        reason = error.strerror or "it is damaged"
        raise InvalidInput(f"cannot be read: {reason}", field=str(path), fix="check the path") from None
    except (ValueError, EOFError) as error:  # what parsers of pandas and pyarrow raise, and text that is not UTF-8
        reason = str(error).partition("\n")[0][:200]
        raise InvalidInput(f"is not well-formed: {reason}", field=str(path), fix="write it again") from None


def _seconds(values: Any, path: Path, first_row: int) -> np.ndarray:
    """Times as seconds since 1970."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values):
        seconds = as_floats(values)
        largest = float(np.abs(seconds[np.isfinite(seconds)]).max(initial=0.0))
        seconds /= next((scale for scale in (1.0, 1e3, 1e6, 1e9) if largest / scale <= LATEST_S), 1.0)
    else:
        seconds = dates_as_seconds(values)
    bad = ~((seconds >= EARLIEST_S) & (seconds <= LATEST_S))
    _refuse(bad, values, "a time", FIX_TIME, path, first_row)
    return seconds


def _numbers(values: Any, path: Path, first_row: int, column: Any) -> np.ndarray:
    """Rates or counts; an empty cell is an hour that nobody knows."""
    numbers = as_floats(values)
    empty = values.isna().to_numpy()
    bad = ~empty & ~((numbers >= 0) & (numbers <= MOST_REQUESTS_PER_S * HOUR_S))
    _refuse(bad, values, f"a {column} of 0 or more", "correct the row, or leave the cell empty", path, first_row)
    return numbers


def _refuse(bad: np.ndarray, values: Any, wanted: str, fix: str, path: Path, first_row: int) -> None:
    if bad.any():
        at = int(bad.argmax())
        raise InvalidInput(f"{shown(values.iloc[at])!r} is not {wanted}", field=f"{path}: row {first_row + at}",
                           fix=fix)  # fmt: skip
