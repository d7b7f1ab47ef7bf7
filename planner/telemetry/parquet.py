"""Requests in a Parquet file: the three columns of a table, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from planner.errors import InvalidInput
from planner.telemetry.columns import Requests, find_columns, places

MOST_BYTES = 1000
"""Of a text, looked at before rows repeat it: a few bytes of Parquet can stand for gigabytes of one text."""


def num_rows(path: Path) -> int:
    """Rows of a file by its footer; raises as ``requests_of``."""
    with _opened(path) as file:
        return int(file.metadata.num_rows)


def requests_of(path: Path, rows_at_once: int) -> Iterator[Requests]:
    """The requests in a file; ``InvalidInput`` where it is damaged or pyarrow is not installed."""
    with _opened(path) as file:
        names = file.schema_arrow.names
        found = find_columns(names, str(path))
        wanted = {names[i]: file.schema_arrow.field(i).type for i in found.positions.values()}
    first = 0
    with _opened(path, texts_once=[name for name, kind in wanted.items() if not kind.num_fields]) as file:
        for batch in file.iter_batches(batch_size=rows_at_once, columns=list(wanted)):
            time, tokens_in, tokens_out = (_values(batch.column(name), name, path) for name in wanted)
            yield Requests(time, tokens_in, tokens_out, places(f"{path}: row ", first), found.unit_s)
            first += batch.num_rows


@contextmanager
def _opened(path: Path, texts_once: list[str] | None = None) -> Iterator[Any]:
    """The file; what is wrong with it, at any point of the reading, is ``InvalidInput``.

    Each text of the columns ``texts_once`` is kept once, whatever the number of rows that have it.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        raise InvalidInput("is Parquet, and pyarrow is not installed", field=str(path),
                           fix="pip install 'gpuplan[parquet]'") from None  # fmt: skip
    try:
        with parquet.ParquetFile(path, read_dictionary=texts_once) as file:
            yield file
    except (ArrowException, KeyError, OSError, ValueError) as error:  # KeyError: two columns of one name
        reason = str(error).partition("\n")[0][:150]
        raise InvalidInput(f"is not a readable Parquet file: {reason}", field=str(path), fix="write it again") from None


def _values(column: Any, name: str, path: Path) -> Any:
    """A column of a batch, as pandas has it."""
    from pyarrow import compute, types

    if types.is_dictionary(column.type):  # of texts
        longest = compute.max(compute.binary_length(column.dictionary)).as_py() or 0
        if longest > MOST_BYTES:
            raise InvalidInput(f"holds a text of {longest:,} bytes", field=f"{path}: {name}",
                               fix="give times as dates or numbers, and whole numbers of tokens")  # fmt: skip
        column = column.dictionary_decode()
    return column.to_pandas()
