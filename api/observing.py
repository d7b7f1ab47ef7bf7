"""Files of traffic that was seen, sent over HTTP: from their bytes to ``planner.serving.observed``.

Apart from the route, so that a process of its own (``api.apart``) has little to import.
"""

from __future__ import annotations

import gzip
import io
import tempfile
import zlib
from pathlib import Path

import numpy as np
from pydantic import Field

from api.requests import MOST_GIVEN, GivenRequests
from planner.errors import GpuplanError, InvalidInput
from planner.serving.observed import Observed, Reading, holds_metrics, observe
from planner.serving.trace import MOST_REQUESTS_PER_S, RateOf
from planner.telemetry.files import GZIP, shape_of
from planner.telemetry.parquet import num_rows
from planner.trace_file import read_rows
from planner.types import Frozen

MOST_UNPACKED_MIB = 256
"""Of a gzipped file: traces shrink to a fifth or so, and what shrinks far more is no trace."""

MOST_ROWS = 10_000_000
"""Of a Parquet file, in which millions of like rows take next to no room: what so many MiB of CSV hold."""


class WorkloadFile(Frozen):
    """What a file of traffic is called, and what to make of it: the options of ``gpuplan workload``."""

    name: str = Field(
        default="trace", max_length=60, pattern=r"^[^/\x00-\x1f\x7f]*[^/\x00-\x1f\x7f.][^/\x00-\x1f\x7f]*$",
        description="of the file, as messages name it. Its format is told by its content; a benchmark report in JSON "
        "needs its .json",
    )  # fmt: skip
    rate: RateOf = Field(default="busiest", description="which rate to plan for")
    window_s: float = Field(default=300.0, ge=1, le=86_400, description="that the busiest is sought among")
    requests_per_s: float | None = Field(
        default=None, gt=0, le=MOST_REQUESTS_PER_S, description="instead of what was seen"
    )
    model: str | None = Field(default=None, max_length=200, description="of metrics of several models")
    correlation: float | None = Field(
        default=None, ge=-1, le=1, description="of metrics: rank correlation of input and output tokens"
    )
    requests: bool = Field(default=False, description="tell the requests one by one too, for a simulation")


class Seen(Observed):
    """What ``gpuplan workload --json`` prints, with the requests one by one where they were asked for."""

    requests: GivenRequests | None = Field(
        default=None, description="traffic of a simulation; the first comes at 0 s. null: not asked for, or metrics"
    )


def seen_in(content: bytes, file: WorkloadFile) -> str:
    """The JSON of a ``Seen``; raises what ``planner.serving.observed.observe`` raises."""
    reading = Reading(**file.model_dump(exclude={"name", "requests"}))
    with tempfile.TemporaryDirectory(prefix="gpuplan-workload-") as directory:
        path = Path(directory) / file.name
        path.write_bytes(_unpacked(content, file.name))
        try:
            _refuse_too_many_rows(path)
            observed = observe([path], reading)
            requests = _requests(path) if file.requests else None
        except GpuplanError as error:  # which names the file, and nobody knows ours
            field = error.field and error.field.replace(f"{directory}/", "")
            raise InvalidInput(error.detail.replace(f"{directory}/", ""), field=field, fix=error.fix) from None
    return Seen(**dict(observed), requests=requests).model_dump_json()


def _unpacked(content: bytes, name: str) -> bytes:
    """The content of a gzipped file; of any other, the file."""
    if not content.startswith(GZIP):
        return content
    most_bytes = MOST_UNPACKED_MIB * 2**20
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(content)).read(most_bytes + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise InvalidInput("is a damaged gzip file", field=name, fix="write or copy it again") from None
    if len(unpacked) > most_bytes:
        raise InvalidInput(f"is larger than {MOST_UNPACKED_MIB} MiB unpacked", field=name, fix="give less of it")
    if unpacked.startswith(GZIP):
        raise InvalidInput("is gzipped twice", field=name, fix="unpack it once")
    return unpacked


def _refuse_too_many_rows(path: Path) -> None:
    if shape_of(path) == "parquet" and (rows := num_rows(path)) > MOST_ROWS:
        raise InvalidInput(f"has {rows:,} rows, at most {MOST_ROWS:,} are read", field=path.name, fix="give less of it")


def _requests(path: Path) -> GivenRequests | None:
    """The requests in the order of their times, the first at 0 s; None of metrics, which have none."""
    if holds_metrics(path):
        return None
    chunks, num_requests = [], 0
    for rows in read_rows(path):
        chunks.append(rows)
        num_requests += len(rows.time_s)
        if num_requests > MOST_GIVEN:
            raise InvalidInput(f"has more than {MOST_GIVEN:,} requests", field=path.name, fix="ask without requests")
    time_s, tokens_in, tokens_out = (np.concatenate(column) for column in zip(*chunks, strict=True))
    order = np.argsort(time_s, kind="stable")
    since_first = np.round(time_s[order] - time_s[order[0]], 6)
    return GivenRequests(
        arrival_s=since_first.tolist(), input_tokens=tokens_in[order].tolist(), output_tokens=tokens_out[order].tolist()
    )
