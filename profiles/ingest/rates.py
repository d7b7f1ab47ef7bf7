"""Rates per request size, for the formats that hold matrices of them."""

from __future__ import annotations

from itertools import pairwise

from profiles.errors import InvalidInput
from profiles.ingest.document import Node
from profiles.ingest.format import Options, flag


def ticks(options: Options, name: str, why: str) -> tuple[int, ...]:
    """Upper bounds of the buckets in the option ``name`` (``"128,512"``), in tokens; ``InvalidInput`` for others."""
    given = options.required(name, why)
    try:
        bounds = tuple(int(part) for part in given.split(","))
    except ValueError:
        bounds = ()
    if not bounds or bounds[0] < 1 or any(b <= a for a, b in pairwise(bounds)):
        raise InvalidInput(
            f"must be increasing whole numbers of tokens, not {given!r}",
            field=flag(name),
            fix="write e.g. 128,512,2048",
        )
    return bounds


def oriented(matrix: Node, num_rows: int, num_columns: int, rows: str, columns: str) -> list[list[float]]:
    """``matrix`` when it has ``num_rows`` rows (of ``rows``) and ``num_columns`` columns (of ``columns``).

    Raises ``InvalidInput`` otherwise, and says so when it would fit transposed.
    """
    values = matrix.matrix()
    shape = (len(values), len(values[0]))
    if shape == (num_rows, num_columns):
        return values
    detail = f"is {shape[0]} × {shape[1]}, not {num_rows} ({rows}) × {num_columns} ({columns})"
    fix = f"give one row per {rows} bucket and one column per {columns} bucket"
    if shape == (num_columns, num_rows):
        detail += ": it only fits transposed"
        fix = f"transpose it: rows are {rows} buckets, columns {columns} buckets"
    raise InvalidInput(detail, field=matrix.where, fix=fix)


def transposed(matrix: list[list[float]]) -> tuple[tuple[float, ...], ...]:
    """``matrix`` with its rows as columns."""
    return tuple(zip(*matrix, strict=True))
