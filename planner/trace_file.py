"""A request trace, row by row: a CSV of any length with times, input and output tokens, as in the Azure traces."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from planner.errors import InvalidInput

COLUMNS = {
    "time": ("timestamp", "time", "arrival_time", "arrived_at", "arrival_timestamp"),
    "input": ("contexttokens", "input_tokens", "prompt_tokens", "num_prefill_tokens", "context_tokens", "inputtokens"),
    "output": ("generatedtokens", "output_tokens", "completion_tokens", "num_decode_tokens", "generated_tokens",
               "outputtokens"),
}  # fmt: skip
ROWS_AT_ONCE = 500_000
MOST_TOKENS = 10_000_000
LATEST_S = 1e11
"""In seconds since 1970 this is beyond the year 5000: larger numbers count milli-, micro- or nanoseconds."""


class Rows(NamedTuple):
    """Some requests of a trace, one per entry."""

    time_s: np.ndarray
    input_tokens: np.ndarray
    output_tokens: np.ndarray


def read_rows(path: Path) -> Iterator[Rows]:
    """The requests of a CSV trace in the order of the file, some at a time: at least one, or ``InvalidInput``.

    Times are dates, or numbers (seconds, or milliseconds to nanoseconds since 1970); they come out in seconds and count
    from where the file counts from. Tokens are whole; an empty prompt or answer still costs one.

    Raises ``InvalidInput`` at the first use, or when a bad row comes: the file is missing, empty, not a CSV, lacks a
    column, or has a bad row, named by its line.
    """
    columns = _columns(path)
    record, numeric = 0, False
    for table in _chunks(path, sorted(columns.values())):
        if len(table) == 0:
            continue
        if record == 0:
            numeric = _is_number(table[columns["time"]].iloc[0])
        time_s = _seconds(table[columns["time"]], numeric, path, record)
        yield Rows(time_s, *(_tokens(table[columns[side]], side, path, record) for side in ("input", "output")))
        record += len(table)
    if record == 0:
        raise InvalidInput("has a header but no requests", field=str(path), fix="give a trace with at least two rows")


def _columns(path: Path) -> dict[str, int]:
    """Positions of the three columns we need, by the header."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            rows = csv.reader(iter(lambda: file.readline(100_000), ""), skipinitialspace=True)
            names = [name.strip() for name in next(rows, [])]
            first = next(filter(None, rows), [])
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", field=str(path), fix="check the path") from None
    except (UnicodeDecodeError, csv.Error):
        raise InvalidInput("is not a text file", field=str(path), fix="give a CSV file in UTF-8") from None
    if not any(names):
        raise InvalidInput("is empty", field=str(path), fix="give a CSV file with a header")
    if any("\0" in name for name in names):
        raise InvalidInput("is not a text file", field=str(path), fix="give a CSV file in UTF-8")
    found = {}
    for column, spellings in COLUMNS.items():
        match = [i for i, name in enumerate(names) if name.lower() in spellings]
        if not match:
            name_it = f"name it {spellings[0]!r} or one of {', '.join(map(repr, spellings[1:]))}"
            comma_is_missing = len(names) == 1 and any(mark in names[0] for mark in ";\t|")
            raise InvalidInput(
                f"has no column for {column} ({', '.join(name[:40] for name in names[:8])})", field=f"{path}:1",
                fix="separate the columns with commas" if comma_is_missing else name_it,
            )  # fmt: skip
        found[column] = match[0]
    if any(cell.strip() for cell in first[len(names) :]):
        raise InvalidInput(
            f"has {len(names)} columns by its header and {len(first)} by its first row",
            field=f"{path}:{_line(path, 0)}",
            fix="give every row the columns of the header; write decimals with a point, thousands without a mark",
        )  # fmt: skip
    return found


def _chunks(path: Path, columns: list[int]) -> Iterator[Any]:
    """The wanted columns, named by position, some rows at a time."""
    import pandas as pd  # slow to import, and only traces need it

    try:
        reader = pd.read_csv(
            path,
            header=None,
            skiprows=1,
            usecols=columns,
            chunksize=ROWS_AT_ONCE,
            encoding="utf-8-sig",
            skipinitialspace=True,
            on_bad_lines="error",
        )
        yield from reader
    except pd.errors.EmptyDataError:
        return
    except ValueError as error:  # pandas' parser errors, and text that is not UTF-8, are ValueErrors
        raise InvalidInput(
            f"is not a well-formed CSV: {error}", field=str(path), fix="give every row all columns of the header"
        ) from None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _seconds(values: Any, numeric: bool, path: Path, first: int) -> np.ndarray:
    import pandas as pd

    if numeric:
        seconds = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float, copy=True)
        largest = float(np.abs(seconds[np.isfinite(seconds)]).max(initial=0.0))
        seconds /= next((scale for scale in (1.0, 1e3, 1e6, 1e9) if largest / scale <= LATEST_S), 1.0)
        seconds[np.abs(seconds) > LATEST_S] = np.nan
    else:
        dates = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
        seconds = dates.astype("int64").to_numpy() / _ticks_per_s(dates)
        seconds = np.where(dates.isna(), np.nan, seconds)
    fix = "write all as numbers of seconds, or all as dates like 2023-11-16 18:15:46.68"
    _refuse(~np.isfinite(seconds), values, "a time", fix, path, "time", first)
    return np.asarray(seconds, dtype=float)


def _ticks_per_s(dates: Any) -> float:
    return {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[dates.dt.unit]


def _tokens(values: Any, side: str, path: Path, first: int) -> np.ndarray:
    import pandas as pd

    tokens = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float)
    bad = ~((tokens >= 0) & (tokens <= MOST_TOKENS) & (tokens == np.floor(tokens)))
    wanted, fix = f"a number of tokens between 0 and {MOST_TOKENS:,}", "give whole numbers of tokens"
    _refuse(bad, values, wanted, fix, path, f"{side} tokens", first)
    return np.asarray(np.maximum(tokens, 1.0), dtype=np.int64)  # an empty prompt or answer still costs one token


def _refuse(bad: np.ndarray, values: Any, wanted: str, fix: str, path: Path, column: str, first: int) -> None:
    """Raise for the first value that is bad, named by its line. ``first`` counts the requests before ``values``."""
    if bad.any():
        at = int(bad.argmax())
        value = str(values.iloc[at])
        what = f"an empty cell is not {wanted}" if value == "nan" else f"{value[:60]!r} is not {wanted}"
        raise InvalidInput(what, field=f"{path}:{_line(path, first + at)}: {column}", fix=fix)


def _line(path: Path, record: int) -> int:
    """The line on which a request starts, which blank lines and line breaks in quotes move. Requests count from 0."""
    with path.open(encoding="utf-8-sig") as file:
        rows = csv.reader(file, skipinitialspace=True)
        next(rows)
        start = rows.line_num + 1
        for row in rows:
            if len(row) > 1 or "".join(row).strip():
                if record == 0:
                    return start
                record -= 1
            start = rows.line_num + 1
    raise ValueError(f"{path} has no such request")
