"""What nccl-tests print: ``all_reduce_perf``, ``all_gather_perf``, ``reduce_scatter_perf`` and so on.

Read are the out-of-place times of every table in the file. Comments tell the GPUs, their hosts and, in newer versions,
which test ran; where they do not, ``--operation`` says it. A table whose bus bandwidth is not that of its operation is
refused. Other lines, such as NCCL's own log, are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from profiles.errors import InvalidInput
from profiles.ingest.files import modified_on, opened
from profiles.ingest.format import Format, Ingested, Options
from profiles.ingest.problems import Problems, counted
from profiles.ingest.table import Row
from profiles.names import KnownNames
from profiles.types import Batch, CollectiveMeasurement

SOURCE = "nccl-tests, measured here"

OPERATIONS = {
    "all_reduce_perf": "all_reduce",
    "all_gather_perf": "all_gather",
    "reduce_scatter_perf": "reduce_scatter",
    "alltoall_perf": "all_to_all",
    "sendrecv_perf": "send_recv",
}

COLUMNS = {"num_bytes": "size", "time_us": "time"}

ROUNDING = 0.03
"""Relative: bandwidths of at least 1 GB/s have two decimals, and newer versions fewer digits."""

_STARTING = re.compile(r"#\s*Collective test starting:\s*(?P<test>\w+)")
_VERSION = re.compile(r"#\s*nccl-tests version (?P<tests>\S+).*\bnccl-library=(?P<nccl>\d+)")
_DEVICES = re.compile(r"#\s*Using devices")
_RANK = re.compile(
    r"#\s*Rank\s+\d+\s+(?:Group\s+(?P<group>\d+)\s+)?Pid\s+\d+\s+on\s+(?P<host>\S+)"
    r"\s+device\s+\d+\s+\[[^\]]*\]\s+(?P<gpu>.+)"
)
_HEADER = re.compile(r"#\s*size\s+count\s")
_NUMBERS = re.compile(r"\d+\s+\d+\s")


@dataclass(frozen=True)
class _Run:
    """What the comments above a table say."""

    test: str = ""
    software: str = "nccl-tests"
    hosts: tuple[str, ...] = ()
    """Of each rank; of the first group where ranks form several."""
    gpus: tuple[str, ...] = ()
    group: str | None = None
    columns: tuple[str, ...] = ()

    def told(self, line: str) -> _Run:
        """The run with what one comment adds."""
        if found := _STARTING.match(line):
            return replace(self, test=found["test"])
        if found := _VERSION.match(line):
            return replace(self, software=f"nccl-tests {found['tests']}, NCCL {found['nccl']}")
        if _DEVICES.match(line):
            return replace(self, hosts=(), gpus=(), group=None)
        if (found := _RANK.match(line)) and (not self.hosts or found["group"] == self.group):
            hosts, gpus = (*self.hosts, found["host"]), (*self.gpus, found["gpu"].strip())
            return replace(self, group=found["group"], hosts=hosts, gpus=gpus)
        if _HEADER.match(line):
            return replace(self, columns=tuple(line.lstrip("# ").split()))
        return self


def read(path: Path, known: KnownNames, options: Options) -> Ingested:
    """Times in ``path``; raises ``InvalidInput`` listing the lines that cannot be meant."""
    rows = list(_rows(path))
    common = {"source": options.source or SOURCE, "as_of": options.as_of or modified_on(path)}
    measured: dict[CollectiveMeasurement, None] = {}
    problems = Problems(path.name)
    num_empty = 0
    for row, run in rows:
        try:
            if not row.cells:
                raise InvalidInput("has not the columns of the header", field=f"{row.file}:{row.line}")
            if row.number("size") == 0:
                num_empty += 1
            else:
                measured[_measured(row, run, known, options, common)] = None
        except InvalidInput as problem:
            problems.add(problem)
    problems.raise_any()
    if not measured:
        raise InvalidInput("holds no measured row of nccl-tests", field=path.name,
                           fix="give all that e.g. all_reduce_perf printed, comments included")  # fmt: skip
    notes = (f"{counted(num_empty, 'row')} of 0 bytes skipped",) if num_empty else ()
    return Ingested(Batch(collectives=tuple(measured)), notes)


def _rows(path: Path) -> Iterator[tuple[Row, _Run]]:
    run = _Run()
    with opened(path, FORMAT.name) as text:
        for number, line in enumerate(text, start=1):
            stripped = line.strip()
            if stripped.startswith("#"):
                run = run.told(stripped)
            elif run.columns and _NUMBERS.match(stripped):
                # Columns are there twice, out of place and in place: of each name the first is meant.
                cells = stripped.split()
                named = reversed(list(zip(run.columns, cells, strict=False)))
                yield Row(path.name, number, dict(named) if len(cells) == len(run.columns) else {}), run


def _measured(
    row: Row, run: _Run, known: KnownNames, options: Options, common: Mapping[str, object]
) -> CollectiveMeasurement:
    if len(run.hosts) < 2:
        raise InvalidInput("stands below no list of at least two ranks", field=f"{row.file}:{row.line}",
                           fix="keep the comments above the table: they name hosts and GPUs")  # fmt: skip
    if row["#wrong"] not in ("", "0", "N/A"):
        raise InvalidInput(f"is {row['#wrong']}: wrong results are no measurement", field=row.where("#wrong"))
    operation = OPERATIONS.get(run.test) or options.required("operation", "the file does not say which test ran")
    measured = row.build(
        CollectiveMeasurement,
        COLUMNS,
        gpu=_gpu(row, run, known, options),
        operation=operation,
        num_gpus=len(run.hosts),
        num_nodes=len(set(run.hosts)),
        software=run.software,
        **common,
    )
    if row.number("algbw") >= 1:
        _check_bus_bandwidth(row, measured)
    return measured


def _gpu(row: Row, run: _Run, known: KnownNames, options: Options) -> str:
    if options.gpu is not None:
        return known.gpu(options.gpu, "--gpu")
    if len(set(run.gpus)) > 1:
        raise InvalidInput(f"ran on {' and '.join(sorted(set(run.gpus)))}: more than one type of GPU",
                           field=f"{row.file}:{row.line}", fix="add --gpu with the slowest of them")  # fmt: skip
    return known.gpu(run.gpus[0], f"{row.file}: Rank 0")


def _check_bus_bandwidth(row: Row, measured: CollectiveMeasurement) -> None:
    said, implied = row.number("busbw"), measured.bus_bandwidth_gb_per_s
    if abs(said - implied) > ROUNDING * implied:
        raise InvalidInput(
            f"is {said:g}, but {measured.operation} over {measured.num_gpus} GPUs makes {implied:.4g}",
            field=row.where("busbw"),
            fix="check the operation, and that every rank is listed",
        )


FORMAT = Format(
    name="nccl-tests",
    description="what all_reduce_perf and the other nccl-tests print: text",
    suffixes=(".txt", ".log", ".out"),
    read=read,
    options=("gpu", "operation"),
)
