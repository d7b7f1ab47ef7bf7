"""The policies that are searched."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.power.family import (
    POLCA_CLOCKS,
    Classes,
    Member,
    baselines,
    classes_of,
    deepest,
    grid,
    neighbours,
    polca_policy,
    policy_of,
)
from planner.power.policy import one_threshold, polca
from tests.planner.power.rows import FACTS, spec

TWO = Classes(("low", "high"), {"low": 1410.0, "high": 1410.0}, {"low": 400.0, "high": 400.0})


def test_polca_is_a_member() -> None:
    ours = polca_policy(TWO)
    assert ours.model_copy(update={"name": "two thresholds"}) == polca("low", "high")
    assert Member(0.80, 0.89, 0.05, *POLCA_CLOCKS) in grid()


def test_baselines_are_those_of_the_paper() -> None:
    by_name = {policy.name: policy for policy in baselines(TWO)}
    assert by_name["no capping"].steps == ()
    assert by_name["one threshold, low priority"].steps == one_threshold(("low",)).steps
    assert by_name["one threshold, all"].steps == one_threshold(("low", "high")).steps
    assert [cap.power_w for cap in by_name["power cap"].always] == [300.0, 300.0]


def test_classes_are_those_with_workloads_in_the_order_of_capping() -> None:
    found = classes_of(spec(), FACTS)
    assert found.names == ("low", "high")
    assert found.highest_mhz == {"low": 1410.0, "high": 1410.0}


def test_a_class_alone_has_its_two_steps() -> None:
    alone = Classes(("only",), {"only": 1980.0}, {"only": 700.0})
    policy = policy_of(Member(0.8, 0.9, 0.05, *POLCA_CLOCKS), alone)
    assert [(s.at, s.caps[0].clock_mhz) for s in policy.steps] == [(0.8, 1785.0), (0.9, 1560.0)]


def test_three_classes_wait_for_each_other() -> None:
    names = ("a", "b", "c")
    classes = Classes(names, dict.fromkeys(names, 1410.0), dict.fromkeys(names, 400.0))
    policy = policy_of(Member(0.8, 0.9, 0.05, *POLCA_CLOCKS), classes)
    assert [(s.caps[0].priority, s.waits) for s in policy.steps] == [
        ("a", False),
        ("a", False),
        ("b", True),
        ("c", True),
    ]


def test_unknown_clocks_are_capped_by_power() -> None:
    classes = Classes(("low", "high"), {"low": None, "high": 1410.0}, {"low": 500.0, "high": 400.0})
    first, second, third = policy_of(Member(0.8, 0.9, 0.05, 0.9, 0.8, 0.92), classes).steps
    assert (first.caps[0].power_w, second.caps[0].power_w) == (450.0, 400.0)
    assert third.caps[0].clock_mhz == pytest.approx(1305.0, abs=15)


@given(st.sampled_from(grid()), st.sampled_from([0.01, 0.02, 0.04]), st.lists(st.integers(0, 30), max_size=6))
def test_wherever_the_search_goes_policies_are_valid(member: Member, step: float, way: list[int]) -> None:
    """Policies refuse thresholds out of order and hysteresis beyond the gap by themselves."""
    for turn in way:
        around = neighbours(member, step)
        assert member not in around
        member = around[turn % len(around)]
        policy = policy_of(member, TWO)
        assert policy.brake_release < policy.brake_at


def test_neighbours_lie_on_both_sides() -> None:
    member = Member(0.80, 0.89, 0.05, *POLCA_CLOCKS)
    around = neighbours(member, 0.02)
    for moved in (replace(member, t1=0.82), replace(member, t2=0.87), replace(member, hysteresis=0.03)):
        assert moved in around


def test_no_member_caps_deeper_than_the_deepest() -> None:
    floor = min(cap.clock_mhz or 0 for cap in deepest(TWO).always)
    for member in grid():
        assert all((cap.clock_mhz or 0) >= floor for step in policy_of(member, TWO).steps for cap in step.caps)
