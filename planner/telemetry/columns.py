"""Which columns of a log or trace hold the time, the input and the output tokens of a request."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from planner.errors import InvalidInput

COLUMNS = {
    "time": ("timestamp", "time", "arrival_time", "arrived_at", "arrival_timestamp", "ts", "start_time", "starttime",
             "request_start_time", "request_start", "created", "created_at", "datetime", "date"),
    "input": ("contexttokens", "input_tokens", "prompt_tokens", "num_prefill_tokens", "context_tokens", "inputtokens",
              "request_tokens", "input_length", "num_prompt_tokens", "prompttokens", "num_input_tokens"),
    "output": ("generatedtokens", "output_tokens", "completion_tokens", "num_decode_tokens", "generated_tokens",
               "outputtokens", "response_tokens", "output_length", "num_completion_tokens", "completiontokens",
               "num_output_tokens", "num_generation_tokens"),
}  # fmt: skip
"""Spellings, in small letters with _ for blanks: Azure's traces, OpenAI's and Anthropic's usage fields, Vidur's and
Splitwise's traces, BurstGPT, Mooncake, LiteLLM's spend logs, vLLM's names."""

UNITS_S = {"_s": 1.0, "_ms": 1e-3, "_us": 1e-6, "_ns": 1e-9}
"""Units that the name of a time column may end with."""

TICKS_PER_S = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
"""Of pandas' dates, by their unit."""

MOONCAKE = "hash_ids"
"""A column of Mooncake's traces, whose times count milliseconds from 0: too small to be told from seconds."""


class Requests(NamedTuple):
    """Some requests as they are written: three pandas Series, and where request i of them stands in the file.

    ``unit_s``: of numeric times, in seconds, where the file says it.
    """

    time: Any
    input: Any
    output: Any
    where: Callable[[int], str]
    unit_s: float | None = None


def places(before: str, first: int) -> Callable[[int], str]:
    """Where request i stands in a file that is read in pieces, by number: ``before`` and the number, from 1."""
    return lambda i: f"{before}{first + i + 1}"


class Found(NamedTuple):
    """The columns that count: positions in the header by ``time``, ``input`` and ``output``."""

    positions: Mapping[str, int]
    unit_s: float | None


def as_floats(values: Any) -> np.ndarray:
    """A Series as numbers; nan for what is none, or none that a float holds."""
    import pandas as pd

    try:
        return np.array(pd.to_numeric(values, errors="coerce"), dtype=float)
    except OverflowError:  # whole numbers of more than 300 digits
        return np.array([_float(value) for value in values])


def _float(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return np.nan


def dates_as_seconds(values: Any) -> np.ndarray:
    """A Series of dates as seconds since 1970, in UTC where they do not say; nan for what is no date."""
    import pandas as pd

    dates = pd.to_datetime(values, errors="coerce", utc=True, format="ISO8601")
    seconds = dates.astype("int64").to_numpy() / TICKS_PER_S[dates.dt.unit]
    return np.where(dates.isna(), np.nan, seconds)


def shown(value: Any) -> str:
    """A value as messages quote it."""
    try:
        return str(value)[:60]
    except NotImplementedError:  # of pandas: dates outside of Python's years
        return "a date of no year that we count"


def find_columns(names: Sequence[str], where: str) -> Found:
    """The columns of that header; ``InvalidInput`` at ``where`` for one that is missing."""
    plain = [_plain(name) for name in names]
    found: dict[str, int] = {}
    unit_s = 1e-3 if MOONCAKE in plain else None
    for column, spellings in COLUMNS.items():
        match = [i for i, name in enumerate(plain) if name in spellings]
        if not match and column == "time":
            match, unit_s = _with_unit(plain, unit_s)
        if not match:
            raise InvalidInput(
                f"has no column for {column} ({', '.join(name[:40] for name in names[:8])})", field=where,
                fix=f"name it {spellings[0]!r} or one of {', '.join(map(repr, spellings[1:]))}",
            )  # fmt: skip
        found[column] = match[0]
    return Found(found, unit_s)


def _plain(name: str) -> str:
    """The name without what spellings differ in; of a nested field, the last part."""
    return re.sub(r"[\s\-]+", "_", name.rpartition(".")[2].strip().lower().lstrip("@"))


def _with_unit(names: Sequence[str], unit_s: float | None) -> tuple[list[int], float | None]:
    for i, name in enumerate(names):
        for ending, seconds in UNITS_S.items():
            if name.endswith(ending) and name.removesuffix(ending) in COLUMNS["time"]:
                return [i], seconds
    return [], unit_s
