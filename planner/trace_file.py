"""Single requests, row by row: traces, access logs and benchmark reports of any length, whatever wrote them.

CSV, JSON lines (both may be gzipped) and Parquet with columns for time, input and output tokens
(``planner.telemetry.columns`` lists their names), and the reports of GuideLLM, AIPerf and ``vllm bench``.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from planner.errors import InvalidInput
from planner.telemetry import bench_files, json_lines, parquet
from planner.telemetry.columns import Requests, as_floats, dates_as_seconds, find_columns, places, shown
from planner.telemetry.files import opened, shape_of

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
    """The requests of a file in its order, some at a time: at least one, or ``InvalidInput``.

    Times are dates, or numbers (seconds, or milliseconds to nanoseconds since 1970); they come out in seconds and count
    from where the file counts from. Tokens are whole; an empty prompt or answer still costs one.

    Raises ``InvalidInput`` at the first use, or when a bad row comes: the file is missing, empty, of no known format,
    lacks a column, or has a bad row, named by its line.
    """
    numeric: bool | None = None
    for requests in _requests(path):
        if len(requests.time) == 0:
            continue
        if numeric is None:
            numeric = _is_number(requests.time.iloc[0])
        time_s = _seconds(requests, numeric)
        yield Rows(time_s, _tokens(requests.input, "input", requests), _tokens(requests.output, "output", requests))
    if numeric is None:
        raise InvalidInput("has a header but no requests", field=str(path), fix="give a trace with at least two rows")


def _requests(path: Path) -> Iterator[Requests]:
    """The requests as they are written, read as the kind of file is read."""
    shape = shape_of(path)
    if shape == "csv":
        return _of_csv(path)
    if shape == "parquet":
        return parquet.requests_of(path, ROWS_AT_ONCE)
    if shape == "json":
        return _of_numbers(bench_files.requests_of_report(path), path)
    if bench_files.is_aiperf(path):
        return _of_numbers(bench_files.requests_of_aiperf(path), path)
    return json_lines.requests_of(path, ROWS_AT_ONCE)


def _of_numbers(numbers: Iterator[bench_files.Request], path: Path) -> Iterator[Requests]:
    import pandas as pd

    first = 0
    while some := list(islice(numbers, ROWS_AT_ONCE)):
        time, tokens_in, tokens_out = (pd.Series(column) for column in zip(*some, strict=True))
        yield Requests(time, tokens_in, tokens_out, places(f"{path}: request ", first), 1.0)
        first += len(some)


def _of_csv(path: Path) -> Iterator[Requests]:
    positions, unit_s = _columns(path)
    record = 0
    for table in _chunks(path, sorted(positions.values())):
        time, tokens_in, tokens_out = (table[positions[side]] for side in ("time", "input", "output"))
        yield Requests(time, tokens_in, tokens_out, partial(_where, path, record), unit_s)
        record += len(table)


def _where(path: Path, first: int, i: int) -> str:
    return f"{path}:{_line(path, first + i)}"


@contextmanager
def _text(path: Path) -> Iterator[TextIOWrapper]:
    with opened(path) as file, TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
        yield text


def _columns(path: Path) -> tuple[dict[str, int], float | None]:
    """Positions of the three columns we need, by the header, and the unit of numeric times where it says one."""
    try:
        with _text(path) as file:
            rows = csv.reader(iter(lambda: file.readline(100_000), ""), skipinitialspace=True)
            names = [name.strip() for name in next(rows, [])]
            first = next(filter(None, rows), [])
    except (UnicodeDecodeError, csv.Error):
        raise InvalidInput("is not a text file", field=str(path), fix="give a CSV file in UTF-8") from None
    if not any(names):
        raise InvalidInput("is empty", field=str(path), fix="give a CSV file with a header")
    if any("\0" in name for name in names):
        raise InvalidInput("is not a text file", field=str(path), fix="give a CSV file in UTF-8")
    try:
        found = find_columns(names, f"{path}:1")
    except InvalidInput as error:
        if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
            raise InvalidInput(error.detail, field=error.field, fix="separate the columns with commas") from None
        raise
    if any(cell.strip() for cell in first[len(names) :]):
        raise InvalidInput(
            f"has {len(names)} columns by its header and {len(first)} by its first row",
            field=f"{path}:{_line(path, 0)}",
            fix="give every row the columns of the header; write decimals with a point, thousands without a mark",
        )  # fmt: skip
    return dict(found.positions), found.unit_s


def _chunks(path: Path, columns: list[int]) -> Iterator[Any]:
    """The wanted columns, named by position, some rows at a time."""
    import pandas as pd  # slow to import, and only traces need it

    try:
        with opened(path) as file:
            yield from pd.read_csv(
                file,
                header=None,
                skiprows=1,
                usecols=columns,
                chunksize=ROWS_AT_ONCE,
                encoding="utf-8-sig",
                skipinitialspace=True,
                on_bad_lines="error",
            )
    except pd.errors.EmptyDataError:
        return
    except ValueError as error:  # pandas' parser errors, and text that is not UTF-8, are ValueErrors
        raise InvalidInput(
            f"is not a well-formed CSV: {error}", field=str(path), fix="give every row all columns of the header"
        ) from None


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _seconds(requests: Requests, numeric: bool) -> np.ndarray:

    values = requests.time
    if numeric:
        seconds = as_floats(values)
        largest = float(np.abs(seconds[np.isfinite(seconds)]).max(initial=0.0))
        guessed = next((scale for scale in (1.0, 1e3, 1e6, 1e9) if largest / scale <= LATEST_S), 1.0)
        seconds = seconds / guessed if requests.unit_s is None else seconds * requests.unit_s
        seconds[np.abs(seconds) > LATEST_S] = np.nan
    else:
        seconds = dates_as_seconds(values)
    fix = "write all as numbers of seconds, or all as dates like 2023-11-16 18:15:46.68"
    _refuse(~np.isfinite(seconds), values, "a time", fix, "time", requests.where)
    return np.asarray(seconds, dtype=float)


def _tokens(values: Any, side: str, requests: Requests) -> np.ndarray:
    tokens = as_floats(values)
    bad = ~((tokens >= 0) & (tokens <= MOST_TOKENS) & (tokens == np.floor(tokens)))
    wanted, fix = f"a number of tokens between 0 and {MOST_TOKENS:,}", "give whole numbers of tokens"
    _refuse(bad, values, wanted, fix, f"{side} tokens", requests.where)
    return np.asarray(np.maximum(tokens, 1.0), dtype=np.int64)  # an empty prompt or answer still costs one token


def _refuse(bad: np.ndarray, values: Any, wanted: str, fix: str, column: str, where: Callable[[int], str]) -> None:
    """Raise for the first value that is bad, named by its place."""
    if bad.any():
        at = int(bad.argmax())
        value = shown(values.iloc[at])
        empty = value in ("nan", "None", "NaT", "<NA>")
        what = f"an empty cell is not {wanted}" if empty else f"{value!r} is not {wanted}"
        raise InvalidInput(what, field=f"{where(at)}: {column}", fix=fix)


def _line(path: Path, record: int) -> int:
    """The line on which a request starts, which blank lines and line breaks in quotes move. Requests count from 0."""
    with _text(path) as file:
        rows = csv.reader(file, skipinitialspace=True)
        start = 1
        try:
            next(rows)
            start = rows.line_num + 1
            for row in rows:
                if len(row) > 1 or "".join(row).strip():
                    if record == 0:
                        return start
                    record -= 1
                start = rows.line_num + 1
        except csv.Error as error:
            raise InvalidInput(f"is not a well-formed CSV: {error}", field=f"{path}:{start}",
                               fix="give every row all columns of the header") from None  # fmt: skip
    raise ValueError(f"{path} has no such request")
