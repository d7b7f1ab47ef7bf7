"""Reading a CSV table row by row: every row good, or an error that lists the bad ones."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, TypeVar

from profiles.errors import InvalidInput, closest
from profiles.ingest.files import opened
from profiles.ingest.problems import Built, Problems, build, counted, listed
from profiles.types import Measurement

FASTEST_MS = {"ttft_ms": 1.0, "tpot_ms": 0.5, "itl_p50_ms": 0.1}
"""Below these a time must be in another unit: no engine answers within 1 ms or gives one user 2000 tokens/s."""


MOST_COLUMNS = 1000
"""Of a table: the widest that we know has 60."""


class Skip(Exception):
    """Raised for a row that is knowingly left out; the text says why and is counted in the notes."""


class WrongHeader(InvalidInput):
    """The first line does not name the columns that the format needs."""

    def __init__(self, detail: str, *, field: str, fix: str | None, header: tuple[str, ...]) -> None:
        super().__init__(detail, field=field, fix=fix)
        self.header = header


@dataclass(frozen=True)
class Row:
    """One row of a table, as text, that knows where it stands."""

    file: str
    line: int
    cells: Mapping[str, str]

    def __getitem__(self, column: str) -> str:
        """The cell, stripped; "" when blank or when the table has no such column."""
        return self.cells.get(column, "").strip()

    def where(self, column: str) -> str:
        """File, line and column, for the ``field`` of an error."""
        return f"{self.file}:{self.line}: {column}"

    def number(self, column: str, default: float = 0.0) -> float:
        """The cell as a number, ``default`` when blank; raises ``InvalidInput`` for text and for NaN."""
        text = self[column]
        if not text:
            return default
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if value != value or value in (float("inf"), float("-inf")):
            raise InvalidInput(f"must be a finite number, not {text!r}", field=self.where(column))
        return value

    def count(self, column: str) -> int:
        """The cell as a degree of parallelism: a whole number, where blank and 0 mean 1."""
        value = self.number(column, 1)
        if value < 0 or value != int(value):
            raise InvalidInput(f"must be a whole number of at least 0, not {self[column]!r}", field=self.where(column))
        return int(value) or 1

    def whole(self, column: str) -> int:
        """The cell as a whole number of at least 1; raises ``InvalidInput`` for anything else, blank included."""
        value = self.number(column)
        if value < 1 or value != int(value):
            said = (
                f"must be a whole number of at least 1, not {self[column]!r}" if self[column] else "is missing or blank"
            )
            raise InvalidInput(said, field=self.where(column))
        return int(value)

    def positive_or_zero(self, column: str) -> float:
        """The cell as a number of at least 0, blank meaning 0."""
        value = self.number(column)
        if value < 0:
            raise InvalidInput(f"must not be negative, not {self[column]!r}", field=self.where(column))
        return value

    def build(self, kind: type[Built], columns: Mapping[str, str], **computed: object) -> Built:
        """A ``kind`` whose fields come from the named ``columns``, and from ``computed`` where the cell is not it.

        ``columns`` of computed fields only say where to point when the value is wrong.
        """
        values = {field: self[column] for field, column in columns.items()} | computed
        built = build(kind, values, columns, f"{self.file}:{self.line}")
        if isinstance(built, Measurement):
            _check_milliseconds(built, self, columns)
        return built


Fact = TypeVar("Fact")


def read_rows(
    path: Path,
    required: tuple[str, ...],
    parse: Callable[[Row], Fact],
    *,
    reference: str,
    allowed: tuple[str, ...] = (),
) -> tuple[list[Fact], list[str]]:
    """Facts of all rows in ``path``, duplicates folded, and notes that count what was left out.

    ``parse`` turns one row into one fact, raises ``Skip`` to leave it out, or ``InvalidInput``. Rows are
    streamed. Raises ``InvalidInput`` as ``each_row`` does, and with up to 20 bad rows at once.
    """
    facts: dict[Fact, None] = {}
    skipped: Counter[str] = Counter()
    problems = Problems(path.name)
    num_folded = 0
    for _, told in each_row(path, required, parse, reference=reference, allowed=allowed):
        if isinstance(told, Skip):
            skipped[str(told)] += 1
        elif isinstance(told, InvalidInput):
            problems.add(told)
        else:
            num_folded += told in facts
            facts[told] = None
    problems.raise_any()
    notes = [f"{counted(count, 'row')} skipped: {reason}" for reason, count in sorted(skipped.items())]
    if num_folded:
        notes.append(f"{counted(num_folded, 'repeated row')} folded into the first copy")
    return list(facts), notes


def each_row(
    path: Path,
    required: tuple[str, ...],
    parse: Callable[[Row], Fact],
    *,
    reference: str,
    allowed: tuple[str, ...] = (),
) -> Iterator[tuple[Row, Fact | Skip | InvalidInput]]:
    """Every row of ``path`` with the fact that ``parse`` makes of it, or with the reason why there is none.

    Raises ``InvalidInput`` for a file without rows or the ``required`` columns, or with others than ``allowed``
    (if given); ``reference`` is the format's name in messages. A row that cannot be split into its cells comes
    without cells.
    """
    row = None
    for row, problem in _rows(path, required, allowed, reference):
        yield row, _parsed(row, parse) if problem is None else problem
    if row is None:
        raise InvalidInput("has a header but no rows", field=path.name, fix="give a file with at least one row")


def _parsed(row: Row, parse: Callable[[Row], Fact]) -> Fact | Skip | InvalidInput:
    try:
        return parse(row)
    except (Skip, InvalidInput) as reason:
        return reason


def _rows(
    path: Path, required: tuple[str, ...], allowed: tuple[str, ...], reference: str
) -> Iterator[tuple[Row, InvalidInput | None]]:
    with opened(path, reference) as text:
        _refuse_json(text, path, reference)
        lines = csv.reader(text, strict=True)
        try:
            header = tuple(name.strip() for name in next(lines, []))
        except csv.Error as error:
            raise InvalidInput(f"is not CSV: {error}", field=f"{path.name}:{lines.line_num}") from error
        _check_header(header, required, allowed, path, reference)
        while True:
            first = lines.line_num + 1
            try:
                cells = next(lines, None)
            except csv.Error as error:
                yield _no_row(path.name, first, lines.line_num, f"is not CSV: {error}", "close every quote")
                continue
            if cells is None:
                return
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                said = f"has {len(cells)} cells, the header has {len(header)}"
                fix = "quote cells that contain commas and fill the missing ones"
                yield _no_row(path.name, first, lines.line_num, said, fix)
                continue
            # Counting the newlines inside quoted cells, this is the row's last line, which editors can jump to.
            yield Row(path.name, lines.line_num, dict(zip(header, cells, strict=True))), None


def _no_row(file: str, first: int, last: int, detail: str, fix: str) -> tuple[Row, InvalidInput]:
    """Lines that make no row; several of them only where a quote is open, most likely by mistake from the first on."""
    swallowed = f" (a quote makes one row of lines {first} to {last})" if last > first else ""
    return Row(file, first, {}), InvalidInput(detail + swallowed, field=f"{file}:{first}", fix=fix)


def _refuse_json(text: TextIO, path: Path, reference: str) -> None:
    start = text.read(256).lstrip()
    text.seek(0)
    if start[:1] in ("{", "["):
        raise InvalidInput(
            f"this looks like JSON, but {reference} files are CSV",
            field=path.name,
            fix="name the format of the file, e.g. vllm-bench, guidellm or aiperf",
        )


def _check_header(
    header: tuple[str, ...], required: tuple[str, ...], allowed: tuple[str, ...], path: Path, reference: str
) -> None:
    if len(header) > MOST_COLUMNS:
        raise InvalidInput(
            f"has {len(header):,} columns, at most {MOST_COLUMNS:,} are read", field=f"{path.name}:1",
            fix="keep those that the format has",
        )  # fmt: skip
    repeated = [name for name in dict.fromkeys(header) if header.count(name) > 1]
    if repeated:
        raise WrongHeader(f"names {listed(repeated)} twice", field=f"{path.name}:1", fix="rename one", header=header)
    missing = [name for name in required if name not in header]
    if missing:
        spare = [name for name in header if name not in required]
        renamed = [f"{name!r} may be {close[0]!r} here" for name in missing if (close := closest(name, spare, 1))]
        raise WrongHeader(
            f"has no column {listed(missing)}",
            field=f"{path.name}:1",
            fix="; ".join(renamed) or f"{reference} files have the columns {', '.join(required)}",
            header=header,
        )
    strangers = [name for name in header if allowed and name not in allowed]
    if strangers:
        raise InvalidInput(
            f"has columns that {reference} files do not: {listed(strangers)}",
            field=f"{path.name}:1",
            fix=f"remove or rename them; the columns are {', '.join(allowed)}",
        )


def _check_milliseconds(measured: Measurement, row: Row, columns: Mapping[str, str]) -> None:
    """Refuse times that only make sense in seconds, and times that contradict each other."""
    for field, fastest_ms in FASTEST_MS.items():
        value = getattr(measured, field)
        if value is not None and value < fastest_ms:
            raise InvalidInput(
                f"{value:g} ms is faster than any engine",
                field=row.where(columns.get(field, field)),
                fix=f"times are in milliseconds; if this one is in seconds write {value * 1000:g}",
            )
    if measured.ttft_ms and measured.e2e_ms and measured.e2e_ms < measured.ttft_ms:
        raise InvalidInput(
            f"{measured.e2e_ms:g} ms end to end is less than the TTFT of {measured.ttft_ms:g} ms",
            field=row.where(columns.get("e2e_ms", "e2e_ms")),
            fix="give both in milliseconds",
        )
