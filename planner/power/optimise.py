"""The most servers that a policy carries, and the policy that carries the most.

All policies of a round are tried with several numbers of servers on the same simulated weeks: the difference between
two policies is then theirs and not the traffic's, and the traffic, which is what takes time, is made once. A policy
that carries n servers carries fewer, so each policy's most is found by narrowing a bracket, all brackets at once;
policies that can no longer come up to the best are dropped. The best are then refined, threshold by threshold.

What is found here is chosen, not proven: ``solve`` judges it on weeks that had no part in the choice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from planner.clock import Clock
from planner.power.family import Classes, Member, grid, neighbours, policy_of
from planner.power.judge import Bar, chances, fails, strain
from planner.power.policy import Policy
from planner.power.rows.row import Results
from planner.program import Ints
from planner.progress import progress
from profiles.performance.answers import Floats, Marks

Ask = Callable[[Sequence[Policy], Sequence[int]], Results]
"""Simulates every policy with every number of servers, on the weeks for choosing."""

Fails = Callable[[Results, Sequence[Policy]], Marks]
"""(policies, counts): what does not do."""

RUNGS = 4
"""Numbers of servers tried at once in a bracket."""

REACH = 1.1
"""How far beyond what is known to be carried the search looks first: hopeless rows are the slowest to simulate."""

ELITE = 2
"""Policies that are refined in a round."""

STEPS = (0.03, 0.01)
"""By which thresholds are moved, round by round."""

LIKELY = 0.3
"""A policy is picked for slowing little when its chance to fail, as chosen, is at most so much of what is allowed."""


@dataclass(frozen=True)
class Pick:
    """A policy worth judging with a number of servers."""

    policy: Policy
    num_servers: int


def most_servers(ask: Ask, policies: Sequence[Policy], fails: Fails, low: int, high: int, *, only_best: bool = False
                 ) -> Ints:  # fmt: skip
    """(policies,) the most servers from ``low`` to ``high`` with which each does not fail; ``low - 1``: none.

    ``only_best``: policies that cannot be the best are left where that showed.
    """
    carries = np.full(len(policies), low - 1)
    breaks = np.full(len(policies), high + 1)
    while True:
        open_ = breaks - carries > 1
        if only_best:
            open_ &= breaks - 1 >= carries.max()
        if not open_.any():
            return carries
        for low_, high_ in sorted({(carries[i], breaks[i]) for i in np.flatnonzero(open_)}):
            mine = np.flatnonzero(open_ & (carries == low_) & (breaks == high_))
            counts = rungs(low_ + 1, high_ - 1)
            chosen = [policies[i] for i in mine.tolist()]
            for i, broke in zip(mine.tolist(), fails(ask(chosen, counts), chosen), strict=True):
                breaks[i] = min([high_, *np.array(counts)[broke]])
                carries[i] = max([low_, *(n for n in counts if n < breaks[i])])


def search(ask: Ask, classes: Classes, bar: Bar, low: int, high: int, clock: Clock) -> tuple[Pick, ...]:
    """Policies of the family for the numbers of servers around the most that any carries, between ``low`` and ``high``.

    For each number the one that slows least of those that are not likely to fail, then the surest.
    """
    members = grid()
    most = _most(ask, members, classes, bar, low, high)
    progress("choosing a policy", 0.3)
    counts = near(max(int(most.max()), low), low, high)
    tried = _tried(ask, classes, bar, counts, [members[i] for i in np.argsort(-most, kind="stable")[: 2 * ELITE]])
    for number, step in enumerate(STEPS):
        if clock.is_over():
            break
        around = {other for member in _elite(tried, bar) for other in neighbours(member, step)}
        tried |= _tried(ask, classes, bar, counts, sorted(around - tried.keys(), key=repr))
        progress("choosing a policy", 0.3 + 0.7 * (number + 1) / len(STEPS))
    return tuple(pick for column in range(len(counts)) for pick in _picks(tried, classes, bar, counts, column))


def near(best: int, low: int, high: int) -> tuple[int, ...]:
    """Numbers of servers around the best, a server or half a percent apart."""
    apart = max(1, round(best * 0.005))
    return tuple(sorted({min(max(best + by * apart, low), high) for by in range(-2, 2)}))


def rungs(low: int, high: int) -> tuple[int, ...]:
    """Up to ``RUNGS`` numbers from low to high that cut the bracket in even parts."""
    inner = np.linspace(low - 1, high + 1, RUNGS + 2)[1:-1]
    return tuple(sorted({int(min(max(round(x), low), high)) for x in inner}))


def _most(ask: Ask, members: Sequence[Member], classes: Classes, bar: Bar, low: int, high: int) -> Ints:
    policies = [policy_of(member, classes) for member in members]

    while True:
        top = min(max(round(low * REACH), low + RUNGS), high)
        most = most_servers(ask, policies, partial(fails, bar=bar), low, top, only_best=True)
        if top == high or most.max() < top:
            return most
        low = top


@dataclass(frozen=True, eq=False)
class _Tried:
    """Of one member: (counts,) chance to fail and strain."""

    chance: Floats
    strain: Floats


def _tried(ask: Ask, classes: Classes, bar: Bar, counts: tuple[int, ...], members: Sequence[Member]
           ) -> dict[Member, _Tried]:  # fmt: skip
    """What the choosing weeks say of members with each number of servers."""
    if not members:
        return {}
    policies = [policy_of(member, classes) for member in members]
    results = ask(policies, counts)
    found = zip(chances(results, policies, bar), strain(results, bar), strict=True)
    return {member: _Tried(*of) for member, of in zip(members, found, strict=True)}


def _elite(tried: dict[Member, _Tried], bar: Bar) -> list[Member]:
    """Those that carry the most, the surest first."""

    def rank(member: Member) -> tuple[float, float, str]:
        chance = tried[member].chance
        return (-float((chance <= bar.allowed).sum()), float(chance.sum()), repr(member))

    return sorted(tried, key=rank)[:ELITE]


def _picks(tried: dict[Member, _Tried], classes: Classes, bar: Bar, counts: tuple[int, ...], column: int) -> list[Pick]:
    surest = min(tried, key=lambda member: tried[member].chance[column])
    likely = [member for member in tried if tried[member].chance[column] <= LIKELY * bar.allowed]
    gentlest = min(likely, key=lambda member: tried[member].strain[column], default=surest)
    return [Pick(policy_of(member, classes), counts[column]) for member in dict.fromkeys((gentlest, surest))]
