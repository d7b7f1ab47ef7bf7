"""A mixed-integer program as plain arrays, and a builder that collects it block by block."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

SHARED = -1
"""Block of a column that belongs to no single block."""


@dataclass(frozen=True)
class Program:
    """Minimise ``cost @ v`` subject to ``row_lower <= A v <= row_upper`` and ``lower <= v <= upper``.

    ``A`` is given by triplets ``row, column, value`` without duplicates; ``integer[j]``: v[j] is integral.
    ``block[j]`` names the part of a block-angular program that column j belongs to, ``SHARED`` for none.
    Names are empty unless asked for: labels cost more than a small solve.
    """

    cost: Floats
    row: Ints
    column: Ints
    value: Floats
    row_lower: Floats
    row_upper: Floats
    lower: Floats
    upper: Floats
    integer: Bools
    block: Ints
    row_names: tuple[str, ...] = ()
    column_names: tuple[str, ...] = ()


@dataclass
class ProgramBuilder:
    """Collects columns, rows and entries as arrays; every method returns the indices it made."""

    _columns: list[tuple[str, Floats, Floats, bool, int]] = field(default_factory=list)
    _rows: list[tuple[str, Floats, Floats]] = field(default_factory=list)
    _entries: list[tuple[Ints, Ints, Floats]] = field(default_factory=list)
    num_columns: int = 0
    num_rows: int = 0

    def columns(
        self, name: str, cost: npt.ArrayLike, *, count: int, upper: npt.ArrayLike = np.inf, integer: bool = False,
        block: int = SHARED,
    ) -> Ints:  # fmt: skip
        """Add ``count`` columns with lower bound 0."""
        self._columns.append((name, _spread(cost, count), _spread(upper, count), integer, block))
        self.num_columns += count
        return np.arange(self.num_columns - count, self.num_columns)

    def rows(self, name: str, lower: npt.ArrayLike, upper: npt.ArrayLike, *, count: int = 1) -> Ints:
        """Add ``count`` rows ``lower <= … <= upper``, empty until ``entries`` fills them."""
        self._rows.append((name, _spread(lower, count), _spread(upper, count)))
        self.num_rows += count
        return np.arange(self.num_rows - count, self.num_rows)

    def entries(self, row: npt.ArrayLike, column: npt.ArrayLike, value: npt.ArrayLike) -> None:
        """Add coefficients; the three broadcast against each other."""
        rows, columns, values = np.broadcast_arrays(row, column, value)
        self._entries.append((rows.ravel(), columns.ravel(), values.ravel().astype(float)))

    def program(self, *, names: bool = False) -> Program:
        """Everything collected so far."""
        row, column, value = (
            np.concatenate([np.zeros(0, kind), *(entry[i] for entry in self._entries)])
            for i, kind in enumerate((np.int64, np.int64, np.float64))
        )
        counts = [cost.size for _, cost, _, _, _ in self._columns]
        return Program(
            cost=_join([cost for _, cost, _, _, _ in self._columns]),
            row=row, column=column, value=value,
            row_lower=_join([lower for _, lower, _ in self._rows]),
            row_upper=_join([upper for _, _, upper in self._rows]),
            lower=np.zeros(self.num_columns),
            upper=_join([upper for _, _, upper, _, _ in self._columns]),
            integer=np.repeat(np.array([integer for _, _, _, integer, _ in self._columns], dtype=bool), counts),
            block=np.repeat(np.array([block for _, _, _, _, block in self._columns], dtype=np.int64), counts),
            row_names=_numbered([(name, lower.size) for name, lower, _ in self._rows]) if names else (),
            column_names=_numbered([(name, cost.size) for name, cost, _, _, _ in self._columns]) if names else (),
        )  # fmt: skip


def _spread(values: npt.ArrayLike, count: int) -> Floats:
    return np.broadcast_to(np.asarray(values, dtype=np.float64), (count,))


def _join(parts: list[Floats]) -> Floats:
    return np.concatenate(parts) if parts else np.zeros(0)


def _numbered(groups: list[tuple[str, int]]) -> tuple[str, ...]:
    return tuple(name if count == 1 else f"{name}_{i}" for name, count in groups for i in range(count))
