"""Proposals: solutions of single blocks, what they cost and what they use of the coupling rows."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from planner.decompose.parts import Parts
from planner.program import SHARED, Bools, Floats, Program


@dataclass
class Pool:
    """Proposals so far, per block."""

    parts: Parts
    values: list[list[Floats]] = field(default_factory=list)
    cost: list[list[float]] = field(default_factory=list)
    use: list[list[Floats]] = field(default_factory=list)  # each [K]
    _known: set[tuple[int, bytes]] = field(default_factory=set)

    def __post_init__(self) -> None:
        for column in (self.values, self.cost, self.use):
            column.extend([] for _ in self.parts.blocks)

    def add(self, k: int, values: Floats) -> bool:
        """Keep a solution of block ``k``; False when one with the same cost and use is there already."""
        block = self.parts.blocks[k]
        cost, use = float(block.program.cost @ values), block.coupling @ values
        key = (k, np.round(np.append(use, cost), 7).tobytes())
        if key in self._known:
            return False
        self._known.add(key)
        self.values[k].append(values)
        self.cost[k].append(cost)
        self.use[k].append(use)
        return True

    def used(self, k: int) -> Bools:
        """[J] columns of block ``k`` that some proposal uses."""
        return (
            np.max(self.values[k], axis=0) > 1e-9
            if self.values[k]
            else np.ones(self.parts.blocks[k].columns.size, bool)
        )


@dataclass(frozen=True)
class Slack:
    """Room bought or sold at a price in every coupling row, so that a program over proposals is always feasible.

    The duals of such a program stay between ``low`` and ``high``: a trust region for prices.
    """

    low: Floats  # [K]
    high: Floats  # [K]

    def columns(self) -> tuple[Floats, Floats]:
        """Costs [2K] and coefficients [K, 2K] of the two columns per row."""
        identity = np.eye(self.low.size)
        return np.concatenate([self.high, -self.low]), np.concatenate([identity, -identity], axis=1)


def combination(pool: Pool, slack: Slack, blocks: list[int], lower: Floats, upper: Floats, *, integer: bool) -> Program:
    """Cheapest convex combination of proposals per block (one proposal each, when ``integer``), with shared columns.

    Columns: proposals block by block, shared, slack. Rows: coupling, then one per block.
    """
    parts = pool.parts
    counts = [len(pool.values[k]) for k in blocks]
    slack_cost, slack_use = slack.columns()
    uses = [np.array(pool.use[k]).T for k in blocks]
    dense = np.concatenate([*uses, parts.shared_coupling, slack_use], axis=1)
    row, column = np.nonzero(dense)
    num_rows, num_proposals = dense.shape[0], sum(counts)
    whole, shared = parts.whole, parts.shared
    return Program(
        cost=np.concatenate([*(pool.cost[k] for k in blocks), whole.cost[shared], slack_cost]),
        row=np.concatenate([row, num_rows + np.repeat(np.arange(len(blocks)), counts)]),
        column=np.concatenate([column, np.arange(num_proposals)]),
        value=np.concatenate([dense[row, column], np.ones(num_proposals)]),
        row_lower=np.concatenate([lower, np.ones(len(blocks))]),
        row_upper=np.concatenate([upper, np.ones(len(blocks))]),
        lower=np.concatenate([np.zeros(num_proposals), whole.lower[shared], np.zeros(slack_cost.size)]),
        upper=np.concatenate([np.ones(num_proposals), parts.shared_upper, np.full(slack_cost.size, np.inf)]),
        integer=np.concatenate([np.ones(num_proposals, bool), whole.integer[shared], np.zeros(slack_cost.size, bool)])
        & integer,
        block=np.full(dense.shape[1], SHARED),
    )
