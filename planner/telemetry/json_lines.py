"""Requests in JSON lines: an object per line, the three fields at its top or inside, as in ``usage.prompt_tokens``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from planner.errors import InvalidInput
from planner.telemetry.columns import Requests, find_columns
from planner.telemetry.files import opened

DEEPEST = 4
"""Levels of objects that are looked into for the fields."""

LONGEST_LINE = 4 * 2**20
"""Bytes: logs with whole prompts in them have long lines, but not of many millions of tokens."""


def requests_of(path: Path, rows_at_once: int) -> Iterator[Requests]:
    """The requests in a file, some at a time; ``InvalidInput`` names the line that cannot be meant."""
    import pandas as pd

    records = _records(path)
    places: list[tuple[str, ...]] | None = None
    unit_s: float | None = None
    while some := list(islice(records, rows_at_once)):
        lines, objects = zip(*some, strict=True)
        if places is None:
            names = [place for place in _fields(objects[0], ()) if place]
            found = find_columns([".".join(place) for place in names], f"{path}:{lines[0]}")
            places, unit_s = [names[i] for i in found.positions.values()], found.unit_s
        time, tokens_in, tokens_out = (pd.Series([_at(one, place) for one in objects]) for place in places)
        yield Requests(time, tokens_in, tokens_out, partial(_place, path, lines), unit_s)


def _place(path: Path, lines: Sequence[int], i: int) -> str:
    return f"{path}:{lines[i]}"


def first_object(path: Path) -> dict[str, Any]:
    """The first record; empty where there is none."""
    return next((record for _, record in _records(path)), {})


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with opened(path) as file:
        for number in range(1, 2**63):
            line = file.readline(LONGEST_LINE)
            if not line:
                return
            if line.strip():
                yield number, _record(line, f"{path}:{number}")


def _record(line: bytes, where: str) -> dict[str, Any]:
    if len(line) == LONGEST_LINE:
        raise InvalidInput(f"is longer than {LONGEST_LINE >> 20} MiB", field=where, fix="leave the texts out")
    try:
        record = json.loads(line.removeprefix(b"\xef\xbb\xbf"))
    except UnicodeDecodeError:
        raise InvalidInput("is not text", field=where, fix="give JSON lines in UTF-8") from None
    except RecursionError:
        raise InvalidInput("is nested too deeply", field=where) from None
    except ValueError as error:
        raise InvalidInput(f"is not JSON: {str(error)[:100]}", field=where, fix="give one object per line") from None
    if not isinstance(record, dict):
        raise InvalidInput("is not a JSON object", field=where, fix="give one object per line")
    return record


def _fields(record: dict[str, Any], before: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The places of all values, those at the top first."""
    inside = []
    for name, value in record.items():
        if isinstance(value, dict):
            inside.append((value, (*before, name)))
        else:
            yield (*before, name)
    for value, place in inside:
        if len(place) < DEEPEST:
            yield from _fields(value, place)


def _at(record: Any, place: tuple[str, ...]) -> Any:
    """The value there as a number or text, None where there is none."""
    for name in place:
        record = record.get(name) if isinstance(record, dict) else None
    return record if record is None or (isinstance(record, int | float) and abs(record) < 1e300) else str(record)
