"""Judging what was chosen, on weeks that had no part in the choice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from planner.clock import Clock
from planner.power.judge import Bar, judged, strain
from planner.power.optimise import Pick
from planner.power.plan import Judged
from planner.power.policy import Policy
from planner.power.rows.fleet import Fleet
from planner.power.rows.row import Results
from planner.power.trials import Effort, joined, trials
from planner.progress import progress
from profiles.performance.answers import Floats

PART_WEEKS = 24
"""Weeks between two looks at the clock."""


@dataclass(frozen=True, eq=False)
class Tried:
    """Policies with one number of servers, ``column`` of the results' counts. ``strain``: (policies,)."""

    num_servers: int
    policies: tuple[Policy, ...]
    results: Results
    column: int
    strain: Floats

    def judged(self, policy: Policy, bar: Bar, seed: int) -> Judged:
        """What became of one of the policies. ``seed``: of the bootstrap."""
        at = (self.policies.index(policy), self.column)
        return judged(self.results, self.policies, self.num_servers, at, bar, seed)

    @property
    def natural_peak(self) -> float:
        """Highest power without any cap, as a share of the budget."""
        return float(self.results.natural_peak[:, self.column].max())


def tried(fleet: Fleet, picks: Iterable[Pick], bar: Bar, effort: Effort, weeks: range, seed: int, clock: Clock
          ) -> tuple[Tried, ...]:  # fmt: skip
    """Each policy with its number of servers on ``weeks``, the fewest servers first.

    On fewer weeks where time runs out, but on one horizon at least.
    """
    policies: dict[int, dict[Policy, None]] = {}
    for pick in picks:
        policies.setdefault(pick.num_servers, {})[pick.policy] = None
    alike: dict[tuple[Policy, ...], list[int]] = {}  # counts with the same policies share their traffic
    for count in sorted(policies):
        alike.setdefault(tuple(policies[count]), []).append(count)
    size = -(-PART_WEEKS // bar.horizon) * bar.horizon
    parts: dict[tuple[Policy, ...], list[Results]] = {chosen: [] for chosen in alike}
    for first in range(0, len(weeks), size):
        for chosen, counts in alike.items():
            parts[chosen].append(trials(fleet, chosen, counts, weeks[first : first + size], effort, seed))
        progress("judging on other weeks", (first + size) / len(weeks))
        if clock.is_over():
            break
    found = []
    for chosen, counts in alike.items():
        whole = joined(parts[chosen])
        strained = strain(whole, bar)
        found += [Tried(n, chosen, whole, j, strained[:, j]) for j, n in enumerate(counts)]
    return tuple(sorted(found, key=lambda one: one.num_servers))


def best_of(tested: Sequence[Tried], bar: Bar, seed: int) -> tuple[Policy, Judged] | None:
    """The policy with the most servers that holds; None where none does. Of several, the first that was picked.

    From few servers to many, ending at the first number with which no policy holds: a fixed sequence of tests, each at
    the promised confidence, so that trying many does not make a lucky one likely.
    """
    best: tuple[Policy, Judged] | None = None
    for one in tested:
        found = [(policy, one.judged(policy, bar, seed)) for policy in one.policies]
        holding = [each for each in found if each[1].holds]
        if not holding:
            break
        best = holding[0]
    return best


def pareto(tested: Sequence[Tried], most: int, bar: Bar, seed: int) -> tuple[Judged, ...]:
    """For numbers of servers up to ``most`` the policy that slows least of those that hold; no dominated ones."""
    kept: list[Judged] = []
    least = np.inf
    for one in sorted(tested, key=lambda one: -one.num_servers):
        for row in np.argsort(one.strain, kind="stable"):
            if one.num_servers > most or one.strain[row] >= least:
                break
            found = one.judged(one.policies[row], bar, seed)
            if found.holds:
                kept.append(found)
                least = float(one.strain[row])
                break
    return tuple(reversed(kept))
