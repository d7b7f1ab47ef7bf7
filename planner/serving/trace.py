"""A request trace as traffic: how often each request size arrives. Reads any length of trace in bounded memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from planner.errors import InvalidInput
from planner.serving.spec import Bucket, Workload

INPUT_EDGES = (0, 64, 128, 256, 512, 1024, 1536, 2048, 3072, 4096, 6144, 8192, 12288, 16384, 32768, 65536, 131072,
               262144, 1_048_576, 10_000_000)  # fmt: skip
OUTPUT_EDGES = (0, 16, 32, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 4096, 8192, 16384, 32768, 10_000_000)
"""Fine where most traffic is, so that one mean size stands well for a range."""

COLUMNS = {
    "time": ("timestamp", "time", "arrival_time", "arrived_at", "arrival_timestamp"),
    "input": ("contexttokens", "input_tokens", "prompt_tokens", "num_prefill_tokens", "context_tokens", "inputtokens"),
    "output": ("generatedtokens", "output_tokens", "completion_tokens", "num_decode_tokens", "generated_tokens",
               "outputtokens"),
}  # fmt: skip
ROWS_AT_ONCE = 500_000
MOST_TOKENS = 10_000_000

RateOf = Literal["mean", "busiest"]


@dataclass
class _Totals:
    """What is kept of a trace: counts and token sums per size cell, and requests per window."""

    window_s: float
    count: np.ndarray = field(default_factory=lambda: np.zeros((len(INPUT_EDGES) - 1, len(OUTPUT_EDGES) - 1)))
    input_sum: np.ndarray = field(default_factory=lambda: np.zeros((len(INPUT_EDGES) - 1, len(OUTPUT_EDGES) - 1)))
    output_sum: np.ndarray = field(default_factory=lambda: np.zeros((len(INPUT_EDGES) - 1, len(OUTPUT_EDGES) - 1)))
    first_s: float = np.inf
    last_s: float = -np.inf
    windows: Counter[int] = field(default_factory=Counter)

    def add(self, time_s: np.ndarray, input_tokens: np.ndarray, output_tokens: np.ndarray) -> None:
        i = np.searchsorted(INPUT_EDGES, input_tokens, side="left") - 1
        j = np.searchsorted(OUTPUT_EDGES, output_tokens, side="left") - 1
        for totals, weight in ((self.count, None), (self.input_sum, input_tokens), (self.output_sum, output_tokens)):
            cells = np.bincount(i * totals.shape[1] + j, weights=weight, minlength=totals.size)
            totals += cells.reshape(totals.shape)
        self.first_s = min(self.first_s, float(time_s.min()))
        self.last_s = max(self.last_s, float(time_s.max()))
        windows, counts = np.unique((time_s // self.window_s).astype(np.int64), return_counts=True)
        self.windows.update(dict(zip(windows.tolist(), counts.tolist(), strict=True)))


def read_trace(path: Path, *, rate: RateOf = "busiest", window_s: float = 300.0) -> Workload:
    """Buckets of a CSV trace with columns for time, input tokens and output tokens, as in the Azure traces.

    Rows may be in any order. ``rate``: plan for the busiest window of ``window_s`` seconds (sizes as over the whole
    trace), or for the mean. Times are dates, or numbers of seconds.

    Raises
    ------
    InvalidInput
        The file is missing, empty, not a CSV, lacks a column, or has a bad row (named by its line).
    """
    totals = _Totals(window_s)
    columns = _columns(path)
    line = 2
    for chunk in _chunks(path, list(columns.values())):
        time_s = _seconds(chunk[columns["time"]], path, columns["time"], line)
        tokens = [_tokens(chunk[columns[side]], path, columns[side], line) for side in ("input", "output")]
        line += len(chunk)
        totals.add(time_s, *tokens)
    if line == 2:
        raise InvalidInput("has a header but no requests", field=str(path), fix="give a trace with at least one row")
    return _workload(totals, path, rate, line - 2)


def _columns(path: Path) -> dict[str, str]:
    """Header names of the three columns we need."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline(100_000)
    except OSError as error:
        raise InvalidInput(f"cannot be read: {error.strerror}", field=str(path), fix="check the path") from None
    except UnicodeDecodeError:
        raise InvalidInput("is not a text file", field=str(path), fix="give a CSV file in UTF-8") from None
    if not header.strip():
        raise InvalidInput("is empty", field=str(path), fix="give a CSV file with a header")
    names = [name.strip().strip('"') for name in header.split(",")]
    found = {}
    for column, spellings in COLUMNS.items():
        match = [name for name in names if name.lower() in spellings]
        if not match:
            raise InvalidInput(
                f"has no column for {column} ({', '.join(names[:8])})",
                field=f"{path}:1",
                fix=f"name it {spellings[0]!r} or one of {', '.join(map(repr, spellings[1:]))}",
            )
        found[column] = match[0]
    return found


def _chunks(path: Path, columns: list[str]) -> Any:
    import pandas as pd  # slow to import, and only traces need it

    try:
        reader = pd.read_csv(
            path,
            usecols=columns,
            chunksize=ROWS_AT_ONCE,
            encoding="utf-8-sig",
            skipinitialspace=True,
            on_bad_lines="error",
        )
        yield from reader
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InvalidInput(f"is not a well-formed CSV: {error}", field=str(path)) from None


def _seconds(values: Any, path: Path, column: str, first_line: int) -> np.ndarray:
    import pandas as pd

    if pd.api.types.is_numeric_dtype(values):
        seconds = values.to_numpy(dtype=float)
    else:
        dates = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
        seconds = dates.astype("int64").to_numpy() / _ticks_per_s(dates)
        seconds = np.where(dates.isna(), np.nan, seconds)
    bad = ~np.isfinite(seconds)
    if bad.any():
        at = int(bad.argmax())
        raise InvalidInput(
            f"{values.iloc[at]!r} is not a time",
            field=f"{path}:{first_line + at}: {column}",
            fix="write dates as 2023-11-16 18:15:46.68, or seconds as numbers",
        )
    return np.asarray(seconds, dtype=float)


def _ticks_per_s(dates: Any) -> float:
    return {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}[dates.dt.unit]


def _tokens(values: Any, path: Path, column: str, first_line: int) -> np.ndarray:
    import pandas as pd

    tokens = pd.to_numeric(values, errors="coerce").to_numpy(dtype=float)
    bad = ~((tokens >= 0) & (tokens <= MOST_TOKENS) & (tokens == np.floor(tokens)))
    if bad.any():
        at = int(bad.argmax())
        raise InvalidInput(
            f"{values.iloc[at]!r} is not a number of tokens between 0 and {MOST_TOKENS:,}",
            field=f"{path}:{first_line + at}: {column}",
            fix="give whole numbers of tokens",
        )
    return np.asarray(np.maximum(tokens, 1.0))  # an empty prompt or answer still costs one token


def _workload(totals: _Totals, path: Path, rate: RateOf, num_requests: int) -> Workload:
    span_s = max(totals.last_s - totals.first_s, 1.0)
    mean = num_requests / span_s
    busiest = max(totals.windows.values()) / min(totals.window_s, span_s)
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
