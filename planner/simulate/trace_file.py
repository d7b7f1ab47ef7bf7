"""Traffic of a trace file: streamed, repeated, multiplied.

Read like the planner reads traces (``planner.trace_file``): the same columns and times, empty prompts and answers
count as one token, and a row that cannot be meant is named by its line.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from planner.errors import InvalidInput
from planner.simulate.state import Floats
from planner.simulate.traffic import CHUNK, Chunk, Sizes, Traffic
from planner.trace_file import read_rows

SPREAD_S = 10.0
"""Over so many seconds the copies of a request are spread when traffic is multiplied."""

MOST_COPIES = 100_000
"""Of one request, by which memory stays bounded."""

_KEPT_ROWS = 100_000
"""Rows may be out of order by so many."""

_MOST_SIZES = 1_000_000


def traffic_of_trace(
    path: Path, *, rate_multiplier: float = 1.0, duration_s: float | None = None, seed: int = 0
) -> Traffic:
    """The requests of a CSV trace, the first of them at 0 s.

    With ``rate_multiplier`` m, each request comes m times: once at its own time and m − 1 times up to ``SPREAD_S``
    later, at random (of a fraction, the copy comes with that probability; m < 1 leaves requests out). So m times as
    many users behave as these did: rush hours and bursts longer than the spread keep their shape, while what happens
    within seconds is independent from user to user.

    ``duration_s`` cuts the trace, or repeats it from its start until then.

    Raises
    ------
    InvalidInput
        At the first use: the file is missing, empty, not a CSV, lacks a column, has a bad row (named by its line),
        or rows further out of order than can be sorted while reading.
    """
    if not 0 < rate_multiplier <= MOST_COPIES:
        raise InvalidInput(
            f"{rate_multiplier:g} is not a number above 0, of {MOST_COPIES:,} at most", field="rate_multiplier"
        )
    if duration_s is not None and not (duration_s > 0 and math.isfinite(duration_s)):
        raise InvalidInput(f"{duration_s:g} is not a positive number of seconds", field="duration_s")

    def chunks() -> Iterator[Chunk]:
        found = _in_order(path) if duration_s is None else _until(path, duration_s)
        if rate_multiplier == 1:
            return found
        return _multiplied(found, rate_multiplier, np.random.default_rng([seed, 2]))

    times = "" if rate_multiplier == 1 else f" × {rate_multiplier:g}"
    return Traffic(f"{path.name}{times}", chunks, duration_s, _num_requests(path, rate_multiplier))


def _num_requests(path: Path, rate_multiplier: float) -> int | None:
    """About so many requests, by counting lines; None for what cannot be read, of which others say why."""
    try:
        with path.open("rb") as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return None
    return round((lines - 1) * rate_multiplier)


def sizes_of_trace(path: Path) -> Sizes:
    """The request sizes of a trace, of a long one the first million; raises what ``traffic_of_trace`` says."""
    found: list[Chunk] = []
    for chunk in _in_order(path):
        found.append(chunk)
        if sum(map(len, found)) >= _MOST_SIZES:
            break
    tokens_in = np.concatenate([chunk.input_tokens for chunk in found])[:_MOST_SIZES]
    tokens_out = np.concatenate([chunk.output_tokens for chunk in found])[:_MOST_SIZES]
    return Sizes(f"sizes of {path.name}", tokens_in, tokens_out, np.ones(len(tokens_in)))


def _in_order(path: Path) -> Iterator[Chunk]:
    """Requests by time, from 0 s on. Rows are sorted within a window that moves over the file."""
    first, last, kept = math.nan, -math.inf, _nothing()
    for rows in read_rows(path):
        kept = _sorted(_joined([kept, Chunk(*rows)]))
        ready = len(kept) - _KEPT_ROWS
        if ready > 0:
            first = kept.arrival_s[0] if math.isnan(first) else first
            last = _check_order(kept, last, ready, path)
            yield from _small(_shifted(kept.between(0, ready), -first))
            kept = kept.between(ready, len(kept))
    first = kept.arrival_s[0] if math.isnan(first) else first
    _check_order(kept, last, len(kept), path)
    yield from _small(_shifted(kept, -first))


def _check_order(chunk: Chunk, last: float, ready: int, path: Path) -> float:
    if chunk.arrival_s[0] < last:
        raise InvalidInput(
            f"its times are out of order by more than {_KEPT_ROWS:,} rows", field=str(path), fix="sort it by time"
        )
    return float(chunk.arrival_s[ready - 1])


def _until(path: Path, duration_s: float) -> Iterator[Chunk]:
    """The trace again and again up to ``duration_s``; after its last request, one mean distance, then the first."""
    start = 0.0
    while True:
        last, count = 0.0, 0
        for chunk in _in_order(path):
            moved = _shifted(chunk, start)
            within = int(np.searchsorted(moved.arrival_s, duration_s))
            if within:
                yield moved.between(0, within)
            if within < len(chunk):
                return
            last, count = float(chunk.arrival_s[-1]), count + len(chunk)
        if last == 0.0:
            raise InvalidInput("all requests have the same time, so it cannot be repeated", field=str(path),
                               fix="leave duration_s out")  # fmt: skip
        start += last * count / (count - 1)


def _multiplied(chunks: Iterator[Chunk], factor: float, random: np.random.Generator) -> Iterator[Chunk]:
    whole = math.floor(factor)
    late = _nothing()
    at_once = max(1, CHUNK // math.ceil(factor))
    for chunk in (part for whole_chunk in chunks for part in _small(whole_chunk, at_once)):
        copies = whole + (random.random(len(chunk)) < factor - whole)
        at = np.repeat(np.arange(len(chunk)), copies)
        original = np.diff(at, prepend=-1) > 0
        delay: Floats = np.where(original, 0.0, random.random(len(at)) * SPREAD_S)
        new = Chunk(chunk.arrival_s[at] + delay, chunk.input_tokens[at], chunk.output_tokens[at])
        found = _sorted(_joined([late, new]))
        certain = int(np.searchsorted(found.arrival_s, chunk.arrival_s[-1]))
        yield from _small(found.between(0, certain))
        late = found.between(certain, len(found))
    yield from _small(late)


def _nothing() -> Chunk:
    return Chunk(np.zeros(0), np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))


def _joined(chunks: list[Chunk]) -> Chunk:
    return Chunk(
        np.concatenate([chunk.arrival_s for chunk in chunks]),
        np.concatenate([chunk.input_tokens for chunk in chunks]),
        np.concatenate([chunk.output_tokens for chunk in chunks]),
    )


def _sorted(chunk: Chunk) -> Chunk:
    order = np.argsort(chunk.arrival_s, kind="stable")
    return Chunk(chunk.arrival_s[order], chunk.input_tokens[order], chunk.output_tokens[order])


def _shifted(chunk: Chunk, by_s: float) -> Chunk:
    return Chunk(chunk.arrival_s + by_s, chunk.input_tokens, chunk.output_tokens)


def _small(chunk: Chunk, rows: int = CHUNK) -> Iterator[Chunk]:
    for start in range(0, len(chunk), rows):
        yield chunk.between(start, start + rows)
