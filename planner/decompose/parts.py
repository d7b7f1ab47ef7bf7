"""A block-angular program taken apart: blocks, and the *coupling* rows in which they meet."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from planner.program import SHARED, Floats, Ints, Program


@dataclass(frozen=True)
class Block:
    """One part of the program alone. K coupling rows; J columns of the block."""

    columns: Ints  # [J] in the whole program
    program: Program
    coupling: Floats  # [K, J]


@dataclass(frozen=True)
class Parts:
    """A program as blocks, shared columns (S of them) and coupling rows (K)."""

    whole: Program
    blocks: tuple[Block, ...]
    shared: Ints  # [S] columns in no block
    shared_coupling: Floats  # [K, S]
    shared_upper: Floats  # [S] no larger value can help
    lower: Floats  # [K] limits of the coupling rows
    upper: Floats
    rows: Ints  # [K] in the whole program

    @property
    def unit_price(self) -> Floats:
        """[K] what a unit of each coupling row typically costs: the median over the columns that use it."""
        prices = np.ones(self.rows.size)
        dense = np.concatenate([*(block.coupling for block in self.blocks), self.shared_coupling], axis=1)
        cost = np.concatenate([*(block.program.cost for block in self.blocks), self.whole.cost[self.shared]])
        for k, row in enumerate(np.abs(dense)):
            priced = (row > 0) & (cost != 0)
            if priced.any():
                prices[k] = float(np.median(np.abs(cost[priced]) / row[priced]))
        return np.where((dense != 0).any(axis=1), prices, np.median(prices)) if prices.size else prices


def split(program: Program) -> Parts:
    """Sort rows into those of one block only and coupling rows."""
    num_blocks = int(program.block.max(initial=SHARED)) + 1
    num_rows = program.row_lower.size
    owner = program.block[program.column]
    least, most = np.full(num_rows, np.iinfo(np.int64).max), np.full(num_rows, np.iinfo(np.int64).min)
    np.minimum.at(least, program.row, owner)
    np.maximum.at(most, program.row, owner)
    local = (least == most) & (least != SHARED)
    rows = np.flatnonzero(~local)

    def coupling(columns: Ints) -> Floats:
        at, row_at = _positions(columns, program.cost.size), _positions(rows, num_rows)
        dense = np.zeros((rows.size, columns.size))
        entries = (at[program.column] >= 0) & (row_at[program.row] >= 0)
        dense[row_at[program.row[entries]], at[program.column[entries]]] = program.value[entries]
        return dense

    blocks = []
    for k in range(num_blocks):
        columns = np.flatnonzero(program.block == k)
        inside = restricted(program, columns, np.flatnonzero(local & (least == k)))
        blocks.append(Block(columns, inside, coupling(columns)))
    shared = np.flatnonzero(program.block == SHARED)
    shared_coupling = coupling(shared)
    return Parts(
        program, tuple(blocks), shared, shared_coupling, _shared_upper(program, blocks, shared, shared_coupling),
        program.row_lower[rows], program.row_upper[rows], rows,
    )  # fmt: skip


def restricted(program: Program, columns: Ints, rows: Ints) -> Program:
    """The program of some columns and rows alone."""
    column_at, row_at = _positions(columns, program.cost.size), _positions(rows, program.row_lower.size)
    kept = (column_at[program.column] >= 0) & (row_at[program.row] >= 0)
    return Program(
        cost=program.cost[columns], row=row_at[program.row[kept]], column=column_at[program.column[kept]],
        value=program.value[kept], row_lower=program.row_lower[rows], row_upper=program.row_upper[rows],
        lower=program.lower[columns], upper=program.upper[columns], integer=program.integer[columns],
        block=program.block[columns],
    )  # fmt: skip


def _positions(chosen: Ints, size: int) -> Ints:
    at = np.full(size, -1)
    at[chosen] = np.arange(chosen.size)
    return at


def _shared_upper(program: Program, blocks: list[Block], shared: Ints, coupling: Floats) -> Floats:
    """[S] a finite upper bound for costly shared columns that only make room for the blocks (rented instances).

    Room for the most that the blocks can use in every row is room enough. It keeps bounds finite when rounded prices
    make such a column look a trifle too cheap.
    """
    upper = program.upper[shared].copy()
    most = np.zeros(coupling.shape[0])
    for block in blocks:
        most += np.maximum(block.coupling, 0) @ np.minimum(block.program.upper, 1e9)
    for s in np.flatnonzero((program.cost[shared] >= 0) & ~np.isfinite(upper)):
        used = coupling[:, s] != 0
        if (coupling[used, s] < 0).all():
            upper[s] = np.ceil(np.max(most[used] / -coupling[used, s], initial=0.0))
    return upper
