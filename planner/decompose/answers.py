"""Integer answers: blocks fixed one after another, then groups of blocks solved again while the others stay.

Every step solves a program in which some blocks are *free* (with all their integers), some *open* (any convex
combination of their proposals: a good guess at what they will do) and the rest fixed. Coupling rows may be broken at a
penalty, so there is always an answer to start from and to repair.

Sources: relax-and-fix (Pochet & Wolsey 2006, §3.6) with Dantzig–Wolfe hulls as the relaxation; large neighbourhood
search (Shaw 1998).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from planner.decompose.parts import Parts, restricted
from planner.decompose.pool import Pool, Slack, combination
from planner.program import SHARED, Bools, Floats, Program
from planner.solver import solve
from planner.types import SolveOptions

_MAX_NODES = 200


@dataclass(frozen=True)
class Answer:
    """What every block does; ``broken`` is by how much coupling rows are broken in all, ``merit`` cost plus penalty."""

    blocks: tuple[Floats, ...]  # each [J]
    shared: Floats  # [S]
    broken: float
    merit: float

    @property
    def holds(self) -> bool:
        """Whether it keeps every coupling row."""
        return self.broken <= 1e-6

    def values(self, parts: Parts) -> Floats:
        """[columns of the whole program]."""
        values = np.zeros(parts.whole.cost.size)
        for block, own in zip(parts.blocks, self.blocks, strict=True):
            values[block.columns] = own
        values[parts.shared] = self.shared
        return values


@dataclass
class Searcher:
    """Finds answers that cost at most ``target`` if it can, before ``until`` (seconds of ``time.perf_counter``)."""

    pool: Pool
    penalty: Floats  # [K] per unit by which a coupling row is broken
    target: float
    options: SolveOptions
    until: float

    @property
    def late(self) -> bool:
        """Whether the time for searching is over."""
        return time.perf_counter() >= self.until

    def done(self, answer: Answer) -> bool:
        """Whether ``answer`` is proven good enough."""
        return answer.holds and answer.merit <= self.target

    def first(self) -> Answer | None:
        """Free one block after another, dearest first, with those to come open."""
        blocks = self.pool.parts.blocks
        order = sorted(range(len(blocks)), key=lambda k: -min(self.pool.cost[k]))
        fixed: dict[int, Floats] = {}
        answer = None
        for position, k in enumerate(order):
            answer = self._step(fixed, [k], order[position + 1 :], narrow=True)
            if answer is None:
                return None
            fixed[k] = answer.blocks[k]
        return answer

    def better(self, answer: Answer, groups: Sequence[tuple[int, ...]], *, narrow: bool) -> Answer:
        """Free each group in turn. ``narrow``: with only those integers that some proposal uses."""
        for group in groups:
            if self.late or self.done(answer):
                break
            fixed = {k: own for k, own in enumerate(answer.blocks) if k not in group}
            found = self._step(fixed, list(group), [], narrow=narrow, start=answer)
            if found is not None and found.merit < answer.merit - 1e-9 * abs(answer.merit):
                answer = found
                for k in group:
                    self.pool.add(k, found.blocks[k])
        return answer

    def chosen(self) -> Answer | None:
        """One proposal per block, chosen together."""
        parts, blocks = self.pool.parts, list(range(len(self.pool.parts.blocks)))
        program = combination(self.pool, self._slack, blocks, parts.lower, parts.upper, integer=True)
        solution = solve(program, self._limit(), target=self.target, max_nodes=_MAX_NODES)
        if solution.values is None:
            return None
        ends = np.cumsum([len(values) for values in self.pool.values])
        weights = np.split(solution.values[: ends[-1]], ends[:-1])
        own = {k: self.pool.values[k][int(np.argmax(w))] for k, w in enumerate(weights)}
        return self._answer(own, solution.values[ends[-1] :])

    @property
    def _slack(self) -> Slack:
        return Slack(-self.penalty, self.penalty)

    def _limit(self) -> SolveOptions:
        seconds = max(self.until - time.perf_counter(), 0.05)
        return self.options.model_copy(update={"time_limit_s": seconds, "gap": max(0.2 * self.options.gap, 1e-6)})

    def _step(
        self, fixed: dict[int, Floats], free: list[int], open_: list[int], *, narrow: bool, start: Answer | None = None
    ) -> Answer | None:
        parts = self.pool.parts
        spent = sum(float(parts.blocks[k].program.cost @ own) for k, own in fixed.items())
        used = sum((parts.blocks[k].coupling @ own for k, own in fixed.items()), start=np.zeros(parts.rows.size))
        rest = combination(self.pool, self._slack, open_, parts.lower - used, parts.upper - used, integer=True)
        num_open = sum(len(self.pool.values[k]) for k in open_)
        rest = replace(rest, integer=rest.integer & (np.arange(rest.cost.size) >= num_open))
        keep = [self._wanted(k, narrow, start) for k in free]
        program = _joined(rest, parts, free, keep)
        begin = None if start is None else self._start(start, free, keep, used)
        solution = solve(program, self._limit(), target=self.target - spent, max_nodes=_MAX_NODES, start=begin)
        if solution.values is None:
            return None
        own, at = dict(fixed), rest.cost.size
        for k, kept in zip(free, keep, strict=True):
            own[k] = np.zeros(kept.size)
            own[k][kept] = solution.values[at : at + int(kept.sum())]
            at += int(kept.sum())
        for k in open_:  # a placeholder: these blocks are decided by later steps
            own[k] = self.pool.values[k][0]
        answer = self._answer(own, solution.values[num_open : rest.cost.size])
        return replace(answer, merit=spent + (solution.objective or 0.0))

    def _wanted(self, k: int, narrow: bool, start: Answer | None) -> Bools:
        """[J] columns of block ``k`` worth offering: continuous ones, and integers that something has used."""
        block = self.pool.parts.blocks[k]
        if not narrow:
            return np.ones(block.columns.size, bool)
        used = self.pool.used(k) if start is None else self.pool.used(k) | (start.blocks[k] > 1e-9)
        return used | ~block.program.integer

    def _start(self, answer: Answer, free: list[int], keep: list[Bools], used: Floats) -> Floats:
        parts = self.pool.parts
        free_use = sum(parts.blocks[k].coupling @ answer.blocks[k] for k in free)
        total = used + free_use + parts.shared_coupling @ answer.shared
        short, over = np.maximum(parts.lower - total, 0), np.maximum(total - parts.upper, 0)
        own = [answer.blocks[k][kept] for k, kept in zip(free, keep, strict=True)]
        return np.concatenate([answer.shared, short, over, *own])

    def _answer(self, own: dict[int, Floats], shared_and_slack: Floats) -> Answer:
        parts = self.pool.parts
        shared, slack = np.split(shared_and_slack, [parts.shared.size])
        blocks = tuple(own[k] for k in range(len(parts.blocks)))
        cost = sum(float(block.program.cost @ v) for block, v in zip(parts.blocks, blocks, strict=True))
        cost += float(parts.whole.cost[parts.shared] @ shared)
        return Answer(blocks, shared, float(slack.sum()), cost + float(np.tile(self.penalty, 2) @ slack))


def _joined(rest: Program, parts: Parts, free: list[int], keep: list[Bools]) -> Program:
    """``rest`` (its first rows are the coupling rows) with the kept columns of the free blocks and their own rows."""
    row, column, value = [rest.row], [rest.column], [rest.value]
    programs: list[Program] = [rest]
    num_rows, num_columns = rest.row_lower.size, rest.cost.size
    for k, kept in zip(free, keep, strict=True):
        block = parts.blocks[k]
        own = restricted(block.program, np.flatnonzero(kept), np.arange(block.program.row_lower.size))
        coupling = block.coupling[:, kept]
        at_row, at_column = np.nonzero(coupling)
        row += [own.row + num_rows, at_row]
        column += [own.column + num_columns, at_column + num_columns]
        value += [own.value, coupling[at_row, at_column]]
        num_rows, num_columns = num_rows + own.row_lower.size, num_columns + own.cost.size
        programs.append(own)

    def all_of(name: str) -> Floats:
        return np.concatenate([getattr(program, name) for program in programs])

    return Program(
        cost=all_of("cost"), row=np.concatenate(row), column=np.concatenate(column), value=np.concatenate(value),
        row_lower=all_of("row_lower"), row_upper=all_of("row_upper"), lower=all_of("lower"), upper=all_of("upper"),
        integer=np.concatenate([program.integer for program in programs]), block=np.full(num_columns, SHARED),
    )  # fmt: skip
