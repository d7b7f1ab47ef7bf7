"""Requests in a Parquet file: the three columns of a table, some rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from planner.errors import InvalidInput
from planner.telemetry.columns import Requests, find_columns, places


def requests_of(path: Path, rows_at_once: int) -> Iterator[Requests]:
    """The requests in a file; ``InvalidInput`` where it is damaged or pyarrow is not installed."""
    try:
        from pyarrow import ArrowException, parquet
    except ModuleNotFoundError:
        raise InvalidInput("is Parquet, and pyarrow is not installed", field=str(path),
                           fix="pip install 'gpuplan[parquet]'") from None  # fmt: skip
    first = 0
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            found = find_columns(names, str(path))
            wanted = [names[i] for i in found.positions.values()]
            for batch in file.iter_batches(batch_size=rows_at_once, columns=wanted):
                table = batch.to_pandas(ignore_metadata=True)
                time, tokens_in, tokens_out = (table[name] for name in wanted)
                yield Requests(time, tokens_in, tokens_out, places(f"{path}: row ", first), found.unit_s)
                first += len(table)
    except (ArrowException, OSError, ValueError) as error:
        reason = str(error).partition("\n")[0][:150]
        raise InvalidInput(f"is not a readable Parquet file: {reason}", field=str(path), fix="write it again") from None
