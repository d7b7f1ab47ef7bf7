"""Which weeks serve what, and threads that change nothing."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest

from planner.power.assume import fleet_of, other_at
from planner.power.family import baselines, classes_of
from planner.power.trials import CALIBRATING, STRESSING, Effort, trials
from tests.planner.power.rows import FACTS, QUICK, demands, spec


def test_threads_and_the_order_of_weeks_change_nothing() -> None:
    request = spec()
    fleet = fleet_of(request, FACTS, demands(), other_at(request, "middle"))
    policies = baselines(classes_of(request, FACTS))[-2:]
    weeks, effort = range(7, 12), replace(QUICK, seconds_per_week=1800)
    one, three = (trials(fleet, policies, (9, 12), weeks, replace(effort, num_threads=n), 3) for n in (1, 3))
    for field in fields(one):
        np.testing.assert_array_equal(getattr(one, field.name), getattr(three, field.name))
    alone = trials(fleet, policies, (9, 12), range(9, 10), effort, 3)
    np.testing.assert_array_equal(alone.peak[0], one.peak[2])


@pytest.mark.parametrize("horizon", [1, 6, 52, 104])
def test_weeks_of_different_purposes_never_meet(horizon: int) -> None:
    effort = Effort()
    used = [set(CALIBRATING), set(STRESSING), set(effort.choosing), set(effort.judging(horizon))]
    assert sum(map(len, used)) == len(set().union(*used))
    assert len(effort.judging(horizon)) % horizon == 0
    assert len(effort.judging(horizon)) >= 2 * horizon
