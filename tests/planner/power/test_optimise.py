"""Finding the most servers: against trying every number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from planner.clock import Clock
from planner.power.assume import fleet_of, other_at
from planner.power.carry import Question
from planner.power.family import classes_of, grid, policy_of
from planner.power.judge import bar_of, chances, strain
from planner.power.optimise import most_servers, near, search
from planner.power.policy import Policy, no_capping
from tests.planner.power.rows import FACTS, QUICK, demands, spec


@given(st.lists(st.integers(-2, 140), min_size=1, max_size=8), st.integers(1, 60), st.integers(0, 80), st.booleans())
def test_brackets_find_what_trying_every_number_finds(limits: list[int], low: int, width: int, only_best: bool) -> None:
    """Policy i carries limits[i] servers, no more."""
    policies = [Policy(name=str(limit)) for limit in limits]
    high = low + width

    def ask(chosen: Sequence[Policy], counts: Sequence[int]) -> Any:
        assert all(low <= count <= high for count in counts)
        return list(counts)

    def fails(counts: Any, chosen: Sequence[Policy]) -> Any:
        return np.array([[count > int(policy.name) for count in counts] for policy in chosen])

    found = most_servers(ask, policies, fails, low, high, only_best=only_best)
    truth = np.clip(limits, low - 1, high)
    if only_best:
        assert found.max() == truth.max()
        assert (found <= truth).all()
    else:
        assert found.tolist() == truth.tolist()


def test_an_empty_bracket_is_not_asked_about() -> None:
    def never(*_: Any) -> Any:
        raise AssertionError

    assert most_servers(never, [no_capping()], never, 2, 1).tolist() == [1]


@given(st.integers(1, 2000), st.integers(1, 50), st.integers(0, 3000))
def test_numbers_around_the_best_stay_in_the_bracket(best: int, low: int, width: int) -> None:
    counts = near(best, low, low + width)
    assert counts == tuple(sorted(set(counts)))
    assert low <= counts[0] <= counts[-1] <= low + width
    if low < best < low + width:
        assert best in counts
        assert counts[-1] > best


def test_the_search_does_no_worse_than_any_policy_it_starts_from() -> None:
    """By trying every starting policy with every number of servers on the same weeks."""
    request = spec(assume="middle")
    fleet = fleet_of(request, FACTS, demands(), other_at(request, "middle"))
    bar, classes = bar_of(request), classes_of(request, FACTS)
    question = Question(request, fleet, classes, bar, 20, QUICK, 0, Clock(600))
    policies = [policy_of(member, classes) for member in grid()]
    counts = range(10, 18)
    results = question.ask(policies, counts)
    holding = chances(results, policies, bar) <= bar.allowed
    truth = max(n for j, n in enumerate(counts) if holding[:, j].any())
    picks = search(question.ask, classes, bar, 10, 17, Clock(600))
    most = max(picks, key=lambda pick: pick.num_servers).num_servers
    assert most >= min(truth + 1, 17)  # one more is tried too
    at_truth = [pick.policy for pick in picks if pick.num_servers == truth]
    again = question.ask(at_truth, [truth])
    assert (chances(again, at_truth, bar) <= bar.allowed).any()
    gentlest = strain(results, bar)[holding[:, counts.index(truth)], counts.index(truth)].min()
    assert strain(again, bar).min() <= gentlest + 0.25
