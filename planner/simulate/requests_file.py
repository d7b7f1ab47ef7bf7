"""One row per request, written as the replay goes: CSV, or Parquet with the extra of that name."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from planner.errors import InvalidInput
from planner.simulate.cluster import Pool
from planner.simulate.replay import RowSink
from planner.simulate.simulate import ServiceRows
from planner.simulate.state import STATUS, Records

SUFFIXES = (".csv", ".parquet")


def check_requests_file(path: Path) -> None:
    """``InvalidInput`` unless ``path`` names a format that can be written here."""
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidInput(
            f"ends in {path.suffix!r}", field=str(path), fix=f"name it {path.stem}.csv or {path.stem}.parquet"
        )
    if path.suffix.lower() == ".parquet" and find_spec("pyarrow") is None:
        raise InvalidInput(
            "Parquet needs pyarrow", field=str(path), fix="pip install 'gpuplan[parquet]', or name it .csv"
        )


@contextmanager
def requests_file(path: Path) -> Iterator[ServiceRows]:
    """Take rows for ``path``; the file is there whole or not at all. Rows come in the order in which requests end.

    Raises ``InvalidInput`` as ``check_requests_file``, or where the file cannot be written.
    """
    check_requests_file(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        writing = _parquet(beside) if path.suffix.lower() == ".parquet" else _csv(beside)
        with writing as write:

            def rows(service: str, pools: tuple[Pool, ...]) -> RowSink:
                return lambda found: write(_columns(found, service, pools))

            yield rows
        beside.replace(path)
    except OSError as error:
        raise InvalidInput(
            f"cannot be written: {error.strerror}", field=str(path), fix="choose another --requests-out"
        ) from None
    finally:
        with suppress(OSError):  # it may not be there, nor the directory
            beside.unlink(missing_ok=True)


def _columns(rows: Records, service: str, pools: tuple[Pool, ...]) -> Any:
    """A data frame of what ``rows`` tell, with names instead of numbers."""
    import pandas as pd

    def named(codes: Any, names: Sequence[str]) -> pd.Categorical[str]:
        return pd.Categorical.from_codes(codes, categories=pd.Index(names))

    count = [pool.replicas for pool in pools]
    unit = np.append(np.repeat(np.arange(len(pools)), count), -1)
    within = np.append(np.concatenate([np.arange(n) for n in count]), -1)
    names = [pool.unit for pool in pools]
    columns: dict[str, Any] = {"service": named(np.zeros(len(rows), dtype=int), [service])}
    for name in rows.dtype.names or ():
        if name == "status":
            columns[name] = named(rows[name], STATUS)
        elif name in ("replica", "decode_replica"):
            columns[name.replace("replica", "unit")] = named(unit[rows[name]], names)
            columns[name] = pd.array(np.where(rows[name] < 0, 0, within[rows[name]]), dtype="Int64")
            columns[name][rows[name] < 0] = pd.NA
        else:
            columns[name] = rows[name].copy()
    return pd.DataFrame(columns)


@contextmanager
def _csv(path: Path) -> Iterator[Any]:
    with path.open("w", encoding="utf-8", newline="") as file:
        header = True

        def write(table: Any) -> None:
            nonlocal header
            table.to_csv(file, index=False, header=header, float_format="%.6f")
            header = False

        yield write


@contextmanager
def _parquet(path: Path) -> Iterator[Any]:
    import pyarrow as pa
    from pyarrow import parquet

    writer: Any = None

    def write(table: Any) -> None:
        nonlocal writer
        found = pa.Table.from_pandas(table, preserve_index=False)
        if writer is None:
            writer = parquet.ParquetWriter(path, found.schema)
        writer.write_table(found.cast(writer.schema))

    try:
        yield write
    finally:
        if writer is not None:
            writer.close()
