"""Caps, ratings and rows that cannot be, refused before anything is simulated; stress told as it was."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from planner.errors import InvalidInput
from planner.power.policy import GpuCap, Policy, Step, polca
from planner.power.rows.row import simulate
from planner.power.spec import Event, PowerSpec
from planner.power.stress import stress
from planner.power.traces.pools import pools
from planner.power.trials import Effort
from profiles import catalogue
from profiles.types import Facts
from tests.planner.power.fleets import fleet

BUILT_IN = catalogue.load()
FACTS = Facts(**{name: getattr(BUILT_IN, name) for name in type(BUILT_IN).model_fields})
GOOD: dict[str, Any] = {
    "servers": [{"name": "dgx", "gpu": "A100-80GB", "num_gpus": 8, "other_w": 2000, "rated_w": 6500}],
    "row": {"budget_servers": 4},
    "priorities": [{"name": "low"}],
    "workloads": [{"name": "job", "server": "dgx", "priority": "low", "share": 1, "demand": {"kind": "training"}}],
}


def capped(**cap: float) -> dict[str, Any]:
    return {"steps": [{"at": 0.9, "release": 0.8, "caps": [{"priority": "low", **cap}]}]}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"policy": capped(clock_mhz=9000)}, "9000 MHz is no clock"),
        ({"policy": capped(clock_mhz=5)}, "5 MHz is no clock"),
        ({"policy": capped(power_w=4000)}, "4000 W is no limit"),
        ({"policy": capped(power_w=1)}, "1 W is no limit"),
        ({"controls": {"brake_clock_mhz": 9000}}, "controls.brake_clock_mhz"),
        ({"servers": [{**GOOD["servers"][0], "rated_w": 500}]}, "500 W is no rating"),
        ({"servers": [{**GOOD["servers"][0], "rated_w": 65_000}]}, "65,000 W is no rating"),
        ({"num_servers": 40, "row": {"budget_servers": 4, "max_servers": 50}}, "40 idle servers draw"),
    ],
)
def test_what_no_machine_can_do_is_refused(changes: dict[str, Any], told: str) -> None:
    spec = PowerSpec.model_validate({**copy.deepcopy(GOOD), **changes})
    with pytest.raises(InvalidInput, match=told):
        pools(spec, FACTS)


def test_no_brake_above_the_budget() -> None:
    with pytest.raises(ValidationError, match="brake_at"):
        Policy(brake_at=1.15, brake_release=0.9)


def test_steps_that_make_no_sense() -> None:
    low, lower = (GpuCap(priority="low", clock_mhz=mhz) for mhz in (1200, 1100))
    with pytest.raises(ValidationError, match="capped twice"):
        Policy(steps=(Step(at=0.9, release=0.8, caps=(low, lower)),))
    with pytest.raises(ValidationError, match="no step before the first"):
        Policy(steps=(Step(at=0.9, release=0.8, caps=(low,), waits=True),))


def test_a_feed_that_fails_for_longer_than_a_brake_helps_is_not_held() -> None:
    row = fleet()
    event = Event(kind="feed_failure", at_s=1800, duration_s=600, remaining=0.2)
    effort = Effort(choosing_weeks=1, judging_weeks=1, seconds_per_week=3600, num_threads=1)
    told = stress(row, polca("low", "high"), 8, event, effort, 1)
    over = simulate(row, [polca("low", "high")], [8], range(10_000, 10_001), 1, events=(event,), seconds_per_week=3600)
    assert told.seconds_over_budget == over.seconds_over.sum() > 60
    assert told.outcome.startswith("not held")
