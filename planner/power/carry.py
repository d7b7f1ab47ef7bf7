"""How many servers the row carries: choose policies, then judge them; the row's part of a plan before it is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from planner.clock import Clock
from planner.power.family import Classes, baselines, deepest, polca_policy
from planner.power.judge import Bar, braking, fails
from planner.power.optimise import Pick, most_servers, near, rungs, search
from planner.power.plan import Judged
from planner.power.policy import Policy, no_capping
from planner.power.prove import Tried, best_of, tried
from planner.power.rows.fleet import Fleet
from planner.power.rows.row import Results
from planner.power.spec import PowerSpec
from planner.power.trials import Effort, trials
from planner.progress import progress
from profiles.performance.answers import Marks

NUM_FEWER = 2
"""Numbers of servers between what fits uncapped and the most, for the front of servers against slowdown."""


@dataclass(frozen=True, eq=False)
class Question:
    """A row to fill: what is simulated, what is promised, and how much is simulated for it."""

    spec: PowerSpec
    fleet: Fleet
    classes: Classes
    bar: Bar
    places: int
    effort: Effort
    seed: int
    clock: Clock

    def ask(self, policies: Sequence[Policy], counts: Sequence[int]) -> Results:
        """Simulate on the weeks for choosing."""
        return trials(self.fleet, policies, counts, self.effort.choosing, self.effort, self.seed)

    def fails(self, results: Results, policies: Sequence[Policy]) -> Marks:
        """(policies, counts) whether the promise is more likely to fail than it may."""
        return fails(results, policies, self.bar)

    def brakes(self, results: Results, policies: Sequence[Policy]) -> Marks:
        """The same by brakes alone."""
        return np.asarray(braking(results, policies, self.bar) > self.bar.allowed)


@dataclass(frozen=True, eq=False)
class Answer:
    """What was found.

    ``best``: the policy and what became of it, or None; ``trials``: what it was chosen from, the fewest servers first;
    ``bound``: no policy carries more; ``carried``: by each baseline, as far as the choosing weeks tell.
    """

    best: tuple[Policy, Judged] | None
    trials: tuple[Tried, ...]
    bound: int
    carried: tuple[int, ...]


def carry(question: Question) -> Answer:
    """The most servers of the row (or as many as the spec asks) with a policy that keeps the promise."""
    asked = question.spec.num_servers
    bound, *carried = _carried(question)
    progress("choosing a policy", 0.1)
    uncapped = max(carried[0], 1)
    if asked is None:
        high = max(bound, 1)
        picks = _picks(question, min(uncapped, high), high)
        gentle = (no_capping(),) if question.spec.policy == "optimise" else ()
        picks = (*_fewer(picks, uncapped, gentle), *picks)
    else:
        picks = _picks(question, asked, asked)
    weeks = question.effort.judging(question.bar.horizon)
    found = tried(question.fleet, picks, question.bar, question.effort, weeks, question.seed, question.clock)
    best = best_of(found, question.bar, question.seed)
    while best is None and asked is None and found[0].num_servers > 1 and not question.clock.is_over():
        lower = rungs(1, found[0].num_servers - 1)
        picks = tuple(Pick(policy, n) for n in lower for policy in found[0].policies)
        found = tried(question.fleet, picks, question.bar, question.effort, weeks, question.seed, question.clock)
        best = best_of(found, question.bar, question.seed)
    return Answer(best, found, bound, tuple(carried))


def _carried(question: Question) -> list[int]:
    """The most servers whose power stays within the budget when everything always runs at its lowest caps: no policy
    carries more. Then the most of each baseline, no capping first; 0 where it is less than one of every workload.
    """
    policies = [deepest(question.classes, question.spec.policy), *baselines(question.classes)]
    fewest = len(question.fleet.groups)

    def fails(results: Results, chosen: Sequence[Policy]) -> Marks:
        lowest = np.array([policy is policies[0] for policy in chosen])[:, None]
        return np.where(lowest, question.brakes(results, chosen), question.fails(results, chosen))

    found = most_servers(question.ask, policies, fails, fewest, max(question.places, fewest))
    return [int(n) if n >= fewest else 0 for n in found]


def _picks(question: Question, low: int, high: int) -> tuple[Pick, ...]:
    spec, classes = question.spec, question.classes
    if spec.policy == "optimise":
        return search(question.ask, classes, question.bar, low, high, question.clock)
    policy = _named(spec.policy, classes) if isinstance(spec.policy, str) else spec.policy
    if spec.num_servers is not None:
        return (Pick(policy, spec.num_servers),)
    most = int(most_servers(question.ask, (policy,), question.fails, 1, high)[0])
    return tuple(Pick(policy, n) for n in near(max(most, 1), 1, high))


def _named(name: str, classes: Classes) -> Policy:
    if name == "polca":
        return polca_policy(classes)
    named = {"one_threshold": "one threshold, all", "power_cap": "power cap", "none": "no capping"}[name]
    return next(policy for policy in baselines(classes) if policy.name == named)


def _fewer(picks: Sequence[Pick], uncapped: int, gentle: tuple[Policy, ...]) -> tuple[Pick, ...]:
    """``gentle`` and the policies of the fewest servers picked, for numbers from what fits uncapped on."""
    fewest = min(pick.num_servers for pick in picks)
    counts = np.linspace(min(uncapped, fewest), fewest, NUM_FEWER).round().astype(int)
    policies = dict.fromkeys([*gentle, *(pick.policy for pick in picks if pick.num_servers == fewest)])
    return tuple(Pick(policy, n) for n in sorted({uncapped - 1, *counts.tolist()}) if n > 0 for policy in policies)
