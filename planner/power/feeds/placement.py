"""Where servers go: rows and phases such that no budget is exceeded more often than allowed, in any single failure.

First as many servers as asked, or the most that fit; then the fullest budget as empty as can be. A linear program says
what is impossible (``bound``), a constraint program finds a placement (``model``), and the chance constraints
themselves decide whether it holds (``multiplexing``): where one is broken, a limit through that point is added and the
search repeated. The bound is one on the chance constraints, not only on planes: no placement that holds does better.

On large sites rows of a kind are searched as one long row, and its phases are made into rows afterwards.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.power.feeds.bound import Relaxed, least_fraction, most_placed, planes_of
from planner.power.feeds.menu import arranged, is_complete, menus_of, spread_evenly
from planner.power.feeds.model import EMPTY, Assigned, Limit, assign
from planner.power.feeds.multiplexing import GroupProfile, loads_at_risk, tangent
from planner.power.feeds.placed import Found, empty_rows, judged, written
from planner.power.feeds.problem import (
    WHOLE_BUDGET,
    Circuit,
    Patterns,
    Problem,
    alone,
    circuit_loads,
    pooled,
    problem_of,
)
from planner.power.plan import Placement
from planner.power.site import Site
from planner.program import Floats, Ints
from planner.solver import relative_gap
from planner.types import SolveOptions

FINEST_GAP = 0.005
"""A placement is good once within 0.5% of its bound: loads are not known better."""

LEEWAYS = (0.005, 0.02, 0.1, 1.0, math.inf)
"""A large site is searched for a placement so near to its bound, then less near; a small one from the last but one."""

ROUNDS = 6
"""Times that broken chance constraints are answered by new limits; one or two are usual."""

MARGIN = 0.001
"""Of a budget: each round leaves so much more of it unused where it was broken, so that rounds come to an end."""

PART = 0.3
"""Of the time left: for one search, so that rounds after it have some."""

LEAST_S = 2.0
"""Seconds that even the last search gets."""


@dataclass(frozen=True)
class Goal:
    """What is searched for. ``everything`` placed: the fullest budget as empty as can be; else the most servers.

    ``bound``: proven, on the fullest budget as a fraction or on the number of servers. ``fraction``: budgets are used
    to at most that.
    """

    everything: bool
    bound: float
    fraction: float

    def value(self, found: Found) -> float:
        """What the bound is one of."""
        return found.fullest if self.everything else float(found.num_placed)

    def is_better(self, found: Found, other: Found | None) -> bool:
        """Whether ``found`` holds, and is better than another that does."""
        if found.fullest > WHOLE_BUDGET:
            return False
        if other is None:
            return True
        return self.value(found) < self.value(other) if self.everything else self.value(found) > self.value(other)

    def proven(self, bound: float) -> Goal:
        """With another proven bound, where it is tighter."""
        tighter = max(self.bound, bound) if self.everything else min(self.bound, math.floor(bound + 1e-6))
        return Goal(self.everything, tighter, self.fraction)


def place(site: Site, profiles: Sequence[GroupProfile], options: SolveOptions) -> Placement:
    """Place the groups of ``site``, whose servers draw what ``profiles`` say.

    Where everything fits, ``objective`` is the fraction to which the fullest budget is used; else the number of servers
    placed. ``shortfall`` tells what would make the rest fit.

    Raises
    ------
    InvalidInput
        for groups without a profile, profiles that cannot be, and phases too small for a single server.
    """
    ends = time.perf_counter() + options.time_limit_s
    options = options.model_copy(update={"gap": max(options.gap, FINEST_GAP)})
    problem = problem_of(site, profiles)
    asked = int(problem.asked.sum())
    most = most_placed(problem, 1.0)
    floor = 0.0
    if most.placed >= asked * (1 - 1e-7):
        floor, reachable = least_fraction(problem)
        tight = most_placed(problem, floor)
        for leeway in LEEWAYS[-2:] if is_complete(problem) else LEEWAYS:
            goal = Goal(everything=True, bound=floor, fraction=min(1.0, reachable * (1 + leeway)))
            found, goal = _search(problem, tight, goal, options, ends)
            if found is not None:
                return written(site, problem, found, goal.value(found), goal.bound)
    goal = Goal(everything=False, bound=math.floor(most.placed + 1e-6), fraction=1.0)
    found, goal = _search(problem, most, goal, options, ends)
    found = found or judged(problem, empty_rows(problem))
    if found.num_placed == asked:
        return written(site, problem, found, found.fullest, floor)
    return written(site, problem, found, goal.value(found), goal.bound)


def _search(
    problem: Problem, tight: Relaxed, goal: Goal, options: SolveOptions, ends: float
) -> tuple[Found | None, Goal]:
    """The best placement found, if any, and the goal with its bound. ``tight``: see ``menus_of``."""
    servers, menus = menus_of(problem, tight, goal.fraction)
    complete = is_complete(problem)
    posed = problem if complete else pooled(problem)
    # With planes below the loads, a complete menu proves a bound; else limits exact near the answer are better.
    if complete:
        limits = [_on_rows(problem, plane.watts, plane.budget_w) for plane in planes_of(problem, servers, 1.0)]
    else:
        limits = [_here(posed, circuit, servers) for circuit in posed.circuits]
    guesses = spread_evenly(posed, menus, servers)
    best: Found | None = None
    found = judged(problem, empty_rows(problem))
    for round_ in range(ROUNDS):
        left_s = ends - time.perf_counter()
        if left_s <= 0 and round_ > 0:
            break
        chosen = _within(options, PART * left_s, options.gap / 2)
        assigned = _assigned(posed, menus, limits, chosen, guesses, goal)
        if complete and round_ == 0 and assigned.bound is not None:
            goal = goal.proven(assigned.bound)
        if assigned.phases is None:
            break
        phases = assigned.phases if complete else _in_rows(problem, menus, assigned.phases, options, assigned.fullest)
        found = judged(problem, phases)
        is_whole = not goal.everything or found.num_placed == problem.asked.sum()
        if is_whole and goal.is_better(found, best):
            best = found
        if best is not None and (relative_gap(goal.value(best), goal.bound) or 0.0) <= options.gap:
            break
        counts = np.array([phase.sum(axis=0) for phase in assigned.phases])
        allowed = WHOLE_BUDGET * min(1.0, assigned.fullest * (1 + options.gap / 10))
        over = np.flatnonzero(circuit_loads(posed, counts) > allowed * posed.budget_w)
        if not over.size:
            break
        limits += [_here(posed, posed.circuits[c], counts, round_ * MARGIN) for c in over]
    if best is None and not goal.everything:
        best = _emptied(problem, found)
    return best, goal


def _assigned(
    problem: Problem, menus: Sequence[Patterns], limits: Sequence[Limit], options: SolveOptions,
    guesses: Sequence[Ints], goal: Goal,
) -> Assigned:  # fmt: skip
    """From ``guesses``; where the most servers are wanted and nothing was found, from empty rows, which hold."""
    for begin in (guesses, [np.full_like(guess, EMPTY) for guess in guesses]):
        assigned = assign(
            problem, menus, limits, options, guesses=begin, everything=goal.everything, bound=goal.bound,
            fraction=goal.fraction,
        )  # fmt: skip
        if assigned.phases is not None or goal.everything:
            break
    return assigned


def _within(options: SolveOptions, time_s: float, gap: float) -> SolveOptions:
    return options.model_copy(update={"time_limit_s": max(time_s, LEAST_S), "gap": gap})


def _in_rows(
    problem: Problem, menus: Sequence[Patterns], phases: Sequence[Ints], options: SolveOptions, fraction: float
) -> tuple[Ints, ...]:
    """From the phases (rows · phases, G) of each kind those of its rows: balanced, within slots, as far as can be."""
    rows: list[Ints] = [np.zeros((0, 0), dtype=np.int64)] * problem.num_rows
    for kind, menu, counts in zip(problem.kinds, menus, phases, strict=True):
        own = alone(problem, kind, counts.sum(axis=0))
        guesses = arranged(menu, counts, kind.rows.size)
        first = _within(options, LEAST_S, 1.0)
        assigned = assign(own, [menu], [], first, guesses=guesses, everything=True, bound=fraction, fraction=fraction)
        if assigned.phases is None:
            most, best = float(own.asked.sum()), _within(options, LEAST_S, options.gap)
            assigned = assign(own, [menu], [], best, guesses=guesses, everything=False, bound=most, fraction=fraction)
        empty = np.zeros((kind.num_phases, problem.asked.size), dtype=np.int64)
        for r, row in zip(kind.rows.tolist(), assigned.phases or [empty] * kind.rows.size, strict=True):
            rows[r] = row
    return tuple(rows)


def _emptied(problem: Problem, found: Found) -> Found:
    """``found`` without the servers of as many rows as it takes to hold: what is left when time ends too early."""
    phases = list(found.phases)
    for kind in problem.kinds:
        for r in kind.rows.tolist():
            weight = phases[r].astype(np.float64)
            if loads_at_risk(problem.crowd, weight, weight).max() > kind.phase_w * WHOLE_BUDGET:
                phases[r] = np.zeros_like(phases[r])
    while (counts := np.array([phase.sum(axis=0) for phase in phases])).any():
        fullness = circuit_loads(problem, counts) / problem.budget_w
        worst = int(np.argmax(fullness))
        if fullness[worst] <= WHOLE_BUDGET:
            break
        r = int(np.argmax(problem.share[worst] * (counts @ problem.crowd.average_w)))
        phases[r] = np.zeros_like(phases[r])
    return judged(problem, tuple(phases))


def _on_rows(problem: Problem, per_kind_w: Floats, budget_w: float) -> Limit:
    """A plane (K, G) over kinds of rows as a limit on rows."""
    watts = np.zeros((problem.num_rows, problem.asked.size))
    for kind, per_server_w in zip(problem.kinds, per_kind_w, strict=True):
        watts[kind.rows] = per_server_w
    return Limit(watts, budget_w, 0.0)


def _here(problem: Problem, circuit: Circuit, counts: Floats | Ints, margin: float = 0.0) -> Limit:
    """The chance constraint of ``circuit`` as a limit: exact at ``counts`` (R, G), but for ``margin`` of its budget.

    σ is replaced by its tangent, σ₀/2 + σ²/2σ₀, which is above it: elsewhere the limit may ask a little too much.
    """
    crowd, share = problem.crowd, circuit.share
    weight, squared = share @ counts, share**2 @ counts
    spare_w = -margin * circuit.budget_w
    if weight @ crowd.peak_w <= loads_at_risk(crowd, weight[None], squared[None])[0] * WHOLE_BUDGET:
        return Limit(np.outer(share, crowd.peak_w), circuit.budget_w, spare_w)
    touching = tangent(crowd, weight, squared)
    sigma_w = max(math.sqrt(squared @ crowd.variance_w2), 1e-9)
    slope = touching.per_sigma / (2 * sigma_w)
    watts = np.outer(share, touching.watts) + slope * np.outer(share**2, crowd.variance_w2)
    return Limit(watts, circuit.budget_w, spare_w - touching.per_sigma * sigma_w / 2)
