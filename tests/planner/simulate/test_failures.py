"""Schedules of failures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from planner.errors import InvalidInput, UnknownName
from planner.simulate.cluster import Failure, Options, Pool
from planner.simulate.failures import FailureSchedule
from planner.simulate_command import failure
from tests.planner.simulate.costs import iteration

POOLS = (Pool("a", iteration(), 3), Pool("b", iteration(), 2))


def test_planned_failures_come_in_order_and_once() -> None:
    failures = (
        Failure(unit="b", replica=1, at_s=50, for_s=5), Failure(unit="a", replica=2, at_s=10),
        Failure(unit="a", replica=0, at_s=10.5, for_s=1),
    )  # fmt: skip
    schedule = FailureSchedule(POOLS, Options(failures=failures, start_up_s=2.0))
    assert [array.tolist() for array in schedule.up_to(49.9)] == [[2, 0], [10.0, 10.5], [math.inf, 13.5]]
    assert [array.tolist() for array in schedule.up_to(50.0)] == [[4], [50.0], [57.0]]
    assert schedule.up_to(1e9)[0].tolist() == []
    assert schedule.num_started == 5 + 2


def test_drawn_failures_have_the_mean_asked_for_and_do_not_depend_on_when_they_are_asked() -> None:
    options = Options(mtbf_hours=0.5, repair_s=1000.0, seed=4)
    whole = FailureSchedule(POOLS, options).up_to(2e6)
    schedule = FailureSchedule(POOLS, options)
    parts = [schedule.up_to(t) for t in np.linspace(0, 2e6, 500)]
    for i in range(3):
        np.testing.assert_array_equal(np.concatenate([part[i] for part in parts]), whole[i])
    replica, at, back = whole
    np.testing.assert_allclose(back - at, 1000.0)
    assert (np.diff(at) >= 0).all()
    for r in range(5):
        up = at[replica == r][1:] - back[replica == r][:-1]
        assert (up > 0).all()
        assert up.mean() == pytest.approx(1800, rel=0.15)


def test_failures_of_what_is_not_there_are_refused() -> None:
    with pytest.raises(UnknownName, match="unknown unit 'c'"):
        FailureSchedule(POOLS, Options(failures=(Failure(unit="c", replica=0, at_s=1),)))
    with pytest.raises(InvalidInput, match="count from 0 to 1"):
        FailureSchedule(POOLS, Options(failures=(Failure(unit="b", replica=2, at_s=1),)))


def test_a_unit_on_the_command_line_may_be_cut_short() -> None:
    units = ["chat/H100 ×2 @ here", "chat/H200 ×1 @ here", "chat/H200 ×2 @ here"]
    assert failure("chat/H1#0@600+120", units) == Failure(unit=units[0], replica=0, at_s=600, for_s=120)
    assert failure("chat/H200#1@5", units).unit == "chat/H200", "which of the two nobody can tell"
    assert failure(f"{units[2]}#1@5", units).unit == units[2]
